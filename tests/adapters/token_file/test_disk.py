"""The file on the disk: whole at any time, with its owner and mode, and locked across processes."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

import pytest

from fkproxy.adapters.token_file import disk
from fkproxy.model.errors import UpstreamUnavailable
from tests.adapters.token_file.files import another_with_the_lock


@pytest.fixture
def path(tmp_path: Path) -> Path:
    made = tmp_path / "token.json"
    made.write_bytes(b"old")
    return made


def names(directory: Path) -> list[str]:
    return sorted(entry.name for entry in directory.iterdir())


def test_a_file_is_replaced_and_its_stamp_is_known(path: Path) -> None:
    data, before = disk.read(path)
    assert (data, before) == (b"old", disk.stamp(path))
    written = disk.write(path, b"new")
    assert written == disk.stamp(path) != before
    assert disk.read(path) == (b"new", written)
    assert names(path.parent) == ["token.json"]


@pytest.mark.parametrize("mode", [0o600, 0o640, 0o400])
def test_the_mode_stays(path: Path, mode: int) -> None:
    path.chmod(mode)
    disk.write(path, b"new")
    assert stat.S_IMODE(path.stat().st_mode) == mode


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may give files away")
def test_the_owner_stays(path: Path) -> None:
    os.chown(path, 1234, 4321)
    disk.write(path, b"new")
    assert (path.stat().st_uid, path.stat().st_gid) == (1234, 4321)


@pytest.mark.parametrize("number", [errno.EPERM, errno.EINVAL])
def test_an_owner_that_cannot_stay_leaves_the_file_to_us_alone(path: Path, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    def refuse(*_: object) -> None:
        raise OSError(number, "refused")

    monkeypatch.setattr(os, "fchown", refuse)
    path.chmod(0o644)
    disk.write(path, b"new")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_link_stays_a_link(path: Path, tmp_path: Path) -> None:
    link = tmp_path / "link.json"
    link.symlink_to(path)
    written = disk.write(link, b"new")
    assert link.is_symlink()
    assert path.read_bytes() == b"new"
    assert disk.stamp(link) == written


def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        disk.write(path, b"new")
    assert path.read_bytes() == b"old"
    assert names(path.parent) == ["token.json"]


def test_a_file_that_is_gone_is_not_made_again(path: Path) -> None:
    path.unlink()
    assert disk.stamp(path) is None
    with pytest.raises(FileNotFoundError):
        disk.write(path, b"new")
    assert names(path.parent) == []


def test_what_is_no_file_or_too_large_is_not_read(path: Path, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for strange in (tmp_path / "pipe", tmp_path):
        with pytest.raises((ValueError, IsADirectoryError), match=r"regular|directory"):
            disk.read(strange)
    path.write_bytes(b" " * disk.MAX_BYTES)
    assert len(disk.read(path)[0]) == disk.MAX_BYTES
    path.write_bytes(b" " * (disk.MAX_BYTES + 1))
    with pytest.raises(ValueError, match="larger"):
        disk.read(path)


async def test_a_lock_of_another_process_is_waited_for_and_then_given_up(path: Path) -> None:
    end = await another_with_the_lock(path)
    with pytest.raises(UpstreamUnavailable):
        async with disk.locked(path, 0.01):
            pytest.fail("two hold the lock")
    await end()
    async with disk.locked(path, 10.0):
        pass


async def test_a_lock_holds_within_one_process_too_and_ends_with_its_block(path: Path) -> None:
    async with disk.locked(path, 1.0):
        with pytest.raises(UpstreamUnavailable):
            async with disk.locked(path, 0.01):
                pytest.fail("two hold the lock")
    assert stat.S_IMODE(path.with_name("token.json.lock").stat().st_mode) == 0o600
    with pytest.raises(TimeoutError, match="from inside"):
        async with disk.locked(path, 1.0):
            raise TimeoutError("from inside")
    async with disk.locked(path, 1.0):
        pass


async def test_where_no_lock_can_be_made_there_is_none(path: Path) -> None:
    path.with_name("token.json.lock").mkdir()
    async with disk.locked(path, 0.01), disk.locked(path, 0.01):
        pass
