"""Pools and keys on the command line, against a whole gateway."""

from __future__ import annotations

import time

import pytest

from tests.remote.conftest import Type
from tests.remote.instance import KEY, Instance


def test_the_secret_alone_is_printed_and_lets_its_owner_in(type_: Type, team: str, gateway: Instance) -> None:
    began_s = time.time()
    made = type_("keys", "create", "--pool", team, "--label", "ci", "--expires", "30d", "--limit", "requests_per_minute=60")
    assert made.code == 0
    secret, id_ = made.out.strip(), made.err.split()[3].rstrip(";")
    assert secret.startswith("sk-fk-")
    assert "not shown again" in made.err
    assert gateway.call(secret) == 200
    assert gateway.call(KEY) == 403, "the master key is the administrator's now"
    (row,) = [row for row in type_("keys", "list", "--pool", team).rows if row[0] == id_]
    assert row[1:5] == [secret.rpartition("-")[0] if secret.count("-") == 3 else row[1], team, "ci", "active"]
    shown = type_("keys", "show", id_)
    assert "label: ci" in shown.out.splitlines()
    assert "  requests_per_minute: 60" in shown.out.splitlines()
    ends = [time.strftime("%Y-%m-%d", time.gmtime(at_s + 30 * 86400)) for at_s in (began_s, time.time())]
    assert [end for end in ends if f"expires: {end}" in shown.out]
    assert secret not in shown.out


def test_a_key_is_held_let_go_renewed_and_ended(type_: Type, key: tuple[str, str], gateway: Instance) -> None:
    id_, secret = key
    assert type_("keys", "pause", id_).rows[0][4] == "paused"
    assert gateway.call(secret) == 403
    assert type_("keys", "resume", id_).rows[0][4] == "active"
    assert gateway.call(secret) == 200
    renewed = type_("keys", "rotate", id_, "--overlap", "1h").out.strip()
    assert (gateway.call(secret), gateway.call(renewed)) == (200, 200)
    last = type_("keys", "rotate", id_, "--overlap", "0").out.strip()
    assert (gateway.call(secret), gateway.call(renewed), gateway.call(last)) == (401, 401, 200)
    assert "requests_per_minute" not in type_("keys", "show", id_).out
    assert type_("keys", "revoke", id_).rows[0][4:6] == ["revoked", "-"]
    assert gateway.call(last) == 401
    assert type_("keys", "delete", id_) == (0, f"deleted: {id_}\n", "")
    assert type_("keys", "show", id_) == (1, "", "fkllmproxy: 404 there is no such key\n")


def test_only_a_confirmed_key_goes_without_being_revoked_first(type_: Type, key: tuple[str, str]) -> None:
    id_, secret = key
    refused = type_("keys", "delete", id_)
    assert refused.code == 1
    assert "revoke it first" in refused.err
    prefix = type_("keys", "show", id_, "--json").json()["prefix"]
    assert secret.startswith(prefix)
    assert type_("keys", "delete", id_, "--confirm", prefix).code == 0


def test_terms_are_given_changed_and_taken_away(type_: Type, key: tuple[str, str]) -> None:
    id_, _ = key
    terms = ["--label", "x", "--model", "sandbox", "--model", "other", "--maximum-thinking", "low", "--limit", "spend_usd_per_day=1.5"]
    began_s = time.time()
    changed = type_("keys", "update", id_, *terms, "--expires", "1h", "--limit", "max_concurrency=2", "--json").json()
    assert (changed["label"], changed["models"], changed["maximum_thinking"]) == ("x", ["sandbox", "other"], "low")
    assert changed["limits"] == {"spend_usd_per_day": 1.5, "max_concurrency": 2}
    assert began_s <= changed["expires_s"] - 3600 <= time.time()
    less = type_("keys", "update", id_, "--maximum-thinking", "", "--expires", "never", "--limit", "max_concurrency=none", "--json").json()
    assert (less["maximum_thinking"], less["expires_s"], less["label"]) == (None, None, "x")
    assert less["limits"] == {"spend_usd_per_day": 1.5}
    enforced = type_("keys", "update", id_, "--enforced-thinking", "none", "--enforced-model", "other", "--json").json()
    assert (enforced["enforced_thinking"], enforced["enforced_model"]) == ("none", "other"), "none is a level of thinking"


def test_a_key_moves_between_pools(type_: Type, key: tuple[str, str], gateway: Instance) -> None:
    type_("pools", "create", "elsewhere", "--model", "nothing-*")
    assert "elsewhere" in type_("keys", "move", key[0], "elsewhere").rows[0]
    assert gateway.call(key[1]) == 403
    assert [row[0] for row in type_("keys", "list", "--pool", "elsewhere").rows] == [key[0]]


def test_a_pool_and_all_that_becomes_of_it(type_: Type) -> None:
    options = ["--label", "B", "--upstream", "sandbox", "--model", "a*", "--exclude-model", "ab", "--strategy", "round_robin"]
    made = type_("pools", "create", "team-b", *options, "--fallback", "a=b", "--fallback", "a=c")
    assert made.rows == [["team-b", "active", "-", "a*", "sandbox", "round_robin", "B"]]
    shown = type_("pools", "show", "team-b", "--json").json()
    assert (shown["fallbacks"], shown["excluded_models"]) == ({"a": ["b", "c"]}, ["ab"])
    for verb, state in (("pause", "paused"), ("resume", "active"), ("disable", "disabled"), ("archive", "archived")):
        assert type_("pools", verb, "team-b").rows[0][1] == state
    assert "team-b" not in type_("pools", "list").out
    assert "team-b" in type_("pools", "list", "--archived").out
    assert type_("pools", "delete", "team-b") == (0, "deleted: team-b\n", "")


def test_what_a_pool_names_is_replaced_and_a_blank_means_all(type_: Type, team: str) -> None:
    assert type_("pools", "update", team, "--upstream", "sandbox", "--json").json()["upstreams"] == ["sandbox"]
    assert type_("pools", "update", team, "--upstream", "", "--strategy", "", "--json").json()["upstreams"] == []
    assert [row[4] for row in type_("pools", "list").rows if row[0] == team] == ["all"]
    assert type_("pools", "update", team, "--fallback", "a=b", "--json").json()["fallbacks"] == {"a": ["b"]}
    assert type_("pools", "update", team, "--fallback", "", "--json").json()["fallbacks"] == {}


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        (["keys", "update", "any"], 2, "nothing to change was said"),
        (["pools", "update", "team-a"], 2, "nothing to change was said"),
        (["keys", "create", "--pool", "team-a", "--limit", "tokens_per_day=many"], 2, "'many' is no number"),
        (["keys", "create", "--pool", "team-a", "--limit", "tokens_per_dya=1"], 1, "tokens_per_dya"),
        (["keys", "create", "--pool", "nobody"], 1, "pool: is no pool"),
        (["pools", "create", "Big Team"], 1, "name: is no name"),
        (["pools", "create", "team-c", "--upstream", "sandbix"], 1, "did you mean sandbox?"),
        (["pools", "pause", "team-q"], 1, "there is no such pool; did you mean team-a?"),
        (["pools", "delete", "team-a"], 1, "archive it first"),
    ],
)
def test_what_cannot_be_done_is_told_plainly(arguments: list[str], code: int, told: str, type_: Type, team: str) -> None:
    said = type_(*arguments)
    assert (said.code, said.out) == (code, "")
    assert told in said.err
