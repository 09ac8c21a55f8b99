"""Every setting is documented, has its place in the example, and does something."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from fkproxy.settings import Settings, describe, load
from fkproxy.settings.envfile import read_environment_file
from fkproxy.settings.schema import Slot, slots
from scripts import env_example

ROOT = Path(__file__).parent.parent.parent
KNOWN = {name for slot in slots() for name in (*slot.names, *(f"{name}_FILE" for name in slot.names if slot.secret))}


def aliases(tree: ast.AST) -> dict[str, str]:
    """Local names of sections: {"auth": "auth", "policy": "circuit_breaker"} for `policy = settings.circuit_breaker` and the like."""
    found: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign):
            (target,) = node.targets[:1]
            pairs = (
                zip(target.elts, node.value.elts, strict=False)
                if isinstance(target, ast.Tuple) and isinstance(node.value, ast.Tuple)
                else [(target, node.value)]
            )
            for name, value in pairs:
                if isinstance(name, ast.Name) and isinstance(value, ast.Attribute) and value.attr in Settings.model_fields:
                    found[name.id] = value.attr
    return found


def settings_read() -> Iterator[tuple[str, str]]:
    """(section, field) wherever the program outside of the settings and the command line reads one."""
    for path in (ROOT / "fkproxy").rglob("*.py"):
        inside = path.parent.name == "settings" and path.name not in ("loading.py", "providers_table.py")
        if inside or path.name == "cli.py":
            continue
        tree = ast.parse(path.read_text())
        local = aliases(tree)
        for node in ast.walk(tree):
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Attribute):
                yield node.value.attr, node.attr
            elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in local:
                yield local[node.value.id], node.attr


def test_every_setting_is_read_by_the_program() -> None:
    assert {(slot.section, slot.field) for slot in slots()} - set(settings_read()) == set()


@pytest.mark.parametrize("slot", slots(), ids=lambda slot: slot.name)
def test_every_setting_says_what_it_is_and_what_it_counts(slot: Slot) -> None:
    text = slot.info.description
    assert text
    assert text.endswith(".")
    assert (slot.unit == "seconds") == slot.field.endswith("_secs")
    if isinstance(slot.default, int | float) and not isinstance(slot.default, bool):
        assert slot.limits
        assert any(hasattr(rule, "le") for rule in slot.info.metadata), "what has no end can be more than can be counted with"


def test_the_example_is_what_the_schema_makes() -> None:
    assert env_example.TARGET.read_text() == env_example.render(), "run scripts/env_example.py --write"
    ended = subprocess.run([sys.executable, env_example.__file__, "--check"], cwd="/", check=False)
    assert ended.returncode == 0


def test_an_example_that_is_not_up_to_date_is_noticed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    target = tmp_path / "packaging" / "env.example"
    monkeypatch.setattr(env_example, "ROOT", tmp_path)
    monkeypatch.setattr(env_example, "TARGET", target)
    for option, code in (("--check", 1), ("--write", 0), ("--check", 0)):
        monkeypatch.setattr(sys, "argv", ["env_example.py", option])
        assert env_example.main() == code
    target.write_text(target.read_text().replace("4000", "4001"))
    assert env_example.main() == 1
    assert "--write" in capsys.readouterr().err


def test_the_example_with_nothing_commented_out_is_the_default(tmp_path: Path) -> None:
    path = tmp_path / "env"
    path.write_text(re.sub(r"^#(?=APP_\w+=)", "", env_example.render(), flags=re.MULTILINE))
    values, problems = read_environment_file(path)
    assert problems == []
    assert set(values) == {slot.name for slot in slots()}
    loaded = load(path, {})
    assert loaded.settings == Settings()
    assert {row.value for row in describe(loaded) if row.value != row.default} == set()


def test_the_example_tells_the_file_form_of_every_secret_and_of_nothing_else() -> None:
    told = set(re.findall(r"\b(APP_\w+)_FILE=/", env_example.render()))
    assert told == {slot.name for slot in slots() if slot.secret}


@pytest.mark.parametrize("document", ["README.md", "runbook.md", "packaging/env.example"])
def test_documents_name_settings_that_exist(document: str) -> None:
    named = set(re.findall(r"\bAPP_[A-Z_]+__[A-Z_]+\b", (ROOT / document).read_text()))
    assert named
    assert named - KNOWN == set()


def test_what_may_be_managed_is_no_secret_address_or_file() -> None:
    live = {slot.name: slot for slot in slots() if slot.live}
    assert {slot.section for slot in live.values()} >= {"rate_limit", "concurrency", "routing", "cooldown", "circuit_breaker", "timeout"}
    assert {"APP_LOG__LEVEL", "APP_SERVER__MAX_REQUEST_SIZE", "APP_CORS__ENABLED", "APP_STREAM__KEEP_ALIVE_SECS"} <= live.keys()
    assert not {slot.section for slot in live.values()} & {"auth", "vertex", "openai", "anthropic", "providers", "sandbox"}
    assert not [name for name, slot in live.items() if slot.secret or slot.is_path or name in ("APP_SERVER__HOST", "APP_SERVER__PORT")]


def test_the_choices_of_a_setting_that_need_not_be_set_are_known() -> None:
    by_name = {slot.name: slot.choices for slot in slots()}
    assert by_name["APP_ROUTING__STRATEGY"][:2] == ("ordered", "round_robin")
    assert by_name["APP_LOG__FORMAT"] == ("json", "pretty")
    assert by_name["APP_ROUTING__MAX_ATTEMPTS"] == ()
