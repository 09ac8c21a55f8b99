"""A token file on the disk, a token endpoint on loopback, and a clock that the test holds."""

from __future__ import annotations

import asyncio
import json
import logging
from pathlib import Path
from urllib.parse import parse_qs

import pytest

from fkproxy.adapters.base import Credential
from fkproxy.adapters.http import HttpClient
from fkproxy.adapters.token_file import TokenFile
from fkproxy.model.errors import UpstreamRefusedCredential, UpstreamUnavailable
from tests.adapters.token_file.files import BROKEN, NOW_S, REFUSED, Make, granted, held, put, write
from tests.fakes.upstream import FakeUpstream, Step, reply


async def settled(tokens: TokenFile) -> None:
    """The renewal in the background has ended."""
    await tokens.aclose()


# --- renewal


async def test_a_token_is_served_from_the_file_without_asking_anybody(make: Make, path: Path) -> None:
    write(path)
    async with FakeUpstream(granted(1)) as upstream:
        tokens: Credential = make(upstream)
        assert [await tokens.token(NOW_S + after_s) for after_s in (0, 1, 3000)] == ["access-0"] * 3
        assert not upstream.asked
        assert tokens.describe(NOW_S).state == "active"
        assert (tokens.renewable, tokens.describe(NOW_S).expires_s) == (True, NOW_S + 3600)


async def test_near_its_end_the_old_token_serves_while_the_next_is_fetched(make: Make, path: Path) -> None:
    write(path)
    async with FakeUpstream(granted(1)) as upstream:
        tokens = make(upstream)
        assert await tokens.token(NOW_S) == "access-0"
        assert await tokens.token(NOW_S + 3301) == "access-0"
        assert tokens.describe(NOW_S + 3301).state == "refreshing"
        await settled(tokens)
        assert await tokens.token(NOW_S + 3301) == "access-1"
        status = tokens.describe(NOW_S + 3301)
        assert (status.state, status.expires_s, status.refreshed_s) == ("active", NOW_S + 6901, NOW_S + 3301)
        (asked,) = upstream.asked
        assert (asked.line, asked.headers["content-type"]) == ("POST /oauth/token HTTP/1.1", "application/x-www-form-urlencoded")
        assert parse_qs(asked.body.decode()) == {
            "grant_type": ["refresh_token"],
            "refresh_token": ["refresh-0"],
            "client_id": ["the-client"],
        }
    assert held(path) == {
        "access_token": "access-1",
        "refresh_token": "refresh-1",
        "expires_at": int(NOW_S + 6901),
        "email": "canary@x",
    }


async def test_a_short_life_is_not_renewed_before_its_half(make: Make, path: Path) -> None:
    write(path, ends_s=NOW_S + 100)
    async with FakeUpstream(granted(1, expires_in=40)) as upstream:
        tokens = make(upstream)
        for after_s in (0, 49):
            assert await tokens.token(NOW_S + after_s) == "access-0"
            assert not upstream.asked
        await tokens.token(NOW_S + 50)
        await settled(tokens)
        for after_s, asked in ((51, 1), (69, 1), (71, 2)):
            assert await tokens.token(NOW_S + after_s) == "access-1"
            await settled(tokens)
            assert len(upstream.asked) == asked


async def test_a_token_past_its_end_is_never_given_and_many_callers_make_one_request(make: Make, path: Path) -> None:
    write(path, ends_s=NOW_S + 5)
    async with FakeUpstream(granted(1)) as upstream:
        tokens = make(upstream, encoding="json", client_secret="the-secret", scope="a b")
        found = await asyncio.gather(*(tokens.token(NOW_S + 5) for _ in range(50)))
        assert set(found) == {"access-1"}
        (asked,) = upstream.asked
        assert asked.headers["content-type"] == "application/json"
        assert json.loads(asked.body) == {
            "grant_type": "refresh_token",
            "refresh_token": "refresh-0",
            "client_id": "the-client",
            "client_secret": "the-secret",
            "scope": "a b",
        }


async def test_a_token_with_seconds_left_is_not_given_because_it_would_end_on_its_way(make: Make, path: Path) -> None:
    write(path)
    async with FakeUpstream(BROKEN) as upstream:
        tokens = make(upstream, renew_before_s=0.0)
        for after_s in (0, 3589):
            assert await tokens.token(NOW_S + after_s) == "access-0"
        with pytest.raises(UpstreamUnavailable):
            await tokens.token(NOW_S + 3590)


async def test_the_file_names_its_own_endpoint(make: Make, path: Path) -> None:
    async with FakeUpstream(granted(1)) as upstream:
        write(path, ends_s=NOW_S, token_endpoint=upstream.url + "/from/file?x=1", client_id="of-the-file", client_secret="s")
        tokens = make(client_id=None)
        assert await tokens.token(NOW_S) == "access-1"
        assert upstream.asked[0].target == "/from/file?x=1"
        assert parse_qs(upstream.asked[0].body.decode())["client_id"] == ["of-the-file"]


async def test_a_file_with_a_refresh_token_alone_fetches_its_first_token(make: Make, path: Path) -> None:
    put(path, '{"refresh_token": "refresh-0"}')
    async with FakeUpstream(reply(b'{"access_token": "access-1"}')) as upstream:
        tokens = make(upstream)
        assert await tokens.token(NOW_S) == "access-1"
    assert held(path) == {"refresh_token": "refresh-0", "access_token": "access-1", "expires_at": "2027-01-15T09:00:00Z"}


async def test_a_caller_that_leaves_does_not_take_the_renewal_with_it(make: Make, path: Path) -> None:
    write(path, ends_s=NOW_S)
    go = asyncio.Event()

    async def wait() -> None:
        await go.wait()

    async with FakeUpstream([wait, *granted(1)]) as upstream:
        tokens = make(upstream)
        first, second = asyncio.create_task(tokens.token(NOW_S)), asyncio.create_task(tokens.token(NOW_S))
        await upstream.arrived.wait()
        first.cancel()
        go.set()
        assert await second == "access-1"
        assert len(upstream.asked) == 1
        with pytest.raises(asyncio.CancelledError):
            await first


# --- after a refusal by the upstream


async def test_a_refused_token_is_renewed_once_for_all_who_were_refused(make: Make, path: Path) -> None:
    write(path)
    async with FakeUpstream(granted(1)) as upstream:
        tokens = make(upstream)
        refused = await tokens.token(NOW_S)
        assert await asyncio.gather(*(tokens.renew(refused, NOW_S) for _ in range(20))) == [True] * 20
        assert await tokens.renew(refused, NOW_S + 1)
        assert await tokens.token(NOW_S + 1) == "access-1"
        assert len(upstream.asked) == 1


async def test_a_fresh_token_that_is_refused_too_is_not_renewed_at_once(make: Make, path: Path) -> None:
    write(path)
    async with FakeUpstream(granted(1), granted(2)) as upstream:
        tokens = make(upstream)
        assert await tokens.renew("access-0", NOW_S)
        for after_s in (0, 10, 29):
            assert not await tokens.renew("access-1", NOW_S + after_s)
        assert len(upstream.asked) == 1
        assert await tokens.renew("access-1", NOW_S + 30)
        assert await tokens.token(NOW_S + 30) == "access-2"


async def test_an_endpoint_that_gives_the_refused_token_again_helps_nobody_and_is_left_alone(make: Make, path: Path) -> None:
    write(path)
    async with FakeUpstream(granted(0)) as upstream:
        tokens = make(upstream)
        assert not await tokens.renew("access-0", NOW_S)
        assert not await tokens.renew("access-0", NOW_S + 1)
        assert await tokens.token(NOW_S + 1) == "access-0"
        assert len(upstream.asked) == 1


async def test_a_refused_token_is_not_given_again_while_no_other_can_be_had(make: Make, path: Path) -> None:
    write(path)
    async with FakeUpstream(BROKEN, granted(1)) as upstream:
        tokens = make(upstream)
        assert not await tokens.renew("access-0", NOW_S)
        with pytest.raises(UpstreamUnavailable):
            await tokens.token(NOW_S + 4)
        assert tokens.describe(NOW_S + 4).state == "refreshing"
        assert await tokens.token(NOW_S + 5) == "access-1"
        assert len(upstream.asked) == 2


async def test_without_a_refresh_token_there_is_nothing_to_renew(make: Make, path: Path) -> None:
    put(path, json.dumps({"access_token": "access-0", "expires_at": int(NOW_S) + 60}))
    tokens = make()
    assert not tokens.renewable
    assert await tokens.token(NOW_S) == "access-0"
    assert not await tokens.renew("access-0", NOW_S)
    assert await tokens.token(NOW_S) == "access-0"
    with pytest.raises(UpstreamRefusedCredential):
        await tokens.token(NOW_S + 60)
    assert tokens.describe(NOW_S + 60).state == "reauth_required"


# --- failures


async def test_a_refusal_of_the_endpoint_is_asked_again_after_growing_pauses(make: Make, path: Path) -> None:
    write(path, ends_s=NOW_S)
    async with FakeUpstream(REFUSED) as upstream:
        tokens = make(upstream)
        asked_s = []
        for after_s in range(1500):
            before = len(upstream.asked)
            with pytest.raises(UpstreamRefusedCredential) as caught:
                await tokens.token(NOW_S + after_s)
            assert "canary" not in str(caught.value)
            asked_s += [after_s] * (len(upstream.asked) - before)
        assert asked_s == [0, 10, 30, 70, 150, 310, 610, 910, 1210]
        assert tokens.describe(NOW_S + 1500).state == "reauth_required"


async def test_an_endpoint_that_is_ill_is_asked_again_sooner(make: Make, path: Path) -> None:
    write(path, ends_s=NOW_S)
    async with FakeUpstream(BROKEN) as upstream:
        tokens = make(upstream)
        asked_s = []
        for after_s in range(300):
            before = len(upstream.asked)
            with pytest.raises(UpstreamUnavailable):
                await tokens.token(NOW_S + after_s)
            asked_s += [after_s] * (len(upstream.asked) - before)
        assert asked_s == [0, 5, 15, 35, 75, 135, 195, 255]
        assert tokens.describe(NOW_S + 300).state == "refreshing"


async def test_a_clock_that_was_set_back_delays_no_renewal(make: Make, path: Path) -> None:
    write(path, ends_s=NOW_S)
    async with FakeUpstream(BROKEN, granted(1), granted(2)) as upstream:
        tokens = make(upstream)
        with pytest.raises(UpstreamUnavailable):
            await tokens.token(NOW_S + 86400)
        assert await tokens.renew("access-0", NOW_S)
        assert not await tokens.renew("access-1", NOW_S)
        assert await tokens.renew("access-1", NOW_S - 86400)
        assert await tokens.token(NOW_S - 86400) == "access-2"


@pytest.mark.parametrize("ill", [BROKEN, REFUSED])
async def test_while_it_lives_the_old_token_serves_whatever_the_endpoint_does(make: Make, path: Path, ill: list[Step]) -> None:
    write(path)
    async with FakeUpstream(ill, granted(1)) as upstream:
        tokens = make(upstream)
        for after_s in (0, 3301, 3305):
            assert await tokens.token(NOW_S + after_s) == "access-0"
            await settled(tokens)
        assert len(upstream.asked) == 1
        assert tokens.describe(NOW_S + 3305).state == ("reauth_required" if ill is REFUSED else "active")
        await tokens.token(NOW_S + 3320)
        await settled(tokens)
        assert await tokens.token(NOW_S + 3320) == "access-1"
        assert tokens.describe(NOW_S + 3320).state == "active"


async def test_a_reply_with_a_token_that_cannot_be_sent_changes_nothing(make: Make, path: Path) -> None:
    write(path, ends_s=NOW_S)
    before = held(path)
    async with FakeUpstream(reply(b'{"access_token":"canary canary"}')) as upstream:
        with pytest.raises(UpstreamUnavailable) as caught:
            await make(upstream).token(NOW_S)
    assert "canary" not in str(caught.value)
    assert held(path) == before


async def test_nothing_secret_is_logged(make: Make, path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, logger="fkproxy")
    write(path, ends_s=NOW_S)
    async with FakeUpstream(REFUSED, BROKEN) as upstream:
        tokens = make(upstream, client_secret="canary-secret")
        for after_s in (0, 100):
            with pytest.raises((UpstreamRefusedCredential, UpstreamUnavailable)):
                await tokens.token(NOW_S + after_s)
    put(path, "canary")
    with pytest.raises(UpstreamUnavailable):
        await tokens.token(NOW_S + 102)
    told = [str(vars(record)) for record in caplog.records]
    assert len(told) == 3
    assert not [line for line in told if "canary" in line or "refresh-0" in line or "access-0" in line]


# --- a bad file


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (None, "cannot be read: No such file"),
        ("{", "not valid JSON"),
        ('{"email": "canary"}', "neither an access token nor a refresh token"),
        ('{"refresh_token": "canary", "token_uri": "ftp://canary"}', "must begin with http"),
    ],
)
def test_a_file_that_cannot_be_used_is_refused_at_once(path: Path, text: str | None, words: str) -> None:
    if text is not None:
        path.write_text(text)
    with pytest.raises(ValueError, match=words) as caught:
        TokenFile(HttpClient(), name="main", path=path, user_agent="tests")
    assert "token.json" in str(caught.value)
    assert "canary" not in str(caught.value)


def test_a_proxy_that_is_none_is_refused_at_once(path: Path) -> None:
    write(path, token_endpoint="https://vendor.example/token")
    with pytest.raises(ValueError, match="proxy"):
        TokenFile(HttpClient(), name="main", path=path, user_agent="tests", proxy="ftp://canary")
