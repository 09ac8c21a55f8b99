"""Quotas of vendors' shapes, read by expressions from an endpoint on loopback."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from fkproxy.adapters.base import CredentialStatus
from fkproxy.adapters.http import HttpClient
from fkproxy.adapters.quota import Quota, QuotaProbe
from fkproxy.adapters.secret import StaticSecret
from fkproxy.model.errors import (
    UpstreamError,
    UpstreamFailed,
    UpstreamProtocolError,
    UpstreamRateLimited,
    UpstreamRefusedCredential,
    UpstreamTimeout,
    UpstreamUnavailable,
)
from tests.fakes.upstream import FakeUpstream, Step, reply

NOW_S = 1_800_000_000.0
"""2027-01-15T08:00:00Z."""

BREAKDOWN: dict[str, Any] = {
    "usageBreakdownList": [
        {
            "resourceType": "CREDIT",
            "usageLimitWithPrecision": 50.0,
            "currentUsageWithPrecision": 60.0,
            "freeTrialInfo": {"freeTrialStatus": "ACTIVE", "usageLimitWithPrecision": 500.0, "currentUsageWithPrecision": 100.5},
        },
        {"resourceType": "OTHER", "usageLimitWithPrecision": 10.0, "currentUsageWithPrecision": 4.0},
    ],
    "nextDateReset": 1_800_086_400.0,
}
LEFT = "max([`0`, subtract(usageLimitWithPrecision, currentUsageWithPrecision)])"
ENTRIES = "[usageBreakdownList[], usageBreakdownList[].freeTrialInfo][]"
BREAKDOWN_EXPRESSIONS = {
    "quota_remaining": f"sum({ENTRIES}.{LEFT})",
    "usage_percentage": f"percent(sum({ENTRIES}.currentUsageWithPrecision), sum({ENTRIES}.usageLimitWithPrecision))",
    "quota_reset_seconds": "nextDateReset",
}
"""Remaining is what is left of each entry and of each trial; an entry that is overdrawn takes nothing from the others."""

SNAPSHOTS: dict[str, Any] = {
    "copilot_plan": "individual",
    "quota_reset_date": "2027-02-01",
    "quota_snapshots": {
        "chat": {"unlimited": True, "percent_remaining": 100.0, "quota_remaining": 0},
        "premium_interactions": {
            "entitlement": 300,
            "overage_permitted": False,
            "percent_remaining": 18.4,
            "quota_remaining": 55.2,
            "unlimited": False,
        },
    },
}
SNAPSHOT_EXPRESSIONS = {
    "quota_remaining": "quota_snapshots.premium_interactions.quota_remaining",
    "usage_percentage": "subtract(`100`, quota_snapshots.premium_interactions.percent_remaining)",
    "quota_reset_seconds": "quota_reset_date",
    "quota_exhausted": "quota_snapshots.premium_interactions | !unlimited && !overage_permitted && quota_remaining <= `0`",
}

Make = Callable[..., QuotaProbe]


@pytest.fixture
async def client() -> AsyncIterator[HttpClient]:
    made = HttpClient(connect_timeout_s=30.0)
    yield made
    await made.aclose()


@pytest.fixture
def make(client: HttpClient) -> Make:
    def build(url: str, **more: Any) -> QuotaProbe:
        said: dict[str, Any] = {
            "headers": {"authorization": "Bearer $TOKEN$", "x-client": "tests"},
            "expressions": {"quota_remaining": "remaining"},
        }
        return QuotaProbe(client, more.pop("credential", StaticSecret("main", "canary")), url=url, **(said | more))

    return build


async def read(make: Make, value: Any, **expressions: str) -> Quota:
    async with FakeUpstream(reply(json.dumps(value).encode())) as upstream:
        return await make(upstream.url, expressions=expressions).ask(NOW_S)


async def test_a_request_carries_the_token_where_it_is_asked_for(make: Make) -> None:
    async with FakeUpstream(reply(b'{"remaining": 5}')) as upstream:
        probe = make(upstream.url + "/usage?kind=all", method="post", body=b'{"a":1}')
        assert await probe.ask(NOW_S) == Quota(quota_remaining=5.0, quota_exhausted=False, asked_s=NOW_S)
        (asked,) = upstream.asked
        assert (asked.line, asked.body) == ("POST /usage?kind=all HTTP/1.1", b'{"a":1}')
        assert (asked.headers["authorization"], asked.headers["x-client"]) == ("Bearer canary", "tests")


# --- shapes of vendors


async def test_a_list_of_limits_with_trials(make: Make) -> None:
    quota = await read(make, BREAKDOWN, **BREAKDOWN_EXPRESSIONS)
    assert quota == Quota(
        quota_remaining=405.5,
        usage_percentage=pytest.approx(164.5 / 560 * 100),
        quota_reset_seconds=86_400.0,
        quota_exhausted=False,
        asked_s=NOW_S,
    )


async def test_a_list_of_limits_all_used_up(make: Make) -> None:
    used = {"usageBreakdownList": [{"usageLimitWithPrecision": 50.0, "currentUsageWithPrecision": 50.5}]}
    quota = await read(make, used, **BREAKDOWN_EXPRESSIONS)
    assert quota == Quota(quota_remaining=0.0, usage_percentage=100.0, quota_exhausted=True, asked_s=NOW_S)


async def test_snapshots_with_percentages_and_a_date(make: Make) -> None:
    quota = await read(make, SNAPSHOTS, **SNAPSHOT_EXPRESSIONS)
    assert quota == Quota(
        quota_remaining=55.2,
        usage_percentage=pytest.approx(81.6),
        quota_reset_seconds=16 * 86_400.0 + 16 * 3600.0,
        quota_exhausted=False,
        asked_s=NOW_S,
    )
    chat = "quota_snapshots.chat"
    unlimited = await read(make, SNAPSHOTS, quota_remaining=f"{chat}.quota_remaining", quota_exhausted=f"{chat} | !unlimited")
    assert unlimited == Quota(quota_remaining=0.0, quota_exhausted=False, asked_s=NOW_S)


@pytest.mark.parametrize(("overage", "exhausted"), [(True, False), (False, True)])
async def test_a_quota_of_zero_that_may_be_overdrawn_is_not_exhausted(make: Make, overage: bool, exhausted: bool) -> None:
    snapshot = {"unlimited": False, "overage_permitted": overage, "quota_remaining": 0, "percent_remaining": 0.0}
    quota = await read(make, {"quota_snapshots": {"premium_interactions": snapshot}}, **SNAPSHOT_EXPRESSIONS)
    assert (quota.quota_exhausted, quota.usage_percentage, quota.quota_reset_seconds) == (exhausted, 100.0, None)


# --- values


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (90, 90.0),
        ("90", 90.0),
        (0, 0.0),
        (-5, 0.0),
        (NOW_S + 60, 60.0),
        (int(NOW_S + 60) * 1000, 60.0),
        (str(int(NOW_S + 60)), 60.0),
        ("2027-01-15T08:01:00Z", 60.0),
        ("2027-01-15T16:01:00+08:00", 60.0),
        ("2026-01-01T00:00:00Z", 0.0),
        (None, None),
    ],
)
async def test_a_reset_is_a_span_or_a_time(make: Make, value: Any, seconds: float | None) -> None:
    assert (await read(make, {"x": value}, quota_reset_seconds="x")).quota_reset_seconds == seconds


@pytest.mark.parametrize(
    ("value", "exhausted"),
    [
        ({"left": 0}, True),
        ({"left": -3.5}, True),
        ({"left": "0.5"}, False),
        ({"used": 100}, True),
        ({"used": 99.9}, False),
        ({"left": 5, "used": 130}, True),
        ({"left": 0, "gone": False}, False),
        ({"left": 5, "gone": True}, True),
        ({}, None),
    ],
)
async def test_exhaustion_follows_from_the_rest_unless_it_is_said(make: Make, value: dict[str, Any], exhausted: bool | None) -> None:
    found = await read(make, value, quota_remaining="left", usage_percentage="used", quota_exhausted="gone")
    assert found.quota_exhausted is exhausted
    assert found.usage_percentage is None or 0 <= found.usage_percentage <= 100


@pytest.mark.parametrize(
    ("expression", "value"),
    [("percent(a, b)", None), ("percent(a, `0`)", None), ("percent(a, `28`)", 25.0), ("subtract(b, a)", None), ("subtract(`8`, a)", 1.0)],
)
async def test_what_is_not_there_calculates_to_nothing(make: Make, expression: str, value: float | None) -> None:
    assert (await read(make, {"a": 7}, quota_remaining=expression)).quota_remaining == value


@pytest.mark.parametrize(
    ("field", "expression"),
    [
        ("quota_remaining", "text"),
        ("quota_remaining", "flag"),
        ("quota_remaining", "list"),
        ("quota_remaining", "infinite"),
        ("quota_remaining", "sum(missing)"),
        ("quota_remaining", "subtract(text, `1`)"),
        ("usage_percentage", "object"),
        ("quota_reset_seconds", "text"),
        ("quota_exhausted", "number"),
        ("quota_remaining", "max_by(mixed, &used).used"),
        ("quota_remaining", "sort(list)[::0]"),
    ],
)
async def test_a_reply_that_does_not_fit_is_told_by_the_field(make: Make, field: str, expression: str) -> None:
    value = {"text": "canary", "flag": True, "list": [1], "object": {}, "number": 1, "infinite": "inf"}
    value["mixed"] = [{"used": 1}, {"used": "2"}]
    with pytest.raises(UpstreamProtocolError, match=field) as caught:
        await read(make, value, **{field: expression})
    assert "canary" not in str(caught.value)


# --- errors


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (reply(b"canary", status="401 Unauthorized"), UpstreamRefusedCredential),
        (reply(b"canary", status="403 Forbidden"), UpstreamRefusedCredential),
        (reply(b"canary", status="429 Too Many Requests"), UpstreamRateLimited),
        (reply(b"canary", status="404 Not Found"), UpstreamFailed),
        (reply(b"canary", status="500 Oops"), UpstreamFailed),
        (reply(b"canary"), UpstreamProtocolError),
        (reply(b'"' + b"c" * 256 * 1024 + b'"'), UpstreamProtocolError),
        (reply(b"[" * 100_000), UpstreamProtocolError),
        ([None], UpstreamUnavailable),
    ],
)
async def test_every_other_answer_is_an_error_of_the_upstream(make: Make, answer: list[Step], error: type[UpstreamError]) -> None:
    async with FakeUpstream(answer) as upstream:
        with pytest.raises(error) as caught:
            await make(upstream.url).ask(NOW_S)
        assert "canary" not in str(caught.value)
        assert len(upstream.asked) == 1


async def test_an_endpoint_that_says_nothing_is_given_up(make: Make) -> None:
    async with FakeUpstream([b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n{"]) as upstream:
        with pytest.raises(UpstreamTimeout):
            await make(upstream.url, timeout_s=0.05).ask(NOW_S)


class Renewable:
    """A credential whose first token is refused."""

    name = "main"
    renewable = True

    def __init__(self) -> None:
        self.now = "old"

    async def token(self, now: float) -> str:
        return self.now

    async def renew(self, refused: str, now: float) -> bool:
        self.now = "new"
        return refused == "old"

    def describe(self, now: float) -> CredentialStatus:
        return CredentialStatus(state="active")


async def test_a_refused_token_is_renewed_and_used_once_more(make: Make) -> None:
    refusal = reply(status="401 Unauthorized")
    async with FakeUpstream(refusal, reply(b'{"remaining": 1}')) as upstream:
        assert (await make(upstream.url, credential=Renewable()).ask(NOW_S)).quota_remaining == 1.0
        assert [asked.headers["authorization"] for asked in upstream.asked] == ["Bearer old", "Bearer new"]
    async with FakeUpstream(refusal) as upstream:
        with pytest.raises(UpstreamRefusedCredential):
            await make(upstream.url, credential=Renewable()).ask(NOW_S)
        assert len(upstream.asked) == 2


async def test_a_token_that_no_header_can_carry_is_not_sent(make: Make) -> None:
    with pytest.raises(UpstreamRefusedCredential) as caught:
        await make("http://127.0.0.1:1/", credential=StaticSecret("main", "canary\r\nx: y")).ask(NOW_S)
    assert "canary" not in str(caught.value)


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"expressions": {"quota_remaining": "a b"}}, "quota_remaining, column 3: not a JMESPath"),
        ({"expressions": {"quota_remaining": "a.?"}}, "quota_remaining, column 3: not a JMESPath"),
        ({"expressions": {"quota_remaining": "a."}}, "quota_remaining, column 3: not a JMESPath"),
        ({"expressions": {"quota_remaining": ""}}, "quota_remaining: not a JMESPath"),
        ({"expressions": {"quota_exhausted": "a[].summ(@)"}}, "quota_exhausted: there is no function summ"),
        ({"expressions": {"usage_percentage": "percent(a)"}}, "percent does not take 1 arguments"),
        ({"expressions": {"usage_percentage": "abs(a, b)"}}, "abs does not take 2 arguments"),
        ({"expressions": {"quota": "a"}}, "quota: expected one of quota_remaining"),
        ({"expressions": {}}, "at least one expression"),
        ({"url": "http://h/$TOKEN$"}, "headers only"),
        ({"body": b'{"t":"$TOKEN$"}'}, "headers only"),
        ({"url": "ftp://h/"}, "must begin with http"),
        ({"proxy": "ftp://h"}, "proxy"),
        ({"method": "GET /"}, "the method"),
        ({"headers": {"host": "x"}}, "the header host"),
        ({"headers": {"a": "x\r\ny"}}, "the header a"),
    ],
)
def test_a_probe_that_cannot_work_is_refused_at_once(more: dict[str, Any], words: str) -> None:
    said: dict[str, Any] = {"url": "http://127.0.0.1:1/", "headers": {}, "expressions": {"quota_remaining": "a"}}
    with pytest.raises(ValueError, match=words):
        QuotaProbe(HttpClient(), StaticSecret("main", "x"), **(said | more))


def test_functions_with_many_arguments_are_known() -> None:
    text = "merge(a, b, c) | not_null(x, y, z) | length(@)"
    QuotaProbe(HttpClient(), StaticSecret("m", "x"), url="http://h/", headers={}, expressions={"quota_remaining": text})
