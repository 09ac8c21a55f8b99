"""What the documents say is true: settings, metrics, error codes, targets, commands, links, the version."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from fkproxy import __version__
from fkproxy.dialects import DIALECTS
from fkproxy.model import errors
from fkproxy.settings import load
from fkproxy.settings.schema import slots
from fkproxy.telemetry.metrics import Metrics

ROOT = Path(__file__).resolve().parent.parent
README, RUNBOOK, CHANGELOG = ROOT / "README.md", ROOT / "runbook.md", ROOT / "CHANGELOG.md"
ENV_EXAMPLE = ROOT / "packaging" / "env.example"
DOCUMENTS = [README, RUNBOOK, CHANGELOG, *sorted((ROOT / "docs").rglob("*.md"))]
COMMANDS = {
    "serve", "check", "doctor", "explain", "smoke", "selftest", "upstreams", "install", "upgrade", "rollback", "prepare", "version",
    "keys", "pools", "providers", "settings", "config", "logs", "usage", "audit", "store", "migrate",
}  # fmt: skip
MADE = {"dist/fkllmproxy"}
"""Files that `make build` makes."""


def label(path: Path) -> str:
    return str(path.relative_to(ROOT))


def code_blocks(path: Path) -> Iterator[str]:
    """Lines of the shell blocks, continued ones joined, without comments."""
    for block in re.findall(r"^```(?:sh|bash|console)\n(.*?)^```", path.read_text(), re.DOTALL | re.MULTILINE):
        for line in block.replace("\\\n", " ").splitlines():
            yield re.sub(r"(^|\s)#.*", "", line)


def metric_names() -> set[str]:
    """Families as a scrape shows them, without those of the process, which prometheus_client documents."""
    text = Metrics(__version__).prometheus()[0].decode()
    return {name for name in re.findall(r"^# TYPE (\S+)", text, re.MULTILINE) if not name.startswith("process_")}


def error_codes() -> set[str]:
    found = {errors.FkproxyError.code}
    waiting = [errors.FkproxyError]
    while waiting:
        kind = waiting.pop()
        waiting += kind.__subclasses__()
        found.add(kind.code)
    return found


def test_the_environment_example_is_what_the_settings_say() -> None:
    done = subprocess.run([sys.executable, "scripts/env_example.py", "--check"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_every_setting_is_in_the_environment_example() -> None:
    named = set(re.findall(r"^#?(APP_\w+)=", ENV_EXAMPLE.read_text(), re.MULTILINE))
    settings = {slot.name for slot in slots()}
    assert settings <= named
    assert named - settings <= {f"{slot.name}_FILE" for slot in slots() if slot.secret}


@pytest.mark.parametrize("path", [README, RUNBOOK], ids=label)
def test_the_settings_are_one_link_away(path: Path) -> None:
    assert f"]({label(ENV_EXAMPLE)})" in path.read_text()


@pytest.mark.parametrize("path", [README, RUNBOOK], ids=label)
def test_settings_that_are_named_exist(path: Path) -> None:
    known = {name for slot in slots() for name in (slot.name, *slot.variables)} | {f"{slot.name}_FILE" for slot in slots() if slot.secret}
    named = set(re.findall(r"\bAPP_\w*[A-Z]\b", path.read_text()))
    assert named
    assert named <= known


def test_the_runbook_explains_every_metric_and_no_other() -> None:
    text = RUNBOOK.read_text()
    names = metric_names()
    missing = {name for name in names if not re.search(rf"`{name}(\{{[^`]*)?`", text)}
    assert not missing
    assert {name for name in re.findall(r"`((?:fkproxy|gen_ai)_\w+)(?:\{[^`]*)?`", text) if not name.startswith("gen_ai_")} <= names


def test_the_runbook_explains_every_error_code_and_no_other() -> None:
    table = RUNBOOK.read_text().partition("\n## Errors\n")[2].partition("\n## ")[0]
    cells = [line.split("|")[1] for line in table.splitlines() if line.startswith("| `")]
    assert {code for cell in cells for code in re.findall(r"`(\w+)`", cell)} == error_codes()


def test_sections_that_the_program_sends_to_are_in_the_runbook() -> None:
    sources = [path.read_text() for path in sorted((ROOT / "fkproxy").rglob("*.py"))]
    named = {title for text in sources for title in re.findall(r"see '([^']+)' in the runbook", text)}
    titles = re.findall(r"^##+ (.+)$", RUNBOOK.read_text(), re.MULTILINE)
    assert named
    assert named <= {title.replace("`", "") for title in titles}


@pytest.mark.parametrize("path", [README, RUNBOOK], ids=label)
def test_make_targets_exist(path: Path) -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = {name for line in code_blocks(path) for name in re.findall(r"\bmake ([a-z]+)", line)}
    named |= set(re.findall(r"`make ([a-z]+)`", path.read_text()))
    assert named <= targets


def test_the_readme_names_the_targets_for_people() -> None:
    declared = re.search(r"^\.PHONY: (.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert declared is not None
    assert set(declared[1].split()) - {"clean"} <= {name for line in code_blocks(README) for name in re.findall(r"\bmake ([a-z]+)", line)}


@pytest.mark.parametrize("path", [README, RUNBOOK], ids=label)
def test_files_in_commands_exist(path: Path) -> None:
    pattern = r"(?<![\w/.$-])((?:\.ci|bench|dist|docs|fkproxy|packaging|requirements|scripts|tests)/[\w./-]+)"
    named = {name for line in code_blocks(path) for name in re.findall(pattern, line)} - MADE
    assert not {name for name in named if not (ROOT / name).exists()}


@pytest.mark.parametrize("path", [README, RUNBOOK], ids=label)
def test_subcommands_exist(path: Path) -> None:
    named = {name for line in code_blocks(path) for name in re.findall(r"(?:^|[\s/])fkllmproxy ([a-z]+)", line)}
    named |= set(re.findall(r"`fkllmproxy ([a-z]+)", path.read_text()))
    assert named
    assert named <= COMMANDS


@pytest.mark.parametrize("path", [RUNBOOK, ROOT / "fkproxy" / "doctor" / "service.py"], ids=label)
def test_commands_that_read_the_whole_log_pass_over_what_is_not_json_in_it(path: Path) -> None:
    """An interpreter that cannot start prints a traceback there, and `jq` ends at its first line. It has no priority, as `-p` wants."""
    reading = [line for line in path.read_text().splitlines() if re.search(r"journalctl -[tu] fkllmproxy (?!-p ).*\| jq ", line)]
    assert reading
    assert [line for line in reading if "fromjson?" not in line] == []


@pytest.mark.parametrize("path", DOCUMENTS, ids=label)
def test_links_lead_somewhere(path: Path) -> None:
    links = {link.partition("#")[0] for link in re.findall(r"\]\(([^)\s]+)\)", path.read_text()) if "://" not in link}
    assert not {link for link in links if link and not (path.parent / link).exists()}


def test_the_changelog_begins_with_this_version() -> None:
    headings = re.findall(r"^## \[?([^\]\s]+)", CHANGELOG.read_text(), re.MULTILINE)
    assert __version__ in headings[:2], "the first heading, or the one below Unreleased"


def test_the_table_of_losses_is_what_the_codecs_say() -> None:
    done = subprocess.run([sys.executable, "scripts/losses.py", "--check"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_the_page_of_the_providers_file_is_what_its_schema_says() -> None:
    done = subprocess.run([sys.executable, "scripts/providers_docs.py", "--check"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_the_example_of_a_providers_file_is_one(tmp_path: Path) -> None:
    text = (ROOT / "packaging" / "providers.example.toml").read_text().replace("/etc/fkllmproxy/team-key-2", str(tmp_path / "key"))
    (tmp_path / "key").write_text("second-key")
    (tmp_path / "team-key-3").write_text("third-key")
    (tmp_path / "providers.toml").write_text(text)
    keys = {"TEAM_KEY_1": "first-key", "CLAUDE_KEY": "another-key", "CREDENTIALS_DIRECTORY": str(tmp_path)}
    loaded = load(environ={"APP_PROVIDERS_FILE": str(tmp_path / "providers.toml"), **keys})
    assert [(provider.name, len(provider.credentials)) for provider in loaded.providers] == [("openai-team", 3), ("claude", 1)]


def test_the_table_of_losses_has_every_dialect() -> None:
    text = (ROOT / "docs" / "losses.md").read_text()
    assert text.count("## A client that speaks") == len(DIALECTS)
    assert all(word in text for word in ("carried", "converted", "dropped", "refused"))
