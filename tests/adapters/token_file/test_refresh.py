"""The request to the token endpoint, and what every answer to it means."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import parse_qs

import msgspec
import pytest

from fkproxy.adapters.http import HttpClient
from fkproxy.adapters.token_file.layout import Grant
from fkproxy.adapters.token_file.refresh import refresh
from fkproxy.model.errors import UpstreamRefusedCredential, UpstreamUnavailable
from tests.fakes.upstream import FakeUpstream, Step, reply

GRANT = Grant(access_token="canary", refresh_token="canary-r&=é", client_id="c")


async def ask(client: HttpClient, upstream: FakeUpstream, **more: Any) -> dict[str, Any]:
    grant = msgspec.structs.replace(GRANT, token_endpoint=upstream.url + "/token?x=1", **more)
    return await refresh(client, grant, encoding="form", user_agent="tests")


async def test_a_form_says_what_is_known_and_nothing_else(client: HttpClient) -> None:
    async with FakeUpstream(reply(b'{"access_token":"a","x":1}')) as upstream:
        assert await ask(client, upstream) == {"access_token": "a", "x": 1}
        await ask(client, upstream, client_id=None, client_secret="s", scope="one two")
        first, second = upstream.asked
        assert (first.line, first.headers["user-agent"]) == ("POST /token?x=1 HTTP/1.1", "tests")
        assert parse_qs(first.body.decode()) == {"grant_type": ["refresh_token"], "refresh_token": ["canary-r&=é"], "client_id": ["c"]}
        assert parse_qs(second.body.decode()) == {
            "grant_type": ["refresh_token"],
            "refresh_token": ["canary-r&=é"],
            "client_secret": ["s"],
            "scope": ["one two"],
        }


async def test_json_holds_the_same(client: HttpClient) -> None:
    async with FakeUpstream(reply(b'{"access_token":"a"}')) as upstream:
        grant = msgspec.structs.replace(GRANT, token_endpoint=upstream.url)
        await refresh(client, grant, encoding="json", user_agent="tests")
        (asked,) = upstream.asked
        assert asked.headers["content-type"] == "application/json"
        assert json.loads(asked.body) == {"grant_type": "refresh_token", "refresh_token": "canary-r&=é", "client_id": "c"}


@pytest.mark.parametrize("grant", [Grant(access_token="a", token_endpoint="http://127.0.0.1:1/"), GRANT])
async def test_without_refresh_token_or_endpoint_nothing_is_asked(client: HttpClient, grant: Grant) -> None:
    with pytest.raises(UpstreamRefusedCredential, match="nothing to renew"):
        await refresh(client, grant, encoding="form", user_agent="tests")


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (reply(b'{"error":"invalid_grant","error_description":"canary"}', status="400 Bad Request"), UpstreamRefusedCredential),
        (reply(b'{"error":"canary"}'), UpstreamRefusedCredential),
        (reply(b"<html>canary", status="401 Unauthorized"), UpstreamRefusedCredential),
        (reply(b"canary", status="403 Forbidden"), UpstreamRefusedCredential),
        (reply(b'{"error":"invalid_grant"}', status="422 Unprocessable"), UpstreamRefusedCredential),
        (reply(b"[1]"), UpstreamUnavailable),
        (reply(b"{}"), UpstreamUnavailable),
        (reply(b"", status="302 Found", location="http://127.0.0.1:1/canary"), UpstreamUnavailable),
        (reply(b'{"error":"canary"}', status="429 Too Many Requests"), UpstreamUnavailable),
        (reply(b'{"access_token":"canary"}', status="500 Oops"), UpstreamUnavailable),
        (reply(b'{"x":"' + b"c" * 65536 + b'"}'), UpstreamUnavailable),
        ([b"canary\r\n\r\n"], UpstreamUnavailable),
        ([None], UpstreamUnavailable),
    ],
)
async def test_every_answer_without_a_token_is_one_of_two_errors(client: HttpClient, answer: list[Step], error: type[Exception]) -> None:
    async with FakeUpstream(answer) as upstream:
        with pytest.raises(error) as caught:
            await ask(client, upstream)
        assert "canary" not in str(caught.value)


async def test_an_endpoint_that_is_away_is_unavailable(client: HttpClient) -> None:
    with pytest.raises(UpstreamUnavailable):
        await refresh(client, msgspec.structs.replace(GRANT, token_endpoint="http://127.0.0.1:1/"), encoding="form", user_agent="tests")
