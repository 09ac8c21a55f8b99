"""A fleet from a configuration, and from a changed one."""

from __future__ import annotations

from pathlib import Path

import pytest

from fkproxy.adapters.base import UpstreamCall
from fkproxy.adapters.http import HttpClient
from fkproxy.assembly import Assembly, rows
from fkproxy.dialects import DIALECTS
from fkproxy.dialects.base import Peek
from fkproxy.dialects.codex import DIALECT
from fkproxy.providers import Workshop
from fkproxy.settings import LoadedSettings, load, load_providers
from tests.e2e.processes import service_account

ONE = '[[providers]]\nname = "one"\nadapter = "openai"\nbase_url = "http://127.0.0.1:9/v1"\nmodels = ["m"]\n'
KEYS = '[[providers.credentials]]\nkey = "first-key"\n[[providers.credentials]]\nkey = "second-key"\n'
CHAT = DIALECTS["openai_chat"]
ONCE = '[[providers]]\nname = "once"\nadapter = "codex"\ncodex = {{ transport = "exec", binary = "{}", home = "{}" }}\n'
ASKED = b'{"model": "default", "messages": [{"role": "user", "content": "What?"}]}'
TWO = ONE.replace('"one"', '"two"')


def configured(tmp_path: Path, text: str) -> LoadedSettings:
    path = tmp_path / "providers.toml"
    path.write_text(text)
    return load(environ={"APP_PROVIDERS_FILE": str(path)})


async def test_what_is_configured_as_before_goes_on_as_before(tmp_path: Path) -> None:
    client = HttpClient()
    loaded = configured(tmp_path, ONE + KEYS)
    assembly = Assembly(client, loaded.settings, lambda key, to: None)
    before = assembly.fleet(loaded)
    assert [upstream.key for upstream in before.upstreams] == ["one/1", "one/2"]
    before.upstreams[1].standing.pause()
    (tmp_path / "providers.toml").write_text(TWO + ONE + KEYS.replace("first-key", "rotated-key"))
    after = assembly.fleet(load_providers(loaded), before)
    assert [upstream.key for upstream in after.upstreams] == ["two", "one/1", "one/2"]
    assert after.upstreams[1] is not before.upstreams[0], "its key is another one"
    assert after.upstreams[2] is before.upstreams[1]
    assert after.selector is before.selector
    assert [(row.key, row.state) for row in rows(after)] == [("two", "active"), ("one/1", "active"), ("one/2", "paused")]
    assert rows(after)[2].retry_after_s == -1.0
    await client.aclose()


async def test_who_is_paused_stays_so_whatever_of_his_provider_changes(tmp_path: Path) -> None:
    client = HttpClient()
    loaded = configured(tmp_path, ONE + KEYS)
    assembly = Assembly(client, loaded.settings, lambda key, to: None)
    before = assembly.fleet(loaded)
    before.upstreams[0].standing.pause()
    before.upstreams[1].standing.exhaust(60.0, 0.0)
    (tmp_path / "providers.toml").write_text(TWO + ONE + 'auth_header = "x-key"\n' + KEYS.replace("first-key", "rotated-key"))
    after = assembly.fleet(load_providers(loaded), before)
    assert not {*after.upstreams} & {*before.upstreams}
    assert [(row.key, row.state) for row in rows(after)] == [("two", "active"), ("one/1", "paused"), ("one/2", "active")]
    (tmp_path / "providers.toml").write_text(TWO)
    gone = assembly.fleet(load_providers(loaded), after)
    (tmp_path / "providers.toml").write_text(ONE + KEYS)
    assert [row.state for row in rows(assembly.fleet(load_providers(loaded), gone))] == ["active", "active"], "it is another one"
    await client.aclose()


SECOND = '[[providers.credentials]]\nkey = "second-key"\n'
FIRST = KEYS.removesuffix(SECOND)
NAMED = FIRST.replace("key =", 'name = "a"\nkey =') + FIRST.replace("key =", 'name = "b"\nkey =')


@pytest.mark.parametrize(
    ("before", "after", "paused"),
    [
        (FIRST, FIRST + SECOND, ["one/1"]),
        (FIRST, SECOND + FIRST, ["one/2"]),
        (FIRST + SECOND, FIRST, ["one"]),
        (FIRST + SECOND, SECOND + FIRST, ["one/2"]),
        (FIRST + SECOND, SECOND, []),
        (FIRST + SECOND + FIRST.replace("first", "third"), SECOND + FIRST.replace("first", "third"), []),
        (FIRST, NAMED, ["one/a", "one/b"]),
        (NAMED, NAMED + "weight = 2\nproxy = 'direct'\n", ["one/a"]),
        (FIRST, FIRST.replace("first", "rotated"), ["one"]),
        (FIRST, FIRST.replace("first", "rotated") + SECOND, []),
    ],
    ids=[
        "another_after",
        "another_before",
        "the_other_gone",
        "swapped",
        "gone",
        "moved_up",
        "twice",
        "two_alike",
        "rotated",
        "another_two",
    ],
)
async def test_a_pause_is_of_a_credential_and_follows_it_to_another_name(
    tmp_path: Path, before: str, after: str, paused: list[str]
) -> None:
    client = HttpClient()
    loaded = configured(tmp_path, ONE + before + TWO + FIRST)
    assembly = Assembly(client, loaded.settings, lambda key, to: None)
    fleet = assembly.fleet(loaded)
    fleet.upstreams[0].standing.pause()
    (tmp_path / "providers.toml").write_text(ONE + after + TWO + FIRST)
    assert [row.key for row in rows(assembly.fleet(load_providers(loaded), fleet)) if row.state == "paused"] == paused
    await client.aclose()


OFF = "disabled = true\n"


@pytest.mark.parametrize(
    ("meanwhile", "after", "paused"),
    [
        (ONE + OFF + FIRST + SECOND, FIRST + SECOND, ["one/1"]),
        (ONE + OFF + FIRST + SECOND, SECOND + FIRST, ["one/2"]),
        (ONE + OFF + FIRST + SECOND, FIRST.replace("first", "rotated") + SECOND, ["one/1"]),
        (ONE + OFF + FIRST + SECOND, SECOND, []),
        (ONE + OFF + FIRST.replace("key =", "file =") + SECOND, FIRST + SECOND, ["one/1"]),
        (ONE + FIRST + OFF + SECOND, FIRST + SECOND, ["one/1"]),
        (ONE + FIRST + SECOND + OFF, FIRST + SECOND, ["one/1"]),
        (ONE + SECOND, FIRST + SECOND, []),
    ],
    ids=["enabled", "swapped", "rotated", "gone", "unread", "itself", "the_other", "removed"],
)
async def test_a_pause_outlives_the_time_in_which_its_provider_is_disabled(
    tmp_path: Path, meanwhile: str, after: str, paused: list[str]
) -> None:
    client = HttpClient()
    loaded = configured(tmp_path, ONE + FIRST + SECOND + TWO + FIRST)
    assembly = Assembly(client, loaded.settings, lambda key, to: None)
    fleet = assembly.fleet(loaded)
    fleet.upstreams[0].standing.pause()
    for text in (meanwhile, meanwhile, ONE + after):
        (tmp_path / "providers.toml").write_text(text + TWO + FIRST)
        fleet = assembly.fleet(load_providers(loaded), fleet)
    assert [row.key for row in rows(fleet) if row.state == "paused"] == paused
    await client.aclose()


async def test_a_pause_does_not_go_to_one_that_was_there_before_with_the_same_key(tmp_path: Path) -> None:
    """One key over two ways: each of them is an upstream, and stays the one that it is."""
    client = HttpClient()
    direct, proxied = (FIRST.replace("key =", f'name = "{name}"\nkey =') for name in ("a", "b"))
    proxied += 'proxy = "http://127.0.0.1:9"\n'
    loaded = configured(tmp_path, ONE + direct + proxied)
    assembly = Assembly(client, loaded.settings, lambda key, to: None)
    fleet = assembly.fleet(loaded)
    fleet.upstreams[0].standing.pause()
    for text in (direct + OFF + proxied, direct + proxied):
        (tmp_path / "providers.toml").write_text(ONE + text)
        fleet = assembly.fleet(load_providers(loaded), fleet)
    assert [(row.key, row.state) for row in rows(fleet)] == [("one/a", "paused"), ("one/b", "active")]
    await client.aclose()


async def test_a_pause_that_was_ended_does_not_come_back_with_its_provider(tmp_path: Path) -> None:
    client = HttpClient()
    loaded = configured(tmp_path, ONE + TWO)
    assembly = Assembly(client, loaded.settings, lambda key, to: None)
    fleet = assembly.fleet(loaded)
    fleet.upstreams[0].standing.pause()
    for text in (ONE + OFF, ONE):
        (tmp_path / "providers.toml").write_text(text + TWO)
        fleet = assembly.fleet(load_providers(loaded), fleet)
    fleet.upstreams[0].standing.resume()
    for text in (ONE + OFF, ONE):
        (tmp_path / "providers.toml").write_text(text + TWO)
        fleet = assembly.fleet(load_providers(loaded), fleet)
    assert [row.state for row in rows(fleet)] == ["active", "active"]
    await client.aclose()


async def test_what_is_said_of_the_way_to_an_upstream_leaves_it_the_same_and_is_in_force(tmp_path: Path) -> None:
    client = HttpClient()
    loaded = configured(tmp_path, ONE + KEYS + TWO)
    assembly = Assembly(client, loaded.settings, lambda key, to: None)
    before = assembly.fleet(loaded)
    before.upstreams[0].in_flight = 1
    said = """
label = "First"
excluded_models = ["x"]
model_mapping = { y = "m" }
preview_models = { m = "n" }
prefix = "p"
priority = 2
weight = 3
strategy = "ordered"
fallbacks = ["two"]
thinking = "low"
retries = 4
prices = { "*" = { input = 1, output = 2 } }
"""
    weighted = KEYS.replace('"second-key"', '"second-key"\nweight = 5')
    (tmp_path / "providers.toml").write_text(ONE + said + weighted + TWO)
    after = assembly.fleet(load_providers(loaded), before)
    assert [*after.upstreams] == [*before.upstreams]
    terms = [upstream.terms for upstream in after.upstreams]
    assert [(each.retries, each.weight, each.reasoning is not None) for each in terms] == [(4, 1, True), (4, 5, True), (0, 1, False)]
    assert after.route("y").targets[0].model == after.route("p/m").targets[0].model == "m"
    await client.aclose()


async def test_another_secret_anywhere_makes_another_upstream(tmp_path: Path) -> None:
    client = HttpClient()
    quota = 'quota = {{ url = "http://127.0.0.1:9/q", quota_remaining = "a", headers = {{ x-key = "{}" }} }}\n'
    entry = ONE + 'headers = {{ x-team = "{}" }}\n' + quota
    loaded = configured(tmp_path, entry.format("blue", "first"))
    assembly = Assembly(client, loaded.settings, lambda key, to: None)
    fleet = assembly.fleet(loaded)
    for secrets, same in ((("blue", "first"), True), (("blue", "second"), False), (("second", "blue"), False)):
        before = fleet
        (tmp_path / "providers.toml").write_text(entry.format(*secrets))
        fleet = assembly.fleet(load_providers(loaded), before)
        assert (fleet.upstreams[0] is before.upstreams[0]) == same
    await client.aclose()


async def test_terms_come_from_the_entry_and_else_from_the_settings(tmp_path: Path) -> None:
    client = HttpClient()
    entry = ONE + 'retries = 2\nthinking = "4096"\ntimeouts = { silence = 7 }\nlimits = { max_concurrency = 3 }\nproxy = "direct"\n'
    entry += 'headers = { Authorization = "Bearer canary-1", x-key = "canary 2" }\n'
    loaded = configured(tmp_path, entry)
    (upstream,) = Assembly(client, loaded.settings, lambda key, to: None).fleet(loaded).upstreams
    terms = upstream.terms
    assert (terms.retries, terms.max_concurrency, terms.timeouts.silence_s, terms.timeouts.first_byte_s) == (2, 3, 7.0, 120.0)
    assert terms.reasoning is not None
    assert terms.reasoning.budget_tokens == 4096
    assert [await each.token(0.0) for each in terms.withheld] == ["canary-1", "canary 2"]
    await client.aclose()


async def test_other_settings_reach_an_upstream_that_was_there_before(tmp_path: Path) -> None:
    client = HttpClient()
    loaded = configured(tmp_path, ONE)
    assembly = Assembly(client, loaded.settings, lambda key, to: None)
    (before,) = assembly.fleet(loaded).upstreams
    limits = {
        "APP_TIMEOUT__SILENCE_SECS": "7",
        "APP_COOLDOWN__MAX_SECS": "2",
        "APP_CIRCUIT_BREAKER__FAILURE_THRESHOLD": "2",
        "APP_CIRCUIT_BREAKER__TIMEOUT_SECS": "3",
    }
    changed = load(environ={"APP_PROVIDERS_FILE": str(tmp_path / "providers.toml"), **limits})
    (after,) = assembly.fleet(changed).upstreams
    assert after is before
    assert after.terms.timeouts.silence_s == 7.0
    for _ in range(2):
        permit = after.breaker.acquire(0.0)
        assert permit is not None
        after.breaker.failure(permit, 0.0)
    assert (after.breaker.state(0.0), after.breaker.retry_after_s(0.0)) == ("open", 3.0)
    for _ in range(3):
        after.standing.failed("m", after.standing.force("m", 0.0), "failure", None, 0.0)
    assert after.standing.retry_after_s("m", 0.0) == 2.0
    await client.aclose()


async def test_a_breakers_change_is_counted_and_logged(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    client, counted = HttpClient(), []
    loaded = configured(tmp_path, ONE)
    assembly = Assembly(client, loaded.settings, lambda key, to: counted.append((key, to)))
    (upstream,) = assembly.fleet(loaded).upstreams
    for _ in range(loaded.settings.circuit_breaker.failure_threshold):
        permit = upstream.breaker.acquire(0.0)
        assert permit is not None
        upstream.breaker.failure(permit, 0.0)
    assert counted == [("one", "open")]
    assert [record.getMessage() for record in caplog.records] == ["circuit breaker"]
    await client.aclose()


async def test_a_google_file_that_was_replaced_is_read_again(tmp_path: Path) -> None:
    client = HttpClient()
    path = service_account(tmp_path, "http://127.0.0.1:9/token")
    credential = f'[[providers.credentials]]\nname = "{{name}}"\ncredentials_file = "{path}"\n'
    vertex = '[[providers]]\nname = "{name}"\nadapter = "vertex"\nregion = "global"\n' + credential
    loaded = configured(tmp_path, vertex.replace("{name}", "east") + vertex.replace("{name}", "west"))
    assembly = Assembly(client, loaded.settings, lambda key, to: None)
    before = assembly.fleet(loaded)
    assert [upstream.key for upstream in before.upstreams] == ["east/east", "west/west"], "one file, two names"
    assert assembly.fleet(load_providers(loaded), before).upstreams == before.upstreams
    path.write_text(path.read_text() + " ")
    after = assembly.fleet(load_providers(loaded), before)
    assert after.upstreams[0] is not before.upstreams[0]
    assert after.upstreams[0].adapter.credential is not before.upstreams[0].adapter.credential
    await client.aclose()


def test_what_is_built_tells_no_secret(tmp_path: Path) -> None:
    loaded = configured(tmp_path, ONE + "headers = { x-team = 'secret-header' }\n" + KEYS)
    built = Workshop(HttpClient()).build(loaded)
    assert "-key" not in repr(built).replace("'x-api-key'", "")
    assert "secret-header" not in repr(built)


async def test_the_projects_of_one_credential_are_one_account_whether_it_has_a_name_or_not(tmp_path: Path) -> None:
    client = HttpClient()
    path = service_account(tmp_path, "http://127.0.0.1:9/token")
    credential = f'[[providers.credentials]]\ncredentials_file = "{path}"\nprojects = ["first", "second"]\n'
    loaded = configured(tmp_path, '[[providers]]\nname = "vertex"\nadapter = "vertex"\nregion = "global"\n' + credential)
    fleet = Assembly(client, loaded.settings, lambda key, to: None).fleet(loaded)
    assert ([upstream.credential for upstream in fleet.upstreams], fleet.accounts) == (["first", "second"], ("vertex", "vertex"))
    await client.aclose()


async def test_closing_waits_for_what_calls_have_left(tmp_path: Path) -> None:
    program = tmp_path / "codex"
    program.write_text('#!/bin/sh\n[ "$1" != debug ] || exit 2\nexec sleep 60\n')
    program.chmod(0o755)
    home = tmp_path / "home"
    client = HttpClient()
    loaded = configured(tmp_path, ONCE.format(program, home))
    assembly = Assembly(client, loaded.settings, lambda key, to: None)
    (upstream,) = assembly.fleet(loaded).upstreams
    plan = DIALECT.encode_request(CHAT.decode_request(ASKED, Peek(model="default")), "default").body
    exchange = await upstream.adapter.send(UpstreamCall(model="default", stream=False, body=plan, request_id="r"))
    assert len(list((home / "calls").iterdir())) == 1
    exchange.close()
    await assembly.aclose()
    assert list((home / "calls").iterdir()) == []
    await client.aclose()
