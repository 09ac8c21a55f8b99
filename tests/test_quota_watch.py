"""Quotas that vendors tell hold upstreams and let them go."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from fkproxy.adapters.quota import Quota
from fkproxy.model.errors import UpstreamUnavailable
from fkproxy.quota_watch import QuotaWatch
from tests.fakes.pipeline import Bench


class Told:
    """A probe that gives one answer after another."""

    interval_s = 60.0

    def __init__(self, *answers: Quota | Exception) -> None:
        self.answers = list(answers)

    async def ask(self, now: float) -> Quota:
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer


def quota(**fields: Any) -> Quota:
    return Quota(asked_s=0.0, **fields)


async def test_a_quota_that_is_used_up_holds_until_the_vendor_says_otherwise(caplog: pytest.LogCaptureFixture) -> None:
    bench = Bench(("one/a", "openai_chat"), ("one/b", "openai_chat"))
    fleet = bench.gateway.fleet
    upstream = fleet.upstreams[0]
    probe = Told(
        quota(quota_exhausted=False, quota_remaining=5.0),
        quota(quota_exhausted=True, quota_reset_seconds=500.0),
        UpstreamUnavailable("gone"),
        quota(quota_remaining=1.0),
        quota(quota_exhausted=False),
    )
    upstream.probe = probe  # type: ignore[assignment]  # it only asks
    watch = QuotaWatch(lambda: fleet, now=bench.clock, now_s=lambda: 0.0)
    seen = []
    with caplog.at_level(logging.WARNING):
        for _ in range(5):
            await watch.look()
            await watch.look()
            seen.append((upstream.standing.state(), upstream.standing.retry_after_s(None, bench.clock())))
            bench.clock.now_s += 60.0
    assert seen == [("active", 0.0), ("exhausted", 500.0), ("exhausted", 440.0), ("exhausted", 380.0), ("active", 0.0)]
    assert probe.answers == [], "each was asked once an interval"
    assert [record.getMessage() for record in caplog.records] == [
        "the quota is used up",
        "the quota could not be asked for",
        "the quota is there again",
    ]


async def test_who_fails_in_another_way_than_known_does_not_end_the_watch(caplog: pytest.LogCaptureFixture) -> None:
    bench = Bench(("one/a", "openai_chat"), ("one/b", "openai_chat"))
    fleet = bench.gateway.fleet
    fleet.upstreams[0].probe = Told(TypeError("canary"))  # type: ignore[assignment]  # it only asks
    fleet.upstreams[1].probe = Told(quota(quota_exhausted=True))  # type: ignore[assignment]  # it only asks
    await QuotaWatch(lambda: fleet, now=bench.clock, now_s=lambda: 0.0).look()
    assert [upstream.quota is not None for upstream in fleet.upstreams] == [False, True]
    assert [record.getMessage() for record in caplog.records] == ["the quota could not be asked for", "the quota is used up"]
