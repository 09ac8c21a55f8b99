"""What the administrator's verbs rest on: changes that happen whole, pictures of one moment, and survival of a kill."""

from __future__ import annotations

import asyncio
import random
import subprocess
import sys
from pathlib import Path

import pytest
from sqlalchemy import text

from fkproxy.directory import ClientKey, Document, KeyLimits, KeySecret, Pool
from fkproxy.storage import documents
from fkproxy.storage.opening import open_at
from fkproxy.storage.store import Store
from fkproxy.storage.values import Actor, AuditEntry, AuditVerdict, BackupFailed, Conflict, SecretLost, StoreUnavailable, Tombstone
from tests.fakes.sealed import sealed_in
from tests.storage.conftest import KEYS, NEWER_KEYS, PATIENT

ADMIN = Actor(kind="administrator", name="master")


def entry(action: str = "pool.update") -> AuditEntry:
    return AuditEntry(actor=ADMIN, action=action)


def key(name: str, *digests: bytes, pool: str = "team") -> ClientKey:
    secrets = tuple(KeySecret(prefix=f"fk-{name}-{digest.hex()}", digest=digest) for digest in digests)
    return ClientKey(id=name, pool=pool, label=f"label of {name}", secrets=secrets, limits=KeyLimits(requests_per_minute=0))


async def put_document(store: Store, summary: str, document: Document | None = None, *, based_on: int | None = None) -> None:
    async with store.change(entry(), based_on=based_on) as change:
        change.put_document(document or Document(settings={"SUMMARY": summary}), summary)


async def put_keys(store: Store, *keys: ClientKey) -> None:
    async with store.change(entry("key.create")) as change:
        for each in keys:
            change.put_key(each)


async def test_a_new_store_is_empty_and_has_a_pepper(store: Store) -> None:
    picture = await store.picture()
    assert (picture.revision, picture.document_revision, picture.document, picture.keys) == (0, 0, Document(), ())
    assert len(store.secrets.open(picture.pepper)) == 44
    assert await store.revisions() == []


async def test_a_change_writes_all_of_it(store: Store) -> None:
    document = Document(providers=({"name": "x", "weights": [1, {"y": None}]},), pools=(Pool(name="team"),), settings={"A": "b"})
    async with store.change(entry("key.create")) as change:
        change.put_document(document, "the first")
        change.put_key(key("k1", b"\x00\x01"))
        change.changed = ("label", "pool")
        change.target = "k1"
    picture = await store.picture()
    assert (picture.revision, picture.document_revision, picture.document, picture.keys) == (1, 1, document, (key("k1", b"\x00\x01"),))
    written = (await store.audit(limit=1))[0]
    assert (written.action, written.target, written.changed, written.actor) == ("key.create", "k1", ("label", "pool"), ADMIN)
    info = (await store.revisions())[0]
    assert (info.revision, info.summary, info.actor, info.at_s) == (1, "the first", ADMIN, 1000.0)


async def test_a_change_that_fails_writes_nothing(store: Store) -> None:
    async def fail() -> None:
        async with store.change(entry()) as change:
            change.put_document(Document(settings={"A": "b"}), "never")
            change.put_key(key("k1"))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await fail()
    assert (await store.picture()).keys == ()
    assert await store.revision() == 0
    assert len(await store.audit()) == 1


async def test_a_change_that_puts_nothing_is_told_and_changes_no_revision(store: Store) -> None:
    async with store.change(entry()):
        pass
    assert await store.revision() == 0
    assert len(await store.audit()) == 2


async def test_a_change_shows_what_was_put_in_it(store: Store) -> None:
    await put_keys(store, key("k1"), key("k2"))
    async with store.change(entry()) as change:
        change.delete_key("k1")
        change.put_key(key("k3"))
        change.put_document(Document(settings={"A": "b"}), "")
        assert list(change.keys) == ["k2", "k3"]
        assert change.document.settings == {"A": "b"}
        with pytest.raises(KeyError):
            change.delete_key("k1")
    assert [each.id for each in (await store.picture()).keys] == ["k2", "k3"]


async def test_a_change_for_an_older_document_is_a_conflict(store: Store) -> None:
    await put_document(store, "one", based_on=0)
    await put_document(store, "two", based_on=1)
    with pytest.raises(Conflict) as caught:
        await put_document(store, "three", based_on=1)
    assert (caught.value.expected, caught.value.actual) == (1, 2)
    assert [info.summary for info in await store.revisions()] == ["two", "one"]


async def test_of_two_at_once_for_one_document_one_wins(store: Store, url: str) -> None:
    other, _ = await open_at(url, secret_keys=KEYS, deadlines=PATIENT)
    done = await asyncio.gather(*(put_document(base, "x", based_on=0) for base in (store, other, store, other)), return_exceptions=True)
    assert sorted(type(result).__name__ for result in done) == ["Conflict", "Conflict", "Conflict", "NoneType"]
    await other.close()


async def test_two_processes_change_at_once_and_nothing_is_lost(store: Store, url: str) -> None:
    one, other = [(await open_at(url, secret_keys=KEYS, deadlines=PATIENT))[0] for _ in range(2)]
    await asyncio.gather(*(put_keys(base, key(f"k{number}-{side}")) for number in range(10) for side, base in enumerate((one, other))))
    picture = await store.picture()
    assert (len(picture.keys), picture.revision) == (20, 20)
    assert await other.verify_audit() == AuditVerdict(ok=True, rows=21)
    for base in (one, other):
        await base.close()


async def test_every_revision_is_there_until_it_is_too_old(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(documents, "KEPT", 3)
    for number in range(1, 6):
        await put_document(store, str(number))
    assert [info.revision for info in await store.revisions()] == [5, 4, 3]
    assert [info.revision for info in await store.revisions(limit=1, before=5)] == [4]
    assert await store.document(2) is None
    found = await store.document(3)
    assert found is not None
    assert found.settings == {"SUMMARY": "3"}
    assert (await store.picture()).document_revision == 5


async def test_a_document_this_program_cannot_read_is_said_and_not_quoted(store: Store) -> None:
    await put_document(store, "one")
    async with store.database.begin() as connection:
        await connection.execute(text("""UPDATE documents SET body = '{"pools": "canary"}'"""))
    with pytest.raises(StoreUnavailable, match="revision 1 ") as caught:
        await store.picture()
    assert caught.value.reason == "broken"
    assert "canary" not in str(caught.value)


async def test_fields_of_a_newer_program_do_not_hinder(store: Store) -> None:
    await put_keys(store, key("k1"))
    async with store.database.begin() as connection:
        await connection.execute(text("""UPDATE client_keys SET body = '{"id": "k1", "pool": "team", "colour": "red"}'"""))
    assert (await store.picture()).keys == (ClientKey(id="k1", pool="team"),)


async def test_a_key_that_cannot_be_read_is_told_and_admits_nobody(store: Store, caplog: pytest.LogCaptureFixture) -> None:
    await put_keys(store, key("k1"), key("k2"))
    async with store.database.begin() as connection:
        await connection.execute(text("""UPDATE client_keys SET body = '{"id": "k1", "label": ["canary"]}' WHERE id = 'k1'"""))
    assert (await store.picture()).keys == (ClientKey(id="k1", pool="team", state="paused"), key("k2"))
    async with store.change(entry()) as change:
        assert list(change.keys) == ["k2"], "nobody writes what he could not read"
    assert "k1" in caplog.text
    assert "canary" not in caplog.text


async def test_a_key_is_replaced_with_its_secrets(store: Store) -> None:
    await put_keys(store, key("k1", b"one", b"two"))
    await put_keys(store, key("k1", b"two", b"three", pool="other"))
    assert (await store.picture()).keys == (key("k1", b"two", b"three", pool="other"),)
    await put_keys(store, key("k2", b"one"))
    with pytest.raises(Conflict):
        await put_keys(store, key("k3", b"three"))
    assert len((await store.picture()).keys) == 2


async def test_a_deleted_key_leaves_its_name_and_frees_its_secret(store: Store) -> None:
    await put_keys(store, key("k1", b"one"))
    async with store.change(entry("key.delete")) as change:
        change.delete_key("k1")
        change.put_key(key("k2", b"one"))
    assert await store.tombstones() == {"k1": Tombstone(id="k1", label="label of k1", prefix="fk-k1-6f6e65", pool="team", deleted_s=1000.0)}
    await put_keys(store, key("k1", b"new"))
    assert await store.tombstones() == {}


async def test_the_last_use_of_a_key_never_goes_back(store: Store) -> None:
    await store.touch_keys({"k1": 5.5, "k2": 7.0})
    await store.touch_keys({"k1": 4.0, "k2": 8.25, "k3": 1.0})
    await store.touch_keys({})
    assert await store.key_uses() == {"k1": 5.5, "k2": 8.25, "k3": 1.0}
    assert await store.revision() == 0


async def test_a_last_use_that_is_still_to_come_was_told_by_a_wrong_clock(store: Store) -> None:
    await store.touch_keys({"k1": 5000.0, "k2": 1000.0})
    await store.touch_keys({"k1": 900.0, "k2": 900.0})
    assert await store.key_uses() == {"k1": 900.0, "k2": 1000.0}


async def test_a_picture_and_its_revision_are_of_one_moment(store: Store, url: str) -> None:
    other, _ = await open_at(url, secret_keys=KEYS)
    wrong = []

    async def write() -> None:
        for number in range(1, 16):
            async with other.change(entry()) as change:
                change.put_document(Document(settings={"N": str(number)}), "")
                change.put_key(key(f"k{number}"))

    writing = asyncio.create_task(write())
    while not writing.done():
        picture = await store.picture()
        if not picture.revision == len(picture.keys) == int(picture.document.settings.get("N", "0")) == picture.document_revision:
            wrong.append(picture)
    await writing
    assert not wrong
    await other.close()


async def test_resealing_moves_everything_to_the_newest_key(store: Store, url: str) -> None:
    for value in ("first", "second"):
        await put_document(store, value, Document(providers=({"name": "x", "api_key": store.secrets.seal(value)},)))
    before = await store.picture()
    newer, _ = await open_at(url, secret_keys=NEWER_KEYS, deadlines=PATIENT)
    assert await newer.reseal(entry("secret.rotate")) == 3
    after = await newer.picture()
    assert after.revision == before.revision + 1
    assert after.document_revision == before.document_revision
    for revision, value in ((1, "first"), (2, "second")):
        document = await newer.document(revision)
        assert [newer.secrets.open(sealed) for sealed in sealed_in(document)] == [value]
        assert [sealed["sealed"]["version"] for sealed in sealed_in(document)] == [2]
    assert await newer.reseal(entry("secret.rotate")) == 0
    assert (await newer.verify_audit()).ok
    await newer.close()
    # The key of version 1 is not needed any more, and is of no more use.
    only_newest, _ = await open_at(url, secret_keys=NEWER_KEYS.split(",")[0], deadlines=PATIENT)
    assert (await only_newest.verify_audit()).ok
    await only_newest.close()
    with pytest.raises(SecretLost, match="version 2"):
        await open_at(url, secret_keys=KEYS, deadlines=PATIENT)


async def test_no_secret_is_in_the_files(store: Store) -> None:
    document = Document(providers=({"name": "x", "api_key": store.secrets.seal("canary-in-a-credential")},))
    await put_document(store, "one", document)
    if store.database.path is not None:
        found = [path for path in store.database.path.parent.iterdir() if b"canary" in path.read_bytes()]
        assert not found
    assert [store.secrets.open(sealed) for sealed in sealed_in((await store.picture()).document)] == ["canary-in-a-credential"]


@pytest.mark.parametrize("kind", ["postgresql"])
async def test_a_postgresql_backup_names_the_command(store: Store, tmp_path: Path) -> None:
    with pytest.raises(BackupFailed, match=r"pg_dump --format=custom --file=\S+ "):
        await store.backup(tmp_path / "x")


@pytest.mark.parametrize("kind", ["sqlite"])
async def test_a_backup_made_while_others_write_is_a_whole_store(store: Store, tmp_path: Path) -> None:
    async def write() -> None:
        for number in range(30):
            await put_keys(store, key(f"k{number}"))

    writing = asyncio.create_task(write())
    copies = [tmp_path / f"copy-{number}.db" for number in range(3)]
    for copy in copies:
        await store.backup(copy)
    await writing
    for copy in copies:
        restored, opened = await open_at(f"sqlite:///{copy}", secret_keys=KEYS)
        assert opened.migrated_from is None
        picture = await restored.picture()
        assert picture.revision == len(picture.keys)
        assert await restored.verify_audit() == AuditVerdict(ok=True, rows=1 + picture.revision)
        await restored.close()


WRITER = """
import asyncio, sys
from fkproxy.directory import ClientKey, Document
from fkproxy.storage import open_store
from fkproxy.storage.values import Actor, AuditEntry

async def main():
    store, _ = await open_store(sys.argv[1], secret_keys=sys.argv[2])
    number = await store.revision()
    while True:
        number += 1
        async with store.change(AuditEntry(actor=Actor(kind="local"), action="key.create")) as change:
            change.put_document(Document(settings={"N": str(number)}), "")
            change.put_key(ClientKey(id=f"k{number}", pool="p"))
        print(number, flush=True)

asyncio.run(main())
"""


async def _over(store: Store) -> None:
    """A server may go on for a moment with what it was told by somebody who is dead."""
    if store.database.kind == "sqlite":
        return
    busy = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND state <> 'idle' AND pid <> pg_backend_pid()"
    async with asyncio.timeout(30):
        while True:
            async with store.database.read() as connection:
                if not (await connection.execute(text(busy))).scalar_one():
                    return


async def test_a_process_killed_at_any_moment_loses_nothing_it_was_told_is_written(store: Store, url: str) -> None:
    chance = random.Random(6)
    for _ in range(5):
        process = await asyncio.create_subprocess_exec(sys.executable, "-c", WRITER, url, KEYS, stdout=subprocess.PIPE)
        assert process.stdout is not None
        told = 0
        for _ in range(chance.randint(1, 12)):
            told = int(await process.stdout.readline())
        await asyncio.sleep(chance.random() * 0.01)  # into the middle of the next one
        process.kill()
        rest = (await process.stdout.read()).split()
        await process.wait()
        await _over(store)
        told = int(rest[-1]) if rest else told
        picture = await store.picture()
        assert picture.revision in (told, told + 1)
        assert picture.revision == len(picture.keys) == int(picture.document.settings["N"])
        assert await store.verify_audit() == AuditVerdict(ok=True, rows=1 + picture.revision)
    if store.database.path is not None:
        async with store.database.read() as connection:
            assert (await connection.execute(text("PRAGMA integrity_check"))).scalar_one() == "ok"
