"""Make the one file, as shiv.toml says. The same sources and locks give the same bytes, wherever and whenever.

Packages come from the lock with their hashes checked. What an installer writes about itself (paths, times, its own name) is taken out
again, and the zip that shiv made is written anew with one order, one date and one set of modes, because shiv takes modes and the
order of its own files from the disk; its first lines are ours (start.py). The result appears under its name at once and whole.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import stat
import subprocess
import sys
import tempfile
import time
import tomllib
import zipfile
from importlib.util import find_spec
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
WORK = ROOT / "build"
LOCK = ROOT / "requirements" / "runtime.txt"

_INSTALLERS_NOTES = ("direct_url.json", "INSTALLER", "REQUESTED", "RECORD")


def main() -> int:
    if sys.version_info[:2] != (3, 11) or find_spec("shiv") is None:
        raise SystemExit("build: needs CPython 3.11 with what requirements/build.txt says; `make build` sets that up")
    options = tomllib.loads((ROOT / "shiv.toml").read_text())["shiv"]
    output = ROOT / options["output"]
    output.parent.mkdir(parents=True, exist_ok=True)
    WORK.mkdir(exist_ok=True)
    packages = _packages(options)
    with tempfile.TemporaryDirectory(dir=WORK, prefix="stage-") as name:
        stage = Path(name)
        shutil.copytree(packages, stage / "site", ignore=shutil.ignore_patterns("__pycache__", *_INSTALLERS_NOTES))
        _leave_out(stage / "site", options["leave_out"])
        _copy_sources(stage / "site")
        _carry(stage / "site" / "fkproxy")
        _zip(stage, options)
        _write_anew(stage / "by-shiv", stage / "whole", options)
        (stage / "whole").chmod(0o755)
        (stage / "whole").replace(output)
    digest = hashlib.sha256(output.read_bytes()).hexdigest()
    print(f"{options['output']}  {output.stat().st_size / 1e6:.1f} MB  sha256 {digest}")
    return 0


def _packages(options: dict[str, Any]) -> Path:
    """The locked packages, installed once for each state of the lock."""
    key = hashlib.sha256(LOCK.read_bytes() + sys.version.encode()).hexdigest()[:16]
    site = WORK / f"packages-{key}"
    if not site.is_dir():
        with tempfile.TemporaryDirectory(dir=WORK, prefix="fetch-") as fresh:
            pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--root-user-action=ignore"]
            pip += ["--require-hashes", "--no-deps", "--no-compile", "--no-build-isolation", "--only-binary", ":all:"]
            pip += ["--no-binary", ",".join(options["from_source"]), "--target", f"{fresh}/site", "-r", str(LOCK)]
            _run(pip)
            for older in WORK.glob("packages-*"):
                shutil.rmtree(older)
            Path(fresh, "site").replace(site)
    return site


def _leave_out(site: Path, patterns: list[str]) -> None:
    for pattern in patterns:
        found = list(site.glob(pattern))
        if not found:
            raise SystemExit(f"build: shiv.toml leaves out {pattern}, but no package has it any more")
        for path in found:
            shutil.rmtree(path)


def _copy_sources(site: Path) -> None:
    for path in sorted((ROOT / "fkproxy").rglob("*")):
        if path.is_file() and path.suffix != ".pyc":
            target = site / path.relative_to(ROOT)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, target)


def _carry(package: Path) -> None:
    """What `fkllmproxy install` puts on a host."""
    for name in ("packaging/env.example", "packaging/systemd/fkllmproxy.service", "packaging/systemd/fkllmproxy.socket", "runbook.md"):
        target = package / "packaged" / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / name, target)


def _zip(stage: Path, options: dict[str, Any]) -> None:
    command = [sys.executable, "-m", "shiv.cli", "--site-packages", str(stage / "site"), "--output-file", str(stage / "by-shiv")]
    command += ["--entry-point", options["entry_point"], "--python", options["python"], "--preamble", str(ROOT / options["preamble"])]
    _run([*command, "--uncompressed", "--reproducible"], SOURCE_DATE_EPOCH=str(options["source_date_epoch"]))


def _write_anew(made: Path, target: Path, options: dict[str, Any]) -> None:
    date = time.gmtime(options["source_date_epoch"])[:6]
    with zipfile.ZipFile(made) as source, target.open("wb") as out:
        out.write(f"#!{options['python']}\n".encode())
        with zipfile.ZipFile(out, "w") as archive:
            for name in sorted(source.namelist()):
                entry = zipfile.ZipInfo(name, date)
                entry.create_system = 3  # Unix, whose modes follow
                entry.external_attr = (stat.S_IFREG | (0o755 if name.endswith(".so") else 0o644)) << 16
                entry.compress_type = zipfile.ZIP_DEFLATED if options["compressed"] else zipfile.ZIP_STORED
                archive.writestr(entry, (ROOT / options["start"]).read_bytes() if name == "__main__.py" else source.read(name))


def _run(command: list[str], **environment: str) -> None:
    try:
        subprocess.run(command, check=True, env={**os.environ, **environment})
    except subprocess.CalledProcessError as error:
        raise SystemExit(f"build: {' '.join(command[1:4])} … failed with {error.returncode}; what it said is above") from error


if __name__ == "__main__":
    sys.exit(main())
