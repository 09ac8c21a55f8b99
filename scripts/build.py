"""Make the one file, as shiv.toml says. The same sources and locks give the same bytes, wherever and whenever.

Packages come from the lock with their hashes checked; what an installer writes about itself (paths, times, its own name) is taken out
again. The result appears under its name at once and whole.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
STAGE = ROOT / "build" / "stage"
LOCK = ROOT / "requirements" / "runtime.txt"

_LEAVE_OUT_FILES = ("direct_url.json", "INSTALLER", "REQUESTED", "RECORD")
_LEAVE_OUT_FOLDERS = ("__pycache__", "tests", "testing", "bin")
_KEPT_FOLDERS = ("litestar/testing",)
"""Folders that the program imports although their names say that they are for tests."""


def main() -> int:
    options = tomllib.loads((ROOT / "shiv.toml").read_text())["shiv"]
    os.umask(0o022)
    site = _packages()
    stage = STAGE / "site"
    shutil.rmtree(STAGE, ignore_errors=True)
    shutil.copytree(site, stage, symlinks=True)
    _copy_sources(stage)
    _normalise(stage, options["source_date_epoch"])
    output = ROOT / options["output"]
    output.parent.mkdir(parents=True, exist_ok=True)
    fresh = STAGE / output.name
    command = [sys.executable, "-m", "shiv.cli", "--site-packages", str(stage), "--output-file", str(fresh)]
    command += ["--entry-point", options["entry_point"], "--python", options["python"]]
    command += ["--preamble", str(ROOT / options["preamble"])]
    command += ["--compressed"] if options["compressed"] else ["--uncompressed"]
    command += ["--reproducible"] if options["reproducible"] else []
    _run(command, SOURCE_DATE_EPOCH=str(options["source_date_epoch"]))
    fresh.chmod(0o755)
    fresh.replace(output)
    digest = hashlib.sha256(output.read_bytes()).hexdigest()
    print(f"{options['output']}  {output.stat().st_size / 1e6:.1f} MB  sha256 {digest}")
    return 0


def _packages() -> Path:
    """The locked packages, installed once for each state of the lock."""
    key = hashlib.sha256(LOCK.read_bytes() + sys.version.encode()).hexdigest()[:16]
    site = ROOT / "build" / f"packages-{key}"
    if not site.is_dir():
        fresh = site.with_name(site.name + ".new")
        shutil.rmtree(fresh, ignore_errors=True)
        pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--root-user-action=ignore"]
        _run([*pip, "--require-hashes", "--no-deps", "--no-compile", "--no-build-isolation", "--target", str(fresh), "-r", str(LOCK)])
        fresh.replace(site)
    return site


def _copy_sources(stage: Path) -> None:
    for path in sorted((ROOT / "fkproxy").rglob("*.py")):
        target = stage / path.relative_to(ROOT)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, target)


def _normalise(stage: Path, epoch_s: int) -> None:
    for path in sorted(stage.rglob("*"), reverse=True):
        kept = any(str(path.relative_to(stage)).startswith(folder) for folder in _KEPT_FOLDERS)
        if path.is_dir() and not path.is_symlink() and path.name in _LEAVE_OUT_FOLDERS and not kept:
            shutil.rmtree(path)
        elif path.is_file() and (path.name in _LEAVE_OUT_FILES or path.suffix == ".pyc"):
            path.unlink()
    for path in stage.rglob("*"):
        path.chmod(0o755 if path.is_dir() or path.suffix == ".so" else 0o644)
        os.utime(path, (epoch_s, epoch_s))


def _run(command: list[str], **environment: str) -> None:
    try:
        subprocess.run(command, check=True, env={**os.environ, **environment, "PYTHONHASHSEED": "0"})
    except subprocess.CalledProcessError as error:
        raise SystemExit(f"build: {' '.join(command[:4])} … failed with {error.returncode}") from error


if __name__ == "__main__":
    sys.exit(main())
