"""A word of a newer program makes nothing unreadable: what it stands for is not served, or goes the usual way."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from sqlalchemy import text

from fkproxy.directory import ClientKey, Document, KeySecret, Pool
from fkproxy.storage import snapshot
from fkproxy.storage.store import Store
from fkproxy.storage.values import Actor, AuditEntry, Picture
from fkproxy.storage.words import document_of, key_of, picture_of

ENTRY = AuditEntry(actor=Actor(kind="local"), action="config.restore")
POOLS = (Pool(name="plain", strategy="weighted"), Pool(name="draining", state="paused"), Pool(name="clever", strategy="sticky"))
KEY = ClientKey(id="k1", pool="plain", label="one", secrets=(KeySecret(prefix="sk-fk-1", digest=b"\x00\xff"),))
PICTURE = Picture(revision=3, document=Document(pools=POOLS, settings={"A": "b"}), keys=(KEY,), pepper={"sealed": {}})
READ = (POOLS[0], Pool(name="draining", state="disabled"), Pool(name="clever"))


def newer(value: msgspec.Struct) -> Any:
    """As a program with more words wrote it."""
    plain = msgspec.json.encode(value).decode()
    return json.loads(plain.replace('"paused"', '"canary"').replace('"sticky"', '"canary"').replace('"label":"one"', '"state":"canary"'))


def test_what_is_known_is_read_as_it_is(caplog: pytest.LogCaptureFixture) -> None:
    assert picture_of(msgspec.json.encode(PICTURE)) == PICTURE
    assert caplog.text == ""


def test_another_word_is_read_as_what_is_safe_and_told(caplog: pytest.LogCaptureFixture) -> None:
    picture = picture_of(json.dumps(newer(PICTURE)).encode())
    assert picture.document == msgspec.structs.replace(PICTURE.document, pools=READ)
    assert picture.keys == (msgspec.structs.replace(KEY, label="", state="paused"),)
    assert [(record.levelno, record.getMessage().partition(":")[0]) for record in caplog.records] == [
        (logging.WARNING, "pool draining"),
        (logging.WARNING, "pool clever"),
        (logging.WARNING, "client key k1"),
    ]
    assert "canary" not in caplog.text


@pytest.mark.parametrize(
    ("read", "bad"),
    [
        (picture_of, "[]"),
        (picture_of, "{}"),
        (document_of, '{"pools": 1}'),
        (document_of, '{"pools": [{"name": 1, "state": "canary"}, 1]}'),
        (document_of, "{"),
        (key_of, '{"id": "k", "pool": "p", "state": 1}'),
    ],
)
def test_what_is_no_word_but_a_mistake_stays_one(read: Callable[[str], object], bad: str) -> None:
    with pytest.raises(msgspec.DecodeError):
        read(bad)


def test_the_copy_of_what_is_in_force_is_read(tmp_path: Path) -> None:
    path = tmp_path / "in-force.json"
    wider = json.dumps(newer(PICTURE)).encode()
    path.write_bytes(hashlib.sha256(wider).hexdigest().encode() + b"\n" + wider)
    found = snapshot.read(path)
    assert found is not None
    assert found.document.pools == READ


async def test_the_store_is_read_and_its_logs_show_the_word(store: Store) -> None:
    async with store.change(ENTRY) as change:
        change.put_document(PICTURE.document, "made")
        change.put_key(KEY)
    async with store.database.begin() as connection:
        for table, column, was in (("documents", "body", "paused"), ("documents", "body", "sticky"), ("documents", "actor", "local")):
            await connection.execute(text(f"UPDATE {table} SET {column} = REPLACE({column}, '\"{was}\"', '\"canary\"')"))
        await connection.execute(text("""UPDATE client_keys SET body = REPLACE(body, '"label":"one"', '"state":"canary"')"""))
    picture = await store.picture()
    assert (picture.document.pools, [key.state for key in picture.keys]) == (READ, ["paused"])
    assert [info.actor.kind for info in await store.revisions()] == ["canary"]


async def test_an_audit_log_with_a_newer_word_is_shown_and_whole(store: Store) -> None:
    actor = msgspec.structs.replace(ENTRY.actor, kind="canary")
    entry = msgspec.structs.replace(ENTRY, actor=actor, outcome="canary", changed=("a",))
    await store.record([entry])
    (row,) = await store.audit(limit=1)
    assert (row.actor.kind, row.outcome, row.changed) == ("canary", "canary", ("a",))
    assert (await store.verify_audit()).ok
