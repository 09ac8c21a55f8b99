"""Upstreams as an operator steers them."""

from __future__ import annotations

import asyncio
import logging

import pytest

from fkproxy.adapters.base import Timeouts
from fkproxy.control.upstreams import UnknownUpstream, UpstreamControl
from fkproxy.fleet import Fleet
from fkproxy.routing import RoutingTable
from fkproxy.upstream import Lease, Terms, Upstream
from tests.fakes.pipeline import Bench


def control() -> tuple[Bench, UpstreamControl]:
    bench = Bench(("one/a", "openai_chat"), ("one/b", "openai_chat"), ("two", "openai_chat"), failure_threshold=1)
    return bench, UpstreamControl(lambda: bench.gateway.fleet, now=bench.clock)


def test_what_is_seen_of_an_upstream() -> None:
    bench, verbs = control()
    upstream = bench.gateway.fleet.upstreams[1]
    upstream.standing.failed("m", 0, "rate_limited", 12.0, bench.clock())
    upstream.standing.failed("n", 1, "credential", 7.0, bench.clock())
    first, second, third = verbs.all()
    assert [view.key for view in (first, second, third)] == ["one/a", "one/b", "two"]
    assert (first.state, first.cause, first.retry_after_s, first.models) == ("active", None, 0.0, [])
    assert (second.state, second.cause, second.retry_after_s, second.consecutive_failures) == ("reauth_required", "credential", 7.0, 2)
    assert [(model.model_id, model.state, model.retry_after_s) for model in second.models] == [("m", "limited", 12.0)]


def test_where_all_are_disabled_it_says_that_there_are_none() -> None:
    bench, _ = control()
    empty = Fleet((), RoutingTable(()))
    with pytest.raises(UnknownUpstream, match=r"there are none$"):
        UpstreamControl(lambda: empty, now=bench.clock).resume("one")


def test_pausing_and_resuming_is_told_and_logged(caplog: pytest.LogCaptureFixture) -> None:
    _, verbs = control()
    with caplog.at_level(logging.WARNING):
        assert (verbs.pause("one/b").state, verbs.get("one/b").retry_after_s) == ("paused", None)
        assert verbs.reset("one/b").state == "paused"
        assert verbs.resume("one/b").state == "active"
    assert [record.getMessage() for record in caplog.records] == [
        f"an upstream was {done} by an operator" for done in ("paused", "reset", "resumed")
    ]


def test_resetting_ends_cooldowns_closes_breakers_and_wakes_who_waits() -> None:
    bench, verbs = control()
    for upstream in bench.gateway.fleet.upstreams:
        permit = upstream.breaker.acquire(bench.clock())
        assert permit is not None
        upstream.breaker.failure(permit, bench.clock())
        upstream.standing.failed("m", 0, "quota", 600.0, bench.clock())
    assert {(view.state, view.breaker) for view in verbs.all()} == {("exhausted", "open")}
    view = verbs.reset("two")
    assert (view.state, view.breaker, view.consecutive_failures) == ("active", "closed", 0)
    assert {(view.state, view.breaker) for view in verbs.reset_all()} == {("active", "closed")}


async def test_resetting_an_upstream_whose_places_are_taken_leaves_those_who_wait_waiting() -> None:
    bench = Bench(("one", "openai_chat"), terms=Terms(timeouts=Timeouts(), max_concurrency=1))
    upstream = bench.gateway.fleet.upstreams[0]
    lease = upstream.lease("m", bench.clock())
    assert isinstance(lease, Lease)
    turn: asyncio.Future[Upstream] = asyncio.get_running_loop().create_future()
    upstream.waiting.put("somebody", turn)
    assert UpstreamControl(lambda: bench.gateway.fleet, now=bench.clock).reset("one").in_flight == 1
    assert not turn.done()
    lease.close(bench.clock())
    assert turn.result() is upstream


def test_an_upstream_that_is_not_there() -> None:
    _, verbs = control()
    for verb in (verbs.get, verbs.pause, verbs.resume, verbs.reset):
        with pytest.raises(UnknownUpstream, match="there are one/a, one/b, two"):
            verb("one")
