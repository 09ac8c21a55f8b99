"""The layout holds: imports go down only, third-party libraries and vendors' names stay in their homes.

Read from the sources with `ast`; nothing is imported. To add a module or a library, add its row to the tables.
"""

from __future__ import annotations

import ast
import graphlib
import re
import sys
import tomllib
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "fkproxy"

FLOORS: dict[str, int] = {
    "model": 0, "wire": 0,
    "dialects": 1, "limits": 1, "access": 1, "routing": 1, "seals": 1, "estimate": 1, "suffix": 1,
    "selection": 1, "directory": 1, "terms": 1,
    "adapters": 2, "telemetry": 2, "storage": 2,
    "hedge": 3, "hedging": 3, "turns": 3, "turnstile": 3, "intake": 3,
    "quota_watch": 3, "explain": 3, "control": 3, "upstream": 3, "fleet": 3, "probe": 3, "attempts": 3, "refusal": 3, "exchange": 3,
    "allowances": 3, "clientele": 3, "pools": 3, "under_way": 3,
    "gateway": 3, "relay": 3, "error_reply": 3, "side_calls": 3, "sniffing": 3, "call": 3, "catalogue": 3,
    "settings": 4, "children": 4,
    "providers": 4, "assembly": 4, "web": 4, "app": 4, "server": 4, "smoke": 4, "remote": 4, "cli": 4, "__main__": 4,
    "administration": 4, "control_room": 4, "keeper": 4, "place": 4, "policies": 4, "upkeep": 4,
    "scheduling": 4, "descriptors": 4, "heap": 4,
    "main_process": 4, "notices": 4, "supervision": 4, "systemd": 4, "selftest": 4, "installation": 4, "doctor": 4,
}  # fmt: skip
"""Top-level module or package → floor."""

SIDEWAYS: dict[str, set[str]] = {
    "wire": {"model"},  # errors
    "dialects": {"suffix"},  # how much to think, where a model's name says it
    "storage": {"telemetry"},  # the records of calls, and the lines of the journal
    "selection": {"routing"},  # the names of the strategies
    "directory": {"routing"},  # the same
    "terms": {"directory", "routing", "suffix"},
    "access": {"directory", "terms"},
    "fleet": {"hedging", "upstream"},
    "hedge": {"call", "hedging", "upstream"},
    "explain": {"fleet"},
    "quota_watch": {"fleet", "upstream"},
    "control": {"fleet", "probe", "upstream"},
    "turnstile": {"turns"},
    "intake": {"turns"},
    "allowances": {"turnstile"},
    "pools": {"fleet"},
    "under_way": {"call"},
    "clientele": {"allowances", "call", "fleet", "pools", "under_way"},
    "call": {"allowances", "hedging", "intake", "upstream"},
    "exchange": {"call", "error_reply", "hedge", "relay", "side_calls", "sniffing", "upstream"},
    "attempts": {"call", "exchange", "fleet", "refusal", "upstream"},
    "catalogue": {"fleet"},
    "gateway": {"turnstile", "attempts", "clientele", "call", "exchange", "fleet", "intake", "relay"},
    "relay": {"call"},
    "error_reply": {"call", "relay"},
    "side_calls": {"call", "error_reply", "relay"},
    "web": {"control", "explain", "settings", "gateway", "call", "catalogue", "fleet", "intake", "supervision", "upstream"},
    "children": {"settings"},
    "providers": {"children", "settings"},
    "assembly": {"providers", "settings"},
    "place": {"settings"},
    "upkeep": {"place", "settings"},
    "administration": {"keeper", "place", "settings"},
    "control_room": {"administration", "settings"},
    "policies": {"settings"},
    "app": {"administration", "assembly", "control_room", "place", "policies", "settings", "web"},
    "server": {"descriptors", "heap", "main_process", "scheduling", "settings", "app", "systemd"},
    "main_process": {"notices", "settings", "supervision", "systemd"},
    "supervision": {"systemd"},
    "selftest": {"smoke", "supervision", "systemd"},
    "doctor": {"children", "descriptors", "installation", "place", "providers", "settings"},
    "cli": {
        "children",
        "doctor",
        "installation",
        "main_process",
        "place",
        "remote",
        "selftest",
        "server",
        "settings",
        "smoke",
        "supervision",
        "upkeep",
    },
    "__main__": {"cli", "main_process"},
}
"""What a unit may import on its own floor. Floor 4 puts the parts together, so it is a chain and not a plane."""

SHARED: dict[str, set[str]] = {
    "dialects": {
        "arguments",
        "base",
        "conversation",
        "counts",
        "envelope",
        "foreign",
        "json_mode",
        "media",
        "openai_errors",
        "openai_ids",
        "openai_list",
        "openai_models",
        "openai_schema",
        "openai_user",
        "pairing",
        "retry_after",
        "root_schema",
        "statuses",
        "tool_names",
    },
    "adapters": {"base", "http", "access", "listing", "google_auth", "secret", "vertex"},
    "limits": {"changes", "forward"},
}
"""In these packages the modules stand beside each other: they import only the shared ones, and the package's own file all of them."""

NEIGHBOURS: dict[str, set[str]] = {
    "dialects.codex": {"openai_responses"},  # what the child is told as history are items of that dialect
}
"""Module → the neighbour that it is made from, with a reason."""

HOMES: dict[str, tuple[str, ...]] = {
    "alembic": ("storage.schema", "storage.migrations"),
    "aiosqlite": ("storage.engines",),
    "asyncpg": ("storage.engines",),
    "cryptography": ("storage.secrets",),
    "granian": ("server",),
    "genai_prices": ("telemetry.prices",),
    "google": ("adapters.google_auth",),
    "requests": ("adapters.google_auth",),
    "httptools": ("adapters.http",),
    "jmespath": ("adapters.quota",),
    "litestar": ("web.admin",),
    "msgspec": ("",),
    "prometheus_client": ("telemetry.metrics",),
    "pydantic": ("settings",),
    "pythonjsonlogger": ("telemetry.logs",),
    "sdnotify": ("systemd",),
    "sqlalchemy": ("storage",),
    "yaml": ("settings.locating",),
}
"""Third-party library → where it may be imported. msgspec is the language of our values and lives everywhere."""

NOT_IMPORTED: dict[str, str] = {
    "uvloop": "granian starts it",
}
"""Dependencies that no line of ours imports, and why they are carried."""

DISTRIBUTIONS: dict[str, str] = {
    "genai-prices": "genai_prices",
    "google-auth": "google",
    "prometheus-client": "prometheus_client",
    "python-json-logger": "pythonjsonlogger",
    "pyyaml": "yaml",
}
"""Where a distribution and what it is imported as have different names."""

VENDOR = re.compile(r"gemini|openai|vertex|google|anthropic|claude|codex", re.IGNORECASE)
VENDOR_HOMES = (
    "adapters.anthropic",
    "dialects.anthropic",
    "dialects.gemini",
    "dialects.openai_chat",
    "dialects.openai_models",
    "dialects.openai_responses",
    "adapters.gemini",
    "adapters.google_auth",
    "adapters.openai",
    "adapters.vertex",
    "adapters.codex",
    "dialects.codex",
)
"""Each vendor's own packages and modules."""
REGISTRIES = (
    "children",
    "control.fallback_list",
    "dialects",
    "doctor.shell",
    "doctor.vendors",
    "providers",
    "selftest.matrix",
    "settings.aliases",
    "settings.managed_providers",
    "settings.profiles",
    "settings.schema",
    "settings.providers_schema",
    "settings.providers_table",
    "settings.checks",
    "settings.sources",
)
"""The modules that know them all, by their exact names."""
VENDOR_GUESTS: dict[str, set[str]] = {
    "adapters.sandbox": {"openai_chat"},  # the dialect it answers in
}
"""Module → the names and strings it may hold all the same, each with a reason."""

MODULES = sorted(path for path in PACKAGE.rglob("*.py"))
INNER = [path for path in MODULES if path not in (PACKAGE / "__init__.py", PACKAGE / "__main__.py")]
"""Without the two files that only point: the version and `python -m fkproxy`."""


def name_of(path: Path) -> str:
    """`adapters.http.client` for its file; the package's own name for its `__init__.py`; "" for fkproxy itself."""
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def label(path: Path) -> str:
    return str(path.relative_to(ROOT))


@cache
def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text(), str(path))


def inside(module: str, homes: tuple[str, ...]) -> bool:
    return any(not home or module == home or module.startswith(home + ".") for home in homes)


def knows_vendors(module: str) -> bool:
    return inside(module, VENDOR_HOMES) or module in REGISTRIES


def own_imports(path: Path, *, typing_only: bool = True) -> Iterator[str]:
    """Modules of ours that this one imports, as `name_of` names them; without those for type checkers if asked."""
    known = {name_of(module) for module in MODULES}
    skipped: set[ast.AST] = set()
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING" and not typing_only:
            skipped |= {inner for statement in node.body for inner in ast.walk(statement)}
        if node in skipped:
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[2] for alias in node.names if alias.name.split(".")[0] == "fkproxy")
        elif isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "fkproxy":
            base = (node.module or "").partition(".")[2]
            for alias in node.names:
                whole = f"{base}.{alias.name}" if base else alias.name
                yield whole if whole in known else base


def foreign_imports(path: Path) -> Iterator[str]:
    """Top-level names of the libraries that this module imports."""
    for node in ast.walk(tree_of(path)):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        if isinstance(node, ast.ImportFrom):
            names = [node.module or ""]
        for name in names:
            top = name.split(".")[0]
            if top != "fkproxy" and top not in sys.stdlib_module_names:
                yield top


def words_of(path: Path) -> Iterator[tuple[int, str]]:
    """Names that the module gives or uses, and its strings but for docstrings, with their lines. Imports have their own test."""
    prose = {id(node.value) for node in ast.walk(tree_of(path)) if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)}
    for node in ast.walk(tree_of(path)):
        match node:
            case ast.Constant(value=str() as text) if id(node) not in prose:
                yield node.lineno, text
            case ast.Name(id=text) | ast.Attribute(attr=text) | ast.arg(arg=text):
                yield node.lineno, text
            case ast.FunctionDef(name=text) | ast.AsyncFunctionDef(name=text) | ast.ClassDef(name=text):
                yield node.lineno, text
            case ast.keyword(arg=str() as text):
                yield node.value.lineno, text


def test_every_unit_has_a_floor() -> None:
    units = {name_of(path).split(".")[0] for path in MODULES} - {""}
    assert units == set(FLOORS)


@pytest.mark.parametrize("path", MODULES, ids=label)
def test_imports_go_down(path: Path) -> None:
    unit = name_of(path).split(".")[0]
    if not unit:
        assert list(own_imports(path)) == []
        return
    wrong = set()
    for target in own_imports(path):
        other = target.split(".")[0]
        if other in ("", unit) or FLOORS[other] < FLOORS[unit]:
            continue
        if other not in SIDEWAYS.get(unit, set()):
            wrong.add(target)
    assert not wrong, f"floor {FLOORS[unit]} must not import {sorted(wrong)}"


@pytest.mark.parametrize("package", SHARED)
def test_neighbours_in_a_package_do_not_import_each_other(package: str) -> None:
    wrong = set()
    for path in (PACKAGE / package).rglob("*.py"):
        module = name_of(path).split(".")
        for target in own_imports(path):
            other = target.split(".")
            if len(module) < 2 or other[0] != package or len(other) < 2:
                continue
            known = SHARED[package] | NEIGHBOURS.get(".".join(module[:2]), set())
            if other[1] != module[1] and other[1] not in known:
                wrong.add((".".join(module), target))
    assert not wrong


def test_no_module_imports_itself_by_way_of_others() -> None:
    def needs(path: Path) -> set[str]:
        module = name_of(path)
        return {target for target in own_imports(path, typing_only=False) if target != module and not module.startswith(target + ".")} - {
            ""
        }

    graph = {name_of(path): needs(path) for path in MODULES}
    assert len(list(graphlib.TopologicalSorter(graph).static_order())) == len(MODULES)


@pytest.mark.parametrize("path", MODULES, ids=label)
def test_libraries_are_imported_in_their_homes_only(path: Path) -> None:
    module = name_of(path)
    wrong = {library for library in foreign_imports(path) if not inside(module, HOMES.get(library, ()))}
    assert not wrong


def test_every_dependency_has_a_home_and_every_home_is_used() -> None:
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    names = {re.split(r"[<>=!~\[ ;]", requirement)[0] for requirement in declared}
    imported = {library for path in MODULES for library in foreign_imports(path)}
    assert {DISTRIBUTIONS.get(name, name) for name in names} == set(HOMES) | set(NOT_IMPORTED)
    assert imported == set(HOMES) - set(NOT_IMPORTED)


@pytest.mark.parametrize("path", [path for path in MODULES if not inside(name_of(path), ("settings",))], ids=label)
def test_only_settings_read_the_environment(path: Path) -> None:
    reading = {"environ", "environb", "getenv", "getenvb"}
    found = []
    for node in ast.walk(tree_of(path)):
        match node:
            case ast.Attribute(value=ast.Name(id="os"), attr=attribute) if attribute in reading:
                found.append(node.lineno)
            case ast.ImportFrom(module="os", names=names) if {alias.name for alias in names} & reading:
                found.append(node.lineno)
    assert not found, f"lines {found}"


@pytest.mark.parametrize("path", [path for path in INNER if not knows_vendors(name_of(path))], ids=label)
def test_vendors_names_stay_in_their_homes(path: Path) -> None:
    allowed = VENDOR_GUESTS.get(name_of(path), set())
    found = {(line, word) for line, word in words_of(path) if VENDOR.search(word) and word not in allowed}
    assert not found


def test_homes_and_guests_are_still_there() -> None:
    naming = {name_of(path) for path in MODULES if any(VENDOR.search(word) for _, word in words_of(path))}
    assert {home for home in VENDOR_HOMES if any(inside(module, (home,)) for module in naming)} == set(VENDOR_HOMES)
    assert naming >= set(REGISTRIES)
    held = {module: {word for _, word in words_of(path)} for path in MODULES if (module := name_of(path)) in VENDOR_GUESTS}
    assert all(VENDOR_GUESTS[module] <= held.get(module, set()) for module in VENDOR_GUESTS)


@pytest.mark.parametrize("path", INNER, ids=label)
def test_the_docstring_says_the_floor(path: Path) -> None:
    floor = FLOORS[name_of(path).split(".")[0]]
    assert re.search(rf"\bFloor {floor}\b", ast.get_docstring(tree_of(path)) or "")


@pytest.mark.parametrize("path", MODULES, ids=label)
def test_public_names_are_listed(path: Path) -> None:
    listed: list[str] | None = None
    defined = set()
    public = False
    for node in tree_of(path).body:
        match node:
            case ast.Assign(targets=[ast.Name(id="__all__")], value=value):
                listed = list(ast.literal_eval(value))
            case ast.Assign(targets=targets):
                defined |= {target.id for target in targets if isinstance(target, ast.Name)}
            case ast.AnnAssign(target=ast.Name(id=name)):
                defined.add(name)
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
                defined.add(name)
                public = public or not name.startswith("_")
            case ast.Import(names=names) | ast.ImportFrom(names=names):
                defined |= {(alias.asname or alias.name).split(".")[0] for alias in names}
    assert listed is not None or not public, "public names without __all__"
    assert set(listed or ()) <= defined
    assert len(set(listed or ())) == len(listed or ())
