"""Other versions of the built file, made from it: the same packages, with some lines of ours changed."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Mapping
from pathlib import Path

from tests.e2e.processes import BINARY

_VERSION = "site-packages/fkproxy/__init__.py"
_CLI = "site-packages/fkproxy/cli.py"


def variant(path: Path, version: str, changes: Mapping[str, tuple[str, str]] = {}) -> Path:
    """The file as `version`; `changes` replaces text in members of the archive."""
    with BINARY.open("rb") as made, zipfile.ZipFile(BINARY) as source, path.open("wb") as out:
        out.write(made.readline())
        with zipfile.ZipFile(out, "w", zipfile.ZIP_STORED) as target:
            for entry in source.infolist():
                data = source.read(entry)
                if entry.filename == _VERSION:
                    data = f'"""Another one."""\n__all__ = ["__version__"]\n__version__ = "{version}"\n'.encode()
                elif entry.filename == "environment.json":
                    known = json.loads(data)
                    data = json.dumps({**known, "build_id": f"{version}-{known['build_id']}"}).encode()
                elif entry.filename in changes:
                    before, after = changes[entry.filename]
                    assert before.encode() in data, f"{entry.filename} has no {before!r}"
                    data = data.replace(before.encode(), after.encode())
                target.writestr(entry.filename, data)
    path.chmod(0o755)
    return path


def failing_selftest(path: Path) -> Path:
    """A file whose answers are wrong: only the self-test notices."""
    return variant(path, "6.6.6", {_CLI: ("return _told(selftest.quick.run(", "return 1 + _told(selftest.quick.run(")})


def unable_to_serve(path: Path) -> Path:
    """A file that passes every trial and then does not start under the service manager."""
    return variant(
        path,
        "7.7.7",
        {
            _CLI: (
                "    journal, parent = is_journal(",
                "    if 'NOTIFY_SOCKET' in process_variables():\n        return 3\n    journal, parent = is_journal(",
            )
        },
    )
