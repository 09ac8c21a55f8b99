"""The built file: the same bytes from anywhere, whole or not at all, at home with Debian's Python in an empty environment."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from fkproxy import __version__
from fkproxy.installation import places

pytestmark = pytest.mark.e2e

ROOT = Path(__file__).resolve().parent.parent
BINARY = ROOT / "dist" / "fkllmproxy"
SHEBANG = "/usr/bin/python3 -sE"


def checkout(folder: Path) -> Path:
    """A copy of what the file is made from, with the packages that `make build` installed."""
    for name in ("fkproxy", "scripts", "requirements", "packaging"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("shiv.toml", "runbook.md"):
        shutil.copyfile(ROOT / name, folder / name)
    key = hashlib.sha256((ROOT / "requirements/runtime.txt").read_bytes() + sys.version.encode()).hexdigest()[:16]
    packages = ROOT / "build" / f"packages-{key}"
    assert packages.is_dir(), "run `make build` first"
    shutil.copytree(packages, folder / "build" / packages.name)
    return folder


def build(folder: Path, umask: int = 0o022) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "scripts/build.py"], cwd=folder, umask=umask, capture_output=True, text=True)


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def disturb(folder: Path) -> None:
    """Give the checkout other times and modes, and the packages what another installer would have written."""
    for path in folder.rglob("*"):
        path.chmod(0o700 if path.is_dir() else 0o600)
        os.utime(path, (1_700_000_000, 1_700_000_000))
    for record in list(folder.glob("build/packages-*/*.dist-info")):
        (record / "RECORD").write_text("other\n")
        (record / "INSTALLER").write_text("other\n")
        (record / "direct_url.json").write_text('{"url": "file:///elsewhere"}')
        (record.parent / "msgspec" / "__pycache__").mkdir(exist_ok=True)
        (record.parent / "msgspec" / "__pycache__" / "x.cpython-311.pyc").write_bytes(b"x")


def environment(root: Path) -> dict[str, str]:
    """Nothing but the place to unpack."""
    return {"SHIV_ROOT": str(root)}


def trees(root: Path) -> set[str]:
    return {path.name for path in root.iterdir() if path.is_dir()}


@pytest.fixture(scope="module")
def shiv_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A place where the file has been started once."""
    root = tmp_path_factory.mktemp("unpacked")
    subprocess.run([BINARY, "version"], env=environment(root), check=True, capture_output=True)
    return root


def test_two_checkouts_give_the_same_bytes(tmp_path: Path) -> None:
    plain, disturbed = checkout(tmp_path / "a"), checkout(tmp_path / "some" / "where" / "else")
    disturb(disturbed)
    for folder, umask in ((plain, 0o022), (disturbed, 0o077)):
        done = build(folder, umask)
        assert done.returncode == 0, done.stderr
    sums = {sha256(folder / "dist" / "fkllmproxy") for folder in (plain, disturbed)}
    assert sums == {sha256(BINARY)}, "and dist/fkllmproxy is what these sources give"


def test_a_failed_build_says_why_and_leaves_the_old_file(tmp_path: Path) -> None:
    folder = checkout(tmp_path / "a")
    (folder / "scripts" / "preamble.py").unlink()
    (folder / "dist").mkdir()
    old = folder / "dist" / "fkllmproxy"
    old.write_bytes(b"old")
    done = build(folder)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith("build: ")
    assert "Traceback" not in done.stderr
    assert old.read_bytes() == b"old"
    assert [path.name for path in (folder / "dist").iterdir()] == ["fkllmproxy"]


def test_the_file_is_a_program_for_debians_python() -> None:
    with BINARY.open("rb") as file:
        assert file.readline() == f"#!{SHEBANG}\n".encode()
    assert BINARY.stat().st_mode & 0o777 == 0o755


def entries() -> Iterator[zipfile.ZipInfo]:
    with zipfile.ZipFile(BINARY) as archive:
        yield from archive.infolist()


def test_the_file_holds_nothing_of_the_machine_that_made_it() -> None:
    traces = re.compile(r"/(RECORD|INSTALLER|REQUESTED|direct_url\.json)$|\.pyc$|^site-packages/bin/(?!preamble\.py$)")
    assert not [entry.filename for entry in entries() if traces.search(entry.filename)]
    assert len({entry.date_time for entry in entries()}) == 1
    assert {entry.external_attr >> 16 for entry in entries()} == {0o100644, 0o100755}
    with zipfile.ZipFile(BINARY) as archive:
        ours = [archive.read(name) for name in archive.namelist() if name.startswith(("site-packages/fkproxy/", "environment.json"))]
    assert not [text for text in ours if str(ROOT).encode() + b"/" in text]


def test_every_package_keeps_its_licence() -> None:
    with zipfile.ZipFile(BINARY) as archive:
        names = set(archive.namelist())
        packages = [name for name in names if name.endswith(".dist-info/METADATA")]
        assert packages
        for package in packages:
            licences = re.findall(r"^License-File: (.+?)\r?$", archive.read(package).decode(), re.MULTILINE)
            folder = package.removesuffix("METADATA")
            for licence in licences:
                assert {f"{folder}{licence}", f"{folder}licenses/{licence}"} & names, package


@pytest.mark.parametrize("start", [[BINARY], ["/usr/bin/python3", "-sE", BINARY]], ids=["by its name", "by python"])
def test_it_runs_in_an_empty_environment(start: list[str | Path], shiv_root: Path, tmp_path: Path) -> None:
    version = subprocess.run([*start, "version"], env=environment(shiv_root), cwd=tmp_path, capture_output=True, text=True)
    assert (version.returncode, version.stderr) == (0, "")
    assert __version__ in version.stdout
    check = subprocess.run([*start, "check"], env=environment(shiv_root), cwd=tmp_path, capture_output=True, text=True)
    assert check.returncode == 0, check.stderr
    assert not list(tmp_path.iterdir())


def test_another_machine_gets_a_plain_message(shiv_root: Path) -> None:
    started = (
        "import platform, runpy, sys\n"
        "platform.machine = lambda: 'aarch64'\n"
        "sys.argv = sys.argv[1:]\n"
        "runpy.run_path(sys.argv[0], run_name='__main__')"
    )
    done = subprocess.run(
        ["/usr/bin/python3", "-sE", "-c", started, BINARY, "version"], env=environment(shiv_root), capture_output=True, text=True
    )
    assert done.returncode == 1
    assert done.stdout == ""
    assert "CPython 3.11 on x86_64" in done.stderr
    assert "aarch64" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("journal", [False, True])
def test_where_it_cannot_be_unpacked_it_says_so(journal: bool, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    given = environment(tmp_path / "file" / "x") | ({"JOURNAL_STREAM": "1:1"} if journal else {})
    done = subprocess.run([BINARY, "version"], env=given, capture_output=True, text=True)
    told = f"this file cannot be unpacked to {tmp_path}/file/x: Not a directory"
    line = json.dumps({"level": "CRITICAL", "msg": f"not started: {told}"})
    assert (done.returncode, done.stdout, done.stderr) == (1, "", f"<2>{line}\n" if journal else f"fkllmproxy: {told}\n")


def test_where_its_parts_cannot_be_looked_for_it_says_so(tmp_path: Path) -> None:
    (tmp_path / "home").mkdir(mode=0)
    # Root may look everywhere, unless it has no capability to.
    start = ["setpriv", "--bounding-set=-all", BINARY] if os.geteuid() == 0 else [BINARY]
    done = subprocess.run([*start, "version"], env=environment(tmp_path / "home" / "x"), capture_output=True, text=True)
    told = f"fkllmproxy: this file cannot be unpacked to {tmp_path}/home/x: Permission denied\n"
    assert (done.returncode, done.stdout, done.stderr) == (1, "", told)


def test_who_has_no_home_is_told_so() -> None:
    started = "import os, runpy, sys\nos.getuid = lambda: 2**31\nsys.argv = sys.argv[1:]\nrunpy.run_path(sys.argv[0], run_name='__main__')"
    command = ["/usr/bin/python3", "-sE", "-c", started, BINARY, "version"]
    done = subprocess.run(command, env={}, capture_output=True, text=True)
    told = "this file is unpacked below the home of who starts it, and this user has none; SHIV_ROOT names another folder"
    assert (done.returncode, done.stdout, done.stderr) == (1, "", f"fkllmproxy: {told}\n")


def test_where_its_parts_could_not_be_run_it_says_so(tmp_path: Path) -> None:
    started = (
        "import os, runpy, sys, types\n"
        "os.statvfs = lambda _: types.SimpleNamespace(f_flag=os.ST_NOEXEC)\n"
        "sys.argv = sys.argv[1:]\n"
        "runpy.run_path(sys.argv[0], run_name='__main__')"
    )
    command = ["/usr/bin/python3", "-sE", "-c", started, BINARY, "version"]
    done = subprocess.run(command, env=environment(tmp_path / "x"), capture_output=True, text=True)
    told = f"fkllmproxy: {tmp_path} is mounted noexec, and the compiled parts of this file are run from there; "
    assert (done.returncode, done.stdout, done.stderr) == (1, "", f"{told}SHIV_ROOT names another folder\n")


@pytest.mark.parametrize("place", ["its header", "its data"])
def test_a_damaged_file_says_so(place: str, tmp_path: Path) -> None:
    member = next(entry for entry in entries() if entry.filename.startswith("site-packages/"))
    damaged = tmp_path / "fkllmproxy"
    shutil.copy(BINARY, damaged)
    with damaged.open("r+b") as file:
        # APPNOTE.TXT, 4.3.7: a local header has 30 bytes, and then the name.
        file.seek(member.header_offset + (0 if place == "its header" else 30 + len(member.filename)))
        file.write(bytes(50))
    done = subprocess.run([damaged, "version"], env=environment(tmp_path / "x"), capture_output=True, text=True)
    told = "fkllmproxy: this file is damaged and cannot be unpacked; fetch it anew\n"
    assert (done.returncode, done.stdout, done.stderr) == (1, "", told)


def test_first_starts_at_the_same_time_all_succeed(tmp_path: Path) -> None:
    children = [
        subprocess.Popen([BINARY, "version"], env=environment(tmp_path), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for _ in range(4)
    ]
    for child in children:
        out, err = child.communicate(timeout=120)
        assert (child.returncode, err) == (0, "")
        assert __version__ in out
    assert len(trees(tmp_path)) == 1


def test_others_cannot_write_what_it_unpacks(tmp_path: Path) -> None:
    subprocess.run([BINARY, "version"], env=environment(tmp_path / "root"), umask=0, check=True, capture_output=True)
    made = [path for path in (tmp_path / "root").rglob("*") if not path.is_symlink()]
    assert any(path.suffix == ".pyc" for path in made)
    assert [path for path in made if path.stat().st_mode & 0o022] == []


def test_under_another_name_it_is_not_unpacked_again(shiv_root: Path, tmp_path: Path) -> None:
    before = trees(shiv_root)
    shutil.copy(BINARY, tmp_path / "fkllmproxy.new")
    subprocess.run([tmp_path / "fkllmproxy.new", "version"], env=environment(shiv_root), check=True, capture_output=True)
    assert trees(shiv_root) == before


def test_of_older_builds_only_the_one_used_last_stays(shiv_root: Path, tmp_path: Path) -> None:
    root = tmp_path / "unpacked"
    shutil.copytree(shiv_root, root)
    own = trees(root)
    for age, name in enumerate(("fkllmproxy_half.tmp", "fkllmproxy_newer", "fkllmproxy_older", "another_program")):
        (root / name / "site-packages").mkdir(parents=True)
        os.utime(root / name, (1_700_000_000 - age, 1_700_000_000 - age))
    subprocess.run([BINARY, "version"], env=environment(root), check=True, capture_output=True)
    assert trees(root) == own | {"fkllmproxy_half.tmp", "fkllmproxy_newer", "another_program"}


def test_it_brings_up_a_store_from_the_file_alone(shiv_root: Path, tmp_path: Path) -> None:
    """Alembic and SQLAlchemy are there without what they test themselves with."""
    with zipfile.ZipFile(BINARY) as archive:
        names = archive.namelist()
    assert any("/alembic/" in name for name in names)
    assert [name for name in names if "/alembic/testing/" in name or "/alembic/templates/" in name or "/sqlalchemy/testing/" in name] == []
    settings = environment(shiv_root) | {"APP_STORE__DIRECTORY": str(tmp_path)}
    for verb in (["migrate"], ["migrate", "--check"], ["store", "verify"]):
        done = subprocess.run([BINARY, *verb], env=settings, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
    assert (tmp_path / "fkllmproxy.db").exists()


@pytest.mark.parametrize("unit", [places.SERVICE, places.SOCKET])
def test_it_can_be_asked_for_the_units_that_it_brings(unit: str) -> None:
    assert places.packaged_in(BINARY, f"packaging/systemd/{unit}") == (ROOT / "packaging" / "systemd" / unit).read_text()
    assert places.packaged_in(BINARY, "another.service") is None
