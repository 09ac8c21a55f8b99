"""The repository keeps its manners: locks without addresses, small files, reasons beside exceptions, tests that mirror the sources."""

from __future__ import annotations

import ast
import json
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parent.parent
LOCKS = sorted((ROOT / "requirements").glob("*.txt"))
FOLDERS = (".ci", "bench", "docs", "fkproxy", "packaging", "requirements", "scripts", "tests")
MADE = {"__pycache__", "node_modules", "build", "dist"}
CODE = {".py", ".c", ".mjs", ".js", ".sh"}
MAX_LINES = 500
CROSS_CUTTING = {"bench", "build", "docs", "floors", "loops", "monitoring", "repository"}
"""Tests of the repository itself, and of what its tests rest on."""
MANY_AT_ONCE: dict[str, set[str]] = {
    "adapters/codex": {"crew_starts", "stand_in"},
    "adapters/token_file": {"sharing"},
    "dialects/codex": {"seals"},
    "dialects": {"conversations", "golden", "growth", "matrix", "mutations", "peek", "schema"},
    "storage": {"calls_import_rests"},
}
"""Package → tests that speak of several of its modules, or of one deeper down."""


def label(path: Path) -> str:
    return str(path.relative_to(ROOT))


def files() -> Iterator[Path]:
    """Everything that belongs to the repository, as far as it is text; captured bytes are not ours to judge."""
    candidates = [path for path in ROOT.iterdir() if path.is_file()]
    candidates += [path for folder in FOLDERS for path in (ROOT / folder).rglob("*") if path.is_file()]
    for path in sorted(candidates):
        parts = path.relative_to(ROOT).parts
        if not MADE & set(parts) and "golden" not in parts and path.suffix not in (".pyc", ".so"):
            yield path


SOURCES = [path for path in files() if path.suffix in CODE]
TEXTS = [path for path in files() if path.suffix not in (".woff2", ".png", ".ico")]


def locked(path: Path) -> dict[str, str]:
    """Name → version."""
    pins = re.findall(r"^([\w.-]+)==(\S+)", path.read_text(), re.MULTILINE)
    return {canonicalize_name(name): version for name, version in pins}


def wanted(path: Path) -> list[Requirement]:
    lines = [line.partition("#")[0].strip() for line in path.read_text().splitlines()]
    return [Requirement(line) for line in lines if line and not line.startswith("-")]


@pytest.mark.parametrize("path", LOCKS, ids=label)
def test_locks_hold_versions_and_hashes_and_nothing_else(path: Path) -> None:
    line = re.compile(r"[a-z0-9-]+==[0-9][0-9a-z.]* \\|    --hash=sha256:[0-9a-f]{64}( \\)?")
    assert not [text for text in path.read_text().splitlines() if not line.fullmatch(text)]


@pytest.mark.parametrize("path", LOCKS, ids=label)
def test_locks_hold_what_is_asked_for(path: Path) -> None:
    pins = locked(path)
    missing = [
        str(wish) for wish in wanted(path.with_suffix(".in")) if not wish.specifier.contains(pins.get(canonicalize_name(wish.name), "0"))
    ]
    assert not missing


def test_locks_agree() -> None:
    versions: dict[str, set[str]] = {}
    for path in LOCKS:
        for name, version in locked(path).items():
            versions.setdefault(name, set()).add(version)
    assert not {name: found for name, found in versions.items() if len(found) > 1}
    assert locked(ROOT / "requirements/runtime.txt").items() <= locked(ROOT / "requirements/test.txt").items()


def test_the_project_asks_for_the_same_packages_as_the_lock_inputs() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    lists = {"runtime": project["project"]["dependencies"], **project["dependency-groups"]}
    for name, requirements in lists.items():
        asked = {str(wish) for wish in wanted(ROOT / "requirements" / f"{name}.in")}
        assert {str(Requirement(requirement)) for requirement in requirements} == asked, name


def test_the_node_lock_holds_exact_versions_and_hashes_and_no_addresses() -> None:
    package = json.loads((ROOT / "package.json").read_text())
    packages: dict[str, dict[str, object]] = json.loads((ROOT / "package-lock.json").read_text())["packages"]
    asked: dict[str, str] = {**package.get("dependencies", {}), **package.get("devDependencies", {})}
    assert {name: packages[f"node_modules/{name}"]["version"] for name in asked} == asked
    for name, entry in packages.items():
        assert "resolved" not in entry, name
        assert not name or str(entry["integrity"]).startswith("sha512-"), name


@pytest.mark.parametrize("path", SOURCES, ids=label)
def test_files_are_small(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= MAX_LINES


@pytest.mark.parametrize("path", [path for path in SOURCES if path.suffix == ".py"], ids=label)
def test_exceptions_to_the_checks_carry_a_reason(path: Path) -> None:
    excuse = re.compile(r"#\s*(?:noqa|type:\s*ignore)\b(.*)")
    reasoned = re.compile(r"(?:: [A-Z]+\d+(?:, ?[A-Z]+\d+)* - \S.*|\[[\w, -]+\]  # \S.*)")
    bare = []
    for number, line in enumerate(path.read_text().splitlines(), 1):
        found = excuse.search(line)
        if found and not reasoned.fullmatch(found[1]):
            bare.append((number, found[0]))
    assert not bare, "noqa: CODE - reason; type: ignore[code]  # reason"


@pytest.mark.parametrize("path", TEXTS, ids=label)
def test_nothing_is_left_for_later(path: Path) -> None:
    marks = re.compile(r"\b(?:TO" r"DO|FIX" r"ME|XX" r"X)\b")
    assert not [line for line in path.read_text().splitlines() if marks.search(line)]


@pytest.mark.parametrize("path", TEXTS, ids=label)
def test_no_path_of_one_machine(path: Path) -> None:
    places = re.compile(r"""(?<![\w.$~/-])/(?:work|root|Users|home/\w+)/""")
    assert not [line for line in path.read_text().splitlines() if places.search(line)]


@pytest.mark.parametrize("path", sorted((ROOT / "tests").rglob("test_*.py")), ids=label)
def test_tests_mirror_the_sources(path: Path) -> None:
    parts = path.relative_to(ROOT / "tests").parts
    subject = path.stem.removeprefix("test_")
    if parts[0] in ("e2e", "lab", "live") or (len(parts) == 1 and subject in CROSS_CUTTING):
        return
    folder = (ROOT / "fkproxy").joinpath(*parts[:-1])
    if subject in MANY_AT_ONCE.get("/".join(parts[:-1]), set()):
        return
    assert (folder / f"{subject}.py").exists() or (folder / subject / "__init__.py").exists()


def test_every_unit_has_tests() -> None:
    units = {path.stem if path.suffix else path.name for path in (ROOT / "fkproxy").iterdir() if not path.name.startswith("_")}
    tested = {path.stem.removeprefix("test_") for path in (ROOT / "tests").glob("test_*.py")}
    tested |= {path.parent.relative_to(ROOT / "tests").parts[0] for path in (ROOT / "tests").glob("*/**/test_*.py")}
    driven = {"app", "main_process", "server", "supervision", "smoke"}
    told = "tests/e2e drives whole programs; test_gateway and test_attempts tell the stories of what is under them"
    assert not units - tested - driven - {"call", "relay", "exchange", "fleet", "hedge", "upstream"}, told


def test_bytes_are_looked_for_with_find() -> None:
    """`b"x" in data` takes its left side for a number first, and formats an error that nobody sees: twenty times the instructions."""
    found = [
        f"{path.relative_to(ROOT)}:{node.lineno}"
        for path in sorted((ROOT / "fkproxy").rglob("*.py"))
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Compare) and isinstance(node.ops[0], ast.In | ast.NotIn)
        if isinstance(node.left, ast.Constant) and isinstance(node.left.value, bytes)
    ]
    assert found == []
