"""Secrets in entries; and that no verb tells one."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest

from fkproxy.control.key_views import KeyPatch, NewKey
from fkproxy.control.pools import NewPool
from fkproxy.control.refusals import Fault, Refused
from fkproxy.control.secret_fields import is_sealed, masked, normal, opened, sealed, secrets_of
from fkproxy.storage.values import Conflict
from tests.control.acting import BY, Office
from tests.fakes.box import box, lost_box

ENTRY: dict[str, Any] = {
    "name": "one",
    "base-url": "https://one.example",
    "headers": {"X-Team": "h"},
    "quota": {"url": "https://q.example", "headers": {"Authorization": "q"}},
    "credentials": [{"name": "a", "key": "k", "client-secret": "s"}, {"token_file": "/x"}],
}
PLACES = [("credentials", 0, "key"), ("credentials", 0, "client_secret"), ("headers", "X-Team"), ("quota", "headers", "Authorization")]


def kept(entry: dict[str, Any], before: dict[str, Any] | None = None) -> dict[str, Any]:
    faults: list[Fault] = []
    made = sealed(entry, before, box(), faults)
    assert faults == []
    return made


def test_every_secret_of_an_entry_is_found_and_none_is_left_in_the_clear() -> None:
    entry = kept(ENTRY)
    assert [place for place, _ in secrets_of(entry)] == PLACES
    assert all(is_sealed(value) for _, value in secrets_of(entry))
    assert entry["base_url"] == ENTRY["base-url"]
    assert opened(entry, box()) == (normal(ENTRY), [])


def test_what_was_shown_stands_for_what_is_kept_whatever_the_spelling_of_headers() -> None:
    entry = kept(ENTRY)
    shown = masked(entry, box())
    assert kept(shown, entry) == entry
    shown["headers"] = {"x-team": shown["headers"]["X-Team"]}
    assert kept(shown, entry)["headers"] == {"x-team": entry["headers"]["X-Team"]}


def test_null_clears_and_a_lost_secret_says_so() -> None:
    lost = kept(ENTRY) | {"headers": {"X-Team": lost_box().seal("gone")}}
    assert masked(lost, box())["headers"]["X-Team"]["status"] == "lost"
    assert opened(lost, box())[1] == [("headers", "X-Team")]
    entry = kept({**ENTRY, "headers": {"X-Team": None}, "credentials": [{"key": None}]})
    assert (entry["headers"], entry["credentials"]) == ({}, [{}])


def test_what_is_given_is_not_changed_itself() -> None:
    before = repr(ENTRY)
    kept(ENTRY)
    masked(kept(ENTRY), box())
    assert repr(ENTRY) == before


CANARY = "canary-5f3b9c"


async def every_verb(office: Office) -> list[object]:
    """What all verbs say and raise while a secret stands wherever one may stand, or is mistaken for something else."""
    said: list[object] = []
    entry = {
        "name": "one",
        "adapter": "openai",
        "base_url": "https://one.example",
        "headers": {"X-Team": f"{CANARY}-h"},
        "quota": {"url": "https://q.example", "quota_remaining": "left", "headers": {"Authorization": f"Bearer {CANARY}-q"}},
        "credentials": [{"name": "a", "key": f"{CANARY}-k", "client_secret": f"{CANARY}-s"}],
    }
    made = await office.keys.create(NewKey(pool="team"), by=BY)
    raw = made.secret
    rest = raw.removeprefix(made.key.prefix)
    config, keys, pools, providers, settings = office.config, office.keys, office.pools, office.providers, office.settings
    for waiting in (
        providers.put("one", entry, by=BY),
        providers.put("one", {**entry, "headers": f"X: {CANARY}"}, by=BY),
        providers.put("two", {**entry, "name": "two", "credentials": [{"key": f"{CANARY} {CANARY}"}]}, by=BY),
        providers.put("two", {**entry, "name": "two", "headers": {"X": f"{CANARY}\n"}}, by=BY),
        providers.put("two", {**entry, "name": "two", "base_url": f"https://user:{CANARY}@x.example"}, by=BY),
        providers.put("two", {**entry, "name": "two", "proxy": f"http://user:{CANARY}@x.example"}, by=BY),
        providers.put("two", {**entry, "name": "two", "credentials": [{"key": f"{CANARY}-1", "token_file": "/x"}]}, by=BY),
        providers.patch("one", {"credentials": [{"name": "a", "key": f"{CANARY}-new"}]}, by=BY),
        providers.patch(f"{CANARY}", {}, by=BY),
        providers.all(),
        providers.get("one"),
        providers.validate([entry, {**entry, "credentials": [{"key": f"{CANARY} "}]}]),
        settings.change({"APP_AUTH__MASTER_KEY": f"{CANARY}-master-key"}, by=BY),
        settings.change({"APP_OPENAI__API_KEY": f"{CANARY}-key"}, by=BY),
        settings.all(),
        config.export(by=BY),
        config.restore({"providers": [entry, entry]}, by=BY),
        config.restore({"providers": [entry]}, by=BY),
        config.as_fallback_list(by=BY),
        config.replace_from_fallback_list([{"name": "x", "baseUrl": "https://x.example", "apiKey": f"{CANARY}-x"}], by=BY),
        config.replace_from_fallback_list([{"name": "x", "baseUrl": "https://x.example/v1/messages", "apiKey": f"{CANARY}-x"}], by=BY),
        config.revisions(),
        config.diff(1, 2),
        config.rollback(2, by=BY),
        pools.create(NewPool(name="p", upstreams=("one/a",)), by=BY),
        keys.get(raw),
        keys.update(raw, KeyPatch(label="x"), by=BY),
        keys.revoke(f"{made.key.prefix}{rest[:-1]}x", by=BY),
        keys.delete(f"nothing{rest}", by=BY),
        keys.all(),
        office.audit.all(limit=1000),
        office.audit.verify(by=BY),
    ):  # fmt: skip
        try:
            said.append(await waiting)
        except (Refused, Conflict) as error:
            said += [error, error.args, getattr(error, "faults", ())]
    assert rest not in str(said)
    return [*said, rest]


async def test_no_verb_tells_a_secret_in_views_errors_logs_audit_or_files(
    office: Office, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG, "fkproxy"):
        *said, rest = await every_verb(office)
    assert CANARY not in str(said)
    assert await office.key_of("one") == f"{CANARY}-new" or await office.key_of("one") == f"{CANARY}-k"
    lines = "\n".join(f"{record.getMessage()} {record.__dict__}" for record in caplog.records)
    assert "provider.create" in lines
    assert CANARY not in lines
    assert str(rest) not in lines
    found = [path for path in (tmp_path / "state").rglob("*") if path.is_file()]
    assert {"store.db", "store.db-wal"} <= {path.name for path in found}
    for path in found:
        assert CANARY.encode() not in path.read_bytes(), path.name
        assert str(rest).encode() not in path.read_bytes(), path.name
