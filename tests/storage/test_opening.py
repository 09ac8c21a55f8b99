"""From a URL to a store: made, found again, and refused for what is wrong."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from fkproxy.storage import open_store
from fkproxy.storage.opening import open_at
from fkproxy.storage.values import AuditVerdict, Opened, SecretLost, StoreUnavailable
from tests.storage.conftest import KEYS, PATIENT


async def test_a_new_store_is_made_with_a_key_file_and_says_so(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/state/store.db"
    file = tmp_path / "state" / "secrets.key"
    store, opened = await open_store(url)
    assert opened == Opened(migrated_from=0, key_file_made=file)
    assert {row.action: row.target for row in await store.audit()} == {"store.create": "", "secret.make": "secrets.key"}
    sealed = store.secrets.seal("x")
    await store.close()
    store, opened = await open_store(url)
    assert opened == Opened()
    assert store.secrets.open(sealed) == "x"
    assert await store.verify_audit() == AuditVerdict(ok=True, rows=2)
    await store.close()


async def test_many_processes_open_a_new_store_at_once(url: str, tmp_path: Path) -> None:
    done = await asyncio.gather(*(open_at(url, key_file=tmp_path / "secrets.key") for _ in range(4)))
    stores = [store for store, _ in done]
    sealed = stores[0].secrets.seal("x")
    assert {store.secrets.fingerprint("x") for store in stores} == {sealed["sealed"]["fingerprint"]}
    assert [store.secrets.open(sealed) for store in stores] == ["x"] * 4
    assert sum(opened.migrated_from == 0 for _, opened in done) == 1
    assert (await stores[0].verify_audit()).ok
    for store in stores:
        await store.close()


async def test_a_store_that_was_there_is_not_made_anew(url: str, tmp_path: Path) -> None:
    file = tmp_path / "secrets.key"
    with pytest.raises(StoreUnavailable, match="is empty, and there was a store in it") as refused:
        await open_at(url, key_file=file, may_make=False)
    assert (refused.value.reason, file.exists()) == ("gone", False)
    for may_make in (True, False):
        store, _ = await open_at(url, key_file=file, may_make=may_make)
        await store.close()


async def test_another_key_is_refused(store: object, url: str) -> None:
    with pytest.raises(SecretLost, match="version 1"):
        await open_at(url, secret_keys="1:" + "A" * 42 + "E=", deadlines=PATIENT)


async def test_a_lost_key_file_is_refused_and_no_other_is_made(url: str, tmp_path: Path) -> None:
    file = tmp_path / "secrets.key"
    store, _ = await open_at(url, key_file=file)
    await store.close()
    file.rename(tmp_path / "elsewhere")
    with pytest.raises(SecretLost, match=r"secrets\.key"):
        await open_at(url, key_file=file)
    (tmp_path / "elsewhere").rename(file)
    store, _ = await open_at(url, key_file=file)
    await store.close()


async def test_a_server_needs_a_place_for_the_key() -> None:
    with pytest.raises(ValueError, match="keys for secrets"):
        await open_store("postgresql://u@localhost/x")


@pytest.mark.parametrize("keys", ["nonsense", "1:short"])
async def test_bad_key_material_is_refused(url: str, keys: str) -> None:
    with pytest.raises(ValueError, match="keys for secrets"):
        await open_at(url, secret_keys=keys)


async def test_a_directory_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreUnavailable) as caught:
        await open_at(f"sqlite:///{tmp_path}/file/store.db", secret_keys=KEYS)
    assert caught.value.reason == "read_only"


async def test_a_server_that_is_away_is_told() -> None:
    with pytest.raises(StoreUnavailable) as caught:
        await open_at("postgresql://u:hidden@127.0.0.1:1/x", secret_keys=KEYS, deadlines=PATIENT)
    assert caught.value.reason == "unreachable"
    assert "hidden" not in str(caught.value)
