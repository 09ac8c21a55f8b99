"""The store as an administrator looks after it."""

from __future__ import annotations

import errno
import os
from collections.abc import Sequence
from pathlib import Path

import pytest

from fkproxy.control.ledger import Ledger
from fkproxy.control.store import StoreControl
from fkproxy.storage.store import Store
from fkproxy.storage.values import BackupFailed
from tests.control.acting import BY, NOW_S, told

MADE = "fkllmproxy-20270115T080000Z.db"
"""At NOW_S."""


@pytest.mark.parametrize(
    ("years", "gone"),
    [
        ([], []),
        (range(2001, 2010), []),
        (range(2000, 2010), [2000]),
        (range(2000, 2013), [2000, 2001, 2002, 2003]),
        (range(2090, 2100), [2090]),
    ],
    ids=["the first", "the tenth", "one more", "some more", "the clock was wrong"],
)
async def test_the_newest_ten_copies_stay_and_the_one_just_made_among_them(
    store: Store, tmp_path: Path, years: Sequence[int], gone: Sequence[int]
) -> None:
    copies = tmp_path / "backups"
    copies.mkdir()
    for year in years:
        (copies / f"fkllmproxy-{year}0101T000000Z.db").touch()
    control = StoreControl(lambda: store, lambda: None, copies, Ledger(lambda: store), lambda: NOW_S)
    made = await control.backup(by=BY)
    assert (made.path, made.size_bytes > 0) == (str(copies / MADE), True)
    left = [f"fkllmproxy-{year}0101T000000Z.db" for year in years if year not in gone]
    assert sorted(path.name for path in copies.iterdir()) == sorted([*left, MADE])
    assert await told(store) == [("store.backup", "done", ())]


@pytest.mark.parametrize("call", ["mkdir", "exists"])
async def test_a_directory_that_cannot_be_used_is_named(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.EACCES, os.strerror(errno.EACCES))

    control = StoreControl(lambda: store, lambda: None, tmp_path / "backups", Ledger(lambda: store), lambda: NOW_S)
    with monkeypatch.context() as patched:
        patched.setattr(Path, call, refuse)
        with pytest.raises(BackupFailed, match=r"backups cannot be used \(Permission denied\)"):
            await control.backup(by=BY)
