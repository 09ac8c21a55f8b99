"""Pools and client keys on the built file, with the clients that vendors ship: who may, what for, how much, and how it ends."""

from __future__ import annotations

import itertools
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import anthropic
import openai
import pytest

from tests.e2e.plane import SLOW, Admin, Key, providers, until, vendors
from tests.e2e.processes import BINARY, KEY, Service, ask, clean_environment, service
from tests.e2e.sdks import Refused, Streaming, by_anthropic, by_openai, refusal
from tests.fakes.chaos import TEXT, Vendor

NORTH, SOUTH = "north", "south"
_numbers = itertools.count(1)


@pytest.fixture(scope="module")
def behind() -> Iterator[list[Vendor]]:
    with vendors(2) as found:
        yield found


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory, behind: list[Vendor]) -> Iterator[Service]:
    directory: Path = tmp_path_factory.mktemp("administration")
    north, south = behind
    file = providers(
        directory, (NORTH, north, ["m", "of-north"], "key-n"), (SOUTH, south, ["m", "of-south"], "key-s"), ("third", north, [SLOW], SLOW)
    )
    settings = {
        "APP_AUTH__MASTER_KEY": KEY,
        "APP_PROVIDERS_FILE": file,
        "APP_ROUTING__MAX_WAIT_SECS": "0.2",
        "APP_RATE_LIMIT__ENABLED": "false",
    }
    with service(directory, **settings) as found:
        yield found


@pytest.fixture(scope="module")
def admin(running: Service) -> Admin:
    return Admin.of(running)


@pytest.fixture
def pool(admin: Admin) -> str:
    """One of the test's own, with everything in it."""
    return admin.pool(f"team-{next(_numbers)}")


Client = Callable[[Service, str, str], str | Refused]
CLIENTS = pytest.mark.parametrize("call", [by_openai, by_anthropic], ids=["openai", "anthropic"])


def code(call: Client, openai_code: str, anthropic_type: str) -> str:
    """The word for the same refusal in the dialect of the client."""
    return openai_code if call is by_openai else anthropic_type


# --- calls and models


@CLIENTS
def test_a_call_with_a_key_is_answered_and_stands_in_the_log(running: Service, admin: Admin, pool: str, call: Client) -> None:
    key, began_s = admin.key(pool, label="ci"), time.time()
    assert call(running, key.secret, "m") == TEXT
    (row,) = until(lambda: admin.calls(f"&key_id={key.id}"))
    assert (row["pool"], row["key_prefix"], row["model_id"], row["status"], row["outcome"]) == (pool, key.prefix, "m", 200, "ok")
    assert (row["tokens_input"], row["tokens_output"], row["ended_by"]) == (3, 4, "upstream")
    assert until(lambda: admin.get(f"/keys/{key.id}")["last_used_s"]) > began_s - 60
    usage = {each["group"]: each for each in admin.get("/usage?group_by=key")["rows"]}[key.id]
    assert (usage["calls"], usage["tokens_input"], usage["tokens_output"]) == (1, 3, 4)
    assert admin.answer("DELETE", f"/keys/{key.id}?confirm={key.prefix}").status == 204
    told = admin.get("/usage?group_by=key")["keys"][key.id]
    assert (told["label"], told["prefix"], told["deleted_s"] > began_s - 60) == ("ci", key.prefix, True), "it is known by its name still"


@CLIENTS
def test_models_are_those_of_the_pool_and_of_the_key(running: Service, admin: Admin, pool: str, call: Client) -> None:
    admin.patch(f"/pools/{pool}", {"models": ["m", "of-*"], "excluded_models": ["of-south"]})
    key = admin.key(pool)
    assert call(running, key.secret, "of-north") == TEXT
    assert refusal(call(running, key.secret, "of-south")) == (403, code(call, "model_not_allowed", "permission_error"))
    admin.patch(f"/keys/{key.id}", {"models": ["m"]})
    assert refusal(call(running, key.secret, "of-north")) == (403, code(call, "model_not_allowed", "permission_error"))
    assert call(running, key.secret, "m") == TEXT
    with openai.OpenAI(base_url=running.v1, api_key=key.secret, max_retries=0) as sdk:
        assert {model.id for model in sdk.models.list()} == {"m"}
        with pytest.raises(openai.NotFoundError):
            sdk.models.retrieve("of-north")
    with anthropic.Anthropic(base_url=running.url, api_key=key.secret, max_retries=0) as other:
        assert {model.id for model in other.models.list()} == {"m"}


@CLIENTS
def test_a_pool_keeps_to_its_upstreams(running: Service, admin: Admin, pool: str, behind: list[Vendor], call: Client) -> None:
    admin.patch(f"/pools/{pool}", {"upstreams": [SOUTH]})
    key = admin.key(pool)
    before = behind[0].asked["key-n"], behind[1].asked["key-s"]
    assert [call(running, key.secret, "m") for _ in range(4)] == [TEXT] * 4
    assert refusal(call(running, key.secret, "of-north")) == (404, code(call, "model_not_found", "not_found_error"))
    assert refusal(call(running, key.secret, f"{NORTH}/m")) == (404, code(call, "model_not_found", "not_found_error"))
    assert (behind[0].asked["key-n"], behind[1].asked["key-s"]) == (before[0], before[1] + 4)
    with openai.OpenAI(base_url=running.v1, api_key=key.secret, max_retries=0) as sdk:
        assert {"m", "of-south"} <= {model.id for model in sdk.models.list()}
        assert not [model.id for model in sdk.models.list() if NORTH in model.id]


@CLIENTS
def test_an_enforced_model_is_served_whatever_is_asked_for(running: Service, admin: Admin, pool: str, call: Client) -> None:
    key = admin.key(pool, enforced_model="of-south")
    assert call(running, key.secret, "gpt-of-somebody") == TEXT
    (row,) = until(lambda: admin.calls(f"&key_id={key.id}"))
    assert (row["model_requested"], row["model_id"], row["provider_key"]) == ("gpt-of-somebody", "of-south", SOUTH)


# --- limits


@CLIENTS
@pytest.mark.parametrize(
    ("limits", "served", "word"),
    [
        ({"requests_per_minute": 2}, 2, "rate_limit_exceeded"),
        ({"tokens_per_minute": 0}, 0, "rate_limit_exceeded"),
        ({"tokens_per_day": 20}, 1, "token_budget_exceeded"),
        ({"tokens_per_week": 20}, 1, "token_budget_exceeded"),
    ],
    ids=["requests", "tokens a minute", "tokens a day", "tokens a week"],
)
def test_a_limit_is_told_with_the_time_to_come_back(
    running: Service, admin: Admin, pool: str, call: Client, limits: dict[str, int], served: int, word: str
) -> None:
    key = admin.key(pool, limits=limits)
    answers = [call(running, key.secret, "m") for _ in range(served + 2)]
    assert [answer for answer in answers if answer == TEXT] == [TEXT] * served, answers
    last = answers[-1]
    assert refusal(last) == (429, code(call, word, "rate_limit_error"))
    assert isinstance(last, Refused)
    assert last.retry_after_s is None if 0 in limits.values() else last.retry_after_s is not None and last.retry_after_s >= 1
    admin.patch(f"/keys/{key.id}", {"limits": dict.fromkeys(limits)})
    assert call(running, key.secret, "m") == TEXT, "without the limit at once"


@CLIENTS
def test_more_calls_at_once_than_a_key_may_have_are_refused(running: Service, admin: Admin, pool: str, call: Client) -> None:
    key = admin.key(pool, limits={"max_concurrency": 1})
    with Streaming(running, key):
        said = call(running, key.secret, "m")
        assert refusal(said) == (429, code(call, "concurrency_exceeded", "rate_limit_error"))
        assert isinstance(said, Refused)
        assert said.retry_after_s
    assert until(lambda: call(running, key.secret, "m") == TEXT)


# --- a key's life


def test_a_pause_of_a_key_or_of_its_pool_holds_until_it_is_ended(running: Service, admin: Admin, pool: str) -> None:
    key = admin.key(pool)
    for call, openai_only in ((by_openai, True), (by_anthropic, False)):
        for what, name, word in (("keys", key.id, "key_paused"), ("pools", pool, "pool_inactive")):
            admin.post(f"/{what}/{name}/pause")
            assert refusal(call(running, key.secret, "m")) == (403, word if openai_only else "permission_error")
            admin.post(f"/{what}/{name}/resume")
            assert call(running, key.secret, "m") == TEXT


def test_a_rotated_key_has_two_secrets_for_a_while(running: Service, admin: Admin, pool: str) -> None:
    first = admin.key(pool)
    second = Key(admin.post(f"/keys/{first.id}/rotate", {"overlap_s": 3600}))
    assert first.id == second.id
    assert first.secret != second.secret
    assert [by_openai(running, each.secret, "m") for each in (first, second)] == [TEXT] * 2
    third = Key(admin.post(f"/keys/{second.prefix}/rotate", {"overlap_s": 1}))
    said = until(lambda: by_openai(running, second.secret, "m"), lambda said: said != TEXT)
    assert refusal(said) == (401, "key_expired")
    assert refusal(by_anthropic(running, second.secret, "m")) == (401, "authentication_error")
    fourth = Key(admin.post(f"/keys/{third.prefix}/rotate", {"overlap_s": 0}))
    assert refusal(by_openai(running, third.secret, "m")) == (401, "invalid_api_key")
    assert by_openai(running, fourth.secret, "m") == TEXT


def test_a_key_ends_when_it_expires(running: Service, admin: Admin, pool: str) -> None:
    key = admin.key(pool, expires_s=time.time() + 3600)
    assert by_anthropic(running, key.secret, "m") == TEXT
    with Streaming(running, key) as stream:
        # An end that has passed is refused; on a busy machine it may have by the time it comes there.
        until(lambda: admin.answer("PATCH", f"/keys/{key.id}", {"expires_s": time.time() + 1}).status, lambda status: status == 200)
        assert stream.ended_with() == "key_expired"
    assert refusal(by_openai(running, key.secret, "m")) == (401, "key_expired")
    assert refusal(by_anthropic(running, key.secret, "m")) == (401, "authentication_error")
    assert admin.get(f"/keys/{key.id}")["effective_state"] == "expired"


# --- live streams


@pytest.mark.parametrize(
    ("dialect", "verb", "word"),
    [
        ("openai", "keys/{key}/revoke", "key_revoked"),
        ("openai", "keys/{key}/pause", "key_paused"),
        ("openai", "pools/{pool}/disable", "pool_inactive"),
        ("anthropic", "keys/{key}/revoke", "authentication_error"),
        ("anthropic", "pools/{pool}/pause", "permission_error"),
    ],
)
def test_live_streams_end_with_their_key(
    running: Service, admin: Admin, pool: str, behind: list[Vendor], dialect: str, verb: str, word: str
) -> None:
    key, other = admin.key(pool), admin.key(admin.pool(f"{pool}-others"))
    with Streaming(running, other, dialect) as untouched:
        before = behind[0].connections
        with Streaming(running, key, dialect) as first, Streaming(running, key, dialect) as second:
            assert behind[0].connections >= before + 2
            admin.post("/" + verb.format(key=key.id, pool=pool))
            for stream in (first, second):
                assert stream.ended_with() == word
        until(lambda: behind[0].connections <= before)
        pieces = untouched.pieces
        until(lambda: untouched.pieces > pieces + 5)
    rows = until(lambda: admin.calls(f"&key_id={key.id}"), lambda rows: len(rows) == 2)
    assert {(row["status"], row["ended_by"], row["outcome"]) for row in rows} == {(200, "gateway", rows[0]["outcome"])}
    assert {row["error_code"] for row in rows} <= {"key_revoked", "key_paused", "pool_inactive"}
    assert all(row["tokens_output"] for row in rows), "what was streamed of a reply that was cut is booked"


# --- the master key


@CLIENTS
def test_the_master_key_administers_and_no_longer_calls(running: Service, admin: Admin, pool: str, call: Client) -> None:
    key = admin.key(pool)
    assert refusal(call(running, KEY, "m")) == (403, code(call, "administrator_key", "permission_error"))
    told = ask(f"{admin.url}/keys", key=key.secret)
    assert (told.status, told.json()["error"]["code"]) == (403, "forbidden")
    for headers in ({"x-management-secret": KEY}, {"x-management-key": KEY}, {"authorization": f"Bearer {KEY}"}):
        assert ask(f"{admin.url}/keys", headers=headers).status == 200
    assert ask(f"{running.url}/metrics", key=key.secret).status == 403


def test_smoke_says_whose_key_it_needs(running: Service, admin: Admin, pool: str, tmp_path: Path) -> None:
    file = tmp_path / "key"

    def smoke(key: str) -> tuple[int, str]:
        file.write_text(key)
        command = [str(BINARY), "smoke", running.url, "--key-file", str(file)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, env=clean_environment(), check=False)
        return done.returncode, done.stdout

    key = admin.key(pool)
    assert smoke(key.secret)[0] == 0
    code_, told = smoke(KEY)
    assert code_ == 1
    assert "a call needs the key of a pool; put one into a file and name that with --key-file" in told


# --- settings and providers


def test_a_setting_holds_for_new_calls_and_those_under_way_keep_theirs(running: Service, admin: Admin, pool: str) -> None:
    key, name = admin.key(pool), "APP_CONCURRENCY__MAX_STREAMS"
    with Streaming(running, key) as stream:
        (view,) = admin.patch("/settings", {name: 1})
        assert (view["value"], view["source"]) == ("1", "managed")
        body = {"model": SLOW, "stream": True, "messages": [{"role": "user", "content": "x"}]}
        told = ask(f"{running.v1}/chat/completions", key=key.secret, body=body)
        assert (told.status, told.json()["error"]["code"]) == (429, "concurrency_exceeded")
        pieces = stream.pieces
        until(lambda: stream.pieces > pieces + 3)
        (view,) = admin.patch("/settings", {name: None})
        assert view["source"] == "default"
        with Streaming(running, key):
            assert stream.error is None
    fixed = admin.answer("PATCH", "/settings", {"APP_ROUTING__MAX_WAIT_SECS": 1})
    assert (fixed.status, fixed.json()["error"]["code"]) == (409, "fixed_by_environment")


def test_a_provider_serves_from_the_moment_it_is_added_until_it_is_removed(
    running: Service, admin: Admin, pool: str, behind: list[Vendor]
) -> None:
    key = admin.key(pool)
    entry = {"adapter": "openai", "base_url": behind[0].url, "models": ["of-new"], "credentials": [{"name": "a", "key": "key-new"}]}
    assert refusal(by_openai(running, key.secret, "of-new")) == (404, "model_not_found")
    admin.put("/providers/new", entry)
    assert by_openai(running, key.secret, "of-new") == TEXT
    assert behind[0].asked["key-new"] == 1
    assert admin.answer("DELETE", "/providers/new").status == 204
    assert refusal(by_openai(running, key.secret, "of-new")) == (404, "model_not_found")
