"""The log of calls, usage, explanations and the audit log on the command line, against a whole gateway."""

from __future__ import annotations

import csv
import json

import pytest

from tests.remote.conftest import Type
from tests.remote.instance import Instance, until
from tests.remote.scripted import Scripted


@pytest.fixture
def called(type_: Type, gateway: Instance, key: tuple[str, str]) -> str:
    """The id of a key with two calls in the log, `ID-good` and `ID-bad`."""
    id_, secret = key
    assert gateway.call(secret, request_id=f"{id_}-good") == 200
    assert gateway.call(secret, "sandbox?status=503", f"{id_}-bad") == 503
    until(lambda: len(type_("logs", "--key", id_).rows) == 2)
    return id_


def test_calls_are_found_by_what_is_known_of_them(type_: Type, called: str) -> None:
    good, bad = f"{called}-good", f"{called}-bad"
    filters = {
        ("--id", good): [good],
        ("--key", called): [bad, good],
        ("--key", called, "--status", "503"): [bad],
        ("--key", called, "--status", "5xx"): [bad],
        ("--key", called, "--failures"): [bad],
        ("--key", called, "--error", "upstream_overloaded"): [bad],
        ("--key", called, "--ended-by", "gateway"): [],
        ("--key", called, "--model", "sandbox"): [good],
        ("--key", called, "--provider", "sandbox", "--pool", "team-a"): [bad, good],
        ("--key", called, "--since", "1h"): [bad, good],
        ("--key", called, "--until", "1h"): [],
        ("--key", called, "--since", "2020-01-01", "--limit", "1"): [bad],
    }
    for words, expected in filters.items():
        said = type_("logs", *words)
        assert [row[2] for row in said.rows] == expected, words
    assert said.err.startswith("there are more: --from ")
    assert [row[2] for row in type_("logs", "--key", called, *said.err.split()[-2:]).rows] == [good]
    assert set(type_("logs", "--json", "--id", good).json()) == {"rows", "next"}


def test_calls_are_found_by_what_is_shown_of_their_key(type_: Type, called: str) -> None:
    prefix = type_("keys", "show", called, "--json").json()["prefix"]
    assert [row[2] for row in type_("logs", "--key", prefix).rows] == [f"{called}-bad", f"{called}-good"]
    assert len(type_("logs", "--key", prefix, "--export", "jsonl").out.splitlines()) == 2
    assert [row[0] for row in type_("usage", "--key", prefix).rows] == [called]
    nobodys = type_("logs", "--key", "sk-fk-0123456789ab")
    assert (nobodys.code, nobodys.rows, "there is no such key" in nobodys.err) == (1, [], True)


def test_calls_leave_as_files(type_: Type, called: str) -> None:
    lines = list(csv.DictReader(type_("logs", "--key", called, "--export", "csv").out.splitlines()))
    assert [line["status"] for line in lines] == ["503", "200"]
    rows = [json.loads(line) for line in type_("logs", "--key", called, "--export", "jsonl").out.splitlines()]
    assert [row["request_id"] for row in rows] == [f"{called}-bad", f"{called}-good"]
    refused = type_("logs", "--export", "csv", "--limit", "1", "--failures")
    assert (refused.code, "an export takes no failures, limit" in refused.err) == (2, True)


def test_usage_is_summed_by_what_is_asked_for(type_: Type, called: str) -> None:
    by_key = type_("usage")
    (row,) = [row for row in by_key.rows if row[0] == called]
    assert row[1:6] == ["team-a", "-", "2", "1", "0"]
    assert by_key.err.startswith("since 20")
    for by, group in (("pool", "team-a"), ("provider", "sandbox"), ("model", "sandbox")):
        assert [row[0] for row in type_("usage", "--by", by, "--key", called).rows][:1] == [group]
    for by in ("hour", "day"):
        assert [row[2] for row in type_("usage", "--by", by, "--key", called, "--pool", "team-a").rows] == ["2"]
    assert type_("usage", "--key", called, "--until", "2w").rows == []
    assert type_("usage", "--key", called, "--model", "sandbox", "--provider", "sandbox", "--json").json()["rows"][0]["calls"] == 1


def test_what_a_deleted_key_used_is_told_under_its_name(type_: Type, gateway: Instance, team: str) -> None:
    made = type_("keys", "create", "--pool", team, "--label", "left us", "--json").json()
    id_, prefix = made["key"]["id"], made["key"]["prefix"]
    assert gateway.call(made["secret"]) == 200
    until(lambda: type_("usage", "--key", id_).rows)
    type_("keys", "revoke", id_)
    assert type_("keys", "delete", id_).code == 0
    said = type_("usage", "--key", id_)
    assert (said.out.splitlines()[1].split()[:4], len(said.rows)) == ([id_, team, "left", "us"], 1)
    told = type_("usage", "--key", id_, "--json").json()["keys"][id_]
    assert (told["prefix"], told["pool"], told["label"], told["deleted_s"] is None) == (prefix, team, "left us", False)


@pytest.mark.parametrize(("by", "which"), [("day", "3 earlier"), ("hour", "3 earlier"), ("pool", "3 with fewest calls"), ("key", None)])
def test_usage_says_what_it_leaves_out(tell: Type, stand_in: Scripted, by: str, which: str | None) -> None:
    stand_in.say("/admin/api/usage", {"group_by": by, "since_s": 1.8e9, "rows": [], "more": 3 if which else 0})
    said = tell("usage", "--by", by).err.splitlines()
    assert said == ["since 2027-01-15 08:00:00Z", *([f"not shown: {which}; --limit takes up to 10000"] if which else [])]


def test_a_call_is_explained_by_the_process_that_served_it(type_: Type, called: str) -> None:
    said = type_("explain", f"{called}-bad")
    assert said.out.splitlines()[0] == f"{called}-bad: /v1/chat/completions 503 upstream_overloaded"
    assert "failed" in said.out
    assert "there is no call with this id" in type_("explain", "never").err


def test_an_explanation_has_every_candidate(tell: Type, stand_in: Scripted) -> None:
    explained = {
        "request_id": "r/1",
        "route": "/v1/messages",
        "status": 502,
        "error_code": "timeout",
        "model_requested": "asked",
        "model_id": "got",
        "attempts": 1,
        "duration_ms": 5,
        "candidates": [
            {"provider_key": "one", "credential": "a", "model_id": "m", "verdict": "failed", "reason": "timeout", "duration_ms": 4.5},
            {"provider_key": "two", "verdict": "passed_over", "reason": "limited", "retry_after_s": 30},
        ],
        "notes": ["waited"],
        "waited_ms": 1.5,
        "reasoning_requested": "effort high",
    }
    stand_in.say("/admin/api/explain/r%2F1", explained)
    said = tell("explain", "r/1")
    lines = [line.split() for line in said.out.splitlines()]
    assert ["one/a", "m", "failed", "timeout", "-", "4.5", "ms", "-"] in lines
    assert ["two", "got", "passed", "over", "limited", "-", "-", "30", "s"] in lines
    assert "notes: waited" in said.out
    assert "thinking: asked for effort high, applied -" in said.out
    assert tell("explain", "r/1", "--json").json() == explained


def test_the_audit_log_says_who_did_what(type_: Type, called: str) -> None:
    type_("keys", "pause", called)
    type_("keys", "update", called, "--label", "x")
    type_("pools", "delete", "team-a")
    refused, updated, paused = type_("audit", "list", "--limit", "3").rows
    assert refused[3:] == ["administrator", "127.0.0.0/24", "pool.delete", "team-a", "refused", "-", "forbidden"]
    assert updated[5:8] == ["key.update", called, "done"]
    assert paused[5] == "key.pause"
    assert [row[5] for row in type_("audit", "list", "--action", "key", "--target", called, "--outcome", "done").rows] == [
        "key.update",
        "key.pause",
        "key.create",
    ]
    assert type_("audit", "list", "--before", paused[0], "--since", "1h", "--limit", "1").rows[0][0] == str(int(paused[0]) - 1)
    assert type_("audit", "list", "--until", "1h").rows == []
    assert "families are" in type_("audit", "list", "--action", "keys").err


@pytest.mark.parametrize(
    ("options", "count", "more"), [((), 50, True), ((), 49, False), (("--limit", "2"), 2, True), (("--limit", "3"), 2, False)]
)
def test_a_full_page_of_the_audit_log_says_where_the_next_one_begins(
    options: tuple[str, ...], count: int, more: bool, tell: Type, stand_in: Scripted
) -> None:
    stand_in.say("/admin/api/audit", [{"id": 900 - each, "at_s": 1.0, "actor": {}} for each in range(count)])
    said = tell("audit", "list", *options)
    assert len(said.rows) == count
    assert said.err == (f"there may be more: --before {901 - count}\n" if more else "")


def test_an_audit_log_that_somebody_changed_is_an_error(type_: Type, tell: Type, stand_in: Scripted) -> None:
    whole = type_("audit", "verify")
    assert (whole.code, "none changed or missing" in whole.out) == (0, True)
    stand_in.say("/admin/api/audit/verify", {"ok": False, "rows": 6, "first_bad_id": 7})
    altered = tell("audit", "verify")
    assert (altered.code, altered.out) == (1, "")
    assert "the first entry that does not fit is 7" in altered.err
