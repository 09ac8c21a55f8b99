"""Each pool's part of the fleet."""

from __future__ import annotations

from typing import Any

import pytest

from fkproxy.adapters.base import Timeouts
from fkproxy.directory import Pool
from fkproxy.fleet import Fleet, QuotaPolicy, Stand
from fkproxy.limits.takeover import Takeover
from fkproxy.model.errors import PoolInactive, UnknownModel
from fkproxy.pools import Pools, narrowed
from fkproxy.routing import Member, RoutingTable, Rule
from fkproxy.upstream import Terms
from tests.fakes.keys import directory, key, send
from tests.fakes.pipeline import Bench
from tests.test_attempts import chat

BENCH = (("one/a", "openai_chat"), ("one/b", "openai_chat"), ("two", "openai_chat"), ("three", "openai_chat"))
FILE = {"m": ("backup",), "small-*": ("m",)}


def whole(*, stands: dict[str, Stand] | None = None) -> Fleet:
    rules = [
        Rule(provider_key="one", models=("m", "small-1"), members=(Member(), Member())),
        Rule(provider_key="two", models=("m", "backup")),
        Rule(provider_key="three", models=("last",)),
    ]
    upstreams = Bench(*BENCH).fleet(Terms(timeouts=Timeouts())).upstreams
    return Fleet(upstreams, RoutingTable(rules, fallbacks=FILE), accounts=("x", "y", "", ""), stands=stands)


def way(fleet: Fleet, model: str) -> list[str]:
    """`stage: upstream` of every target, in order."""
    try:
        route = fleet.route(model)
    except UnknownModel:
        return []
    return [
        f"{stage.name}: {fleet.upstreams[index].key}"
        for stage in route.stages
        for tier in stage.tiers
        for group in tier
        for members in group.tiers
        for index in members
    ]


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, ["m: one/a", "m: one/b", "m: two", "backup: two"]),
        ({"upstreams": ("one",)}, ["m: one/a", "m: one/b"]),
        ({"upstreams": ("one/b",)}, ["m: one/b"]),
        ({"upstreams": ("two", "one/b")}, ["m: one/b", "m: two", "backup: two"]),
        ({"upstreams": ("two", "nobody")}, ["m: two", "backup: two"]),
        ({"upstreams": ("nobody",)}, []),
        ({"fallbacks": {"m": ("last",)}}, ["m: one/a", "m: one/b", "m: two", "last: three", "backup: two"]),
        ({"fallbacks": {"*": ("last", "backup")}}, ["m: one/a", "m: one/b", "m: two", "last: three", "backup: two"]),
        ({"models": ("m", "small-*")}, ["m: one/a", "m: one/b", "m: two"]),
        ({"excluded_models": ("backup",)}, ["m: one/a", "m: one/b", "m: two"]),
        ({"models": ("m",), "fallbacks": {"m": ("last",)}}, ["m: one/a", "m: one/b", "m: two"]),
    ],
)
def test_a_pool_is_a_boundary(fields: dict[str, Any], expected: list[str]) -> None:
    assert way(narrowed(whole(), Pool(name="team", **fields)), "m") == expected


def test_upstreams_accounts_and_what_was_seen_are_those_of_the_whole() -> None:
    fleet = whole()
    part = narrowed(fleet, Pool(name="team", upstreams=("one/b", "two")))
    assert part.upstreams == fleet.upstreams[1:3]
    assert part.accounts == ("y", "")
    for _ in range(3):
        permit = fleet.upstreams[2].breaker.acquire(0.0)
        assert permit is not None
        fleet.upstreams[2].breaker.failure(permit, 0.0)
    assert part.upstreams[1].breaker.state(0.0) == "open"


def test_a_pools_strategy_is_its_own() -> None:
    assert narrowed(whole(), Pool(name="team")).strategy == "ordered"
    assert narrowed(whole(), Pool(name="team", strategy="least_busy")).strategy == "least_busy"


@pytest.mark.parametrize(
    ("fields", "stands"),
    [({}, True), ({"upstreams": ("one", "three")}, True), ({"upstreams": ("one",)}, False), ({"excluded_models": ("last",)}, False)],
)
def test_a_model_stands_in_only_where_the_pool_has_it(fields: dict[str, Any], stands: bool) -> None:
    stand = Stand(Takeover(error_ratio=0.5, window_s=60.0, min_calls=1, probe_s=60.0), "last")
    part = narrowed(whole(stands={"m": stand}), Pool(name="team", **fields))
    assert part.stands == ({"m": stand} if stands else {})
    assert ("last: three" in way(part, "m")) is stands


def test_fleets_are_made_once_and_again_when_something_changed() -> None:
    team, other, fleet = Pool(name="team", upstreams=("one",)), Pool(name="other"), whole()
    pools = Pools((team, other))
    first, second = pools.of("team", fleet), pools.of("other", fleet)
    assert pools.of("team", fleet) is first
    pools.replace((Pool(name="team", upstreams=("one",)), Pool(name="other", models=("m",))))
    assert pools.of("team", fleet) is first
    assert pools.of("other", fleet) is not second
    reloaded = whole()
    assert pools.of("team", reloaded) is not first
    assert pools.of("team", reloaded).upstreams == reloaded.upstreams[:2]
    assert pools.of("team", reloaded).selector is first.selector, "conversations stay where they are"
    assert pools.of(None, fleet) is fleet


def test_a_pool_that_is_gone_has_no_way() -> None:
    pools = Pools((Pool(name="team"),))
    pools.of("team", whole())
    pools.replace(())
    with pytest.raises(PoolInactive):
        pools.of("team", whole())


def test_names_that_lead_nowhere_are_told() -> None:
    pools = Pools((Pool(name="team", upstreams=("one", "one/c", "four")), Pool(name="lost", upstreams=("four",)), Pool(name="all")))
    assert pools.warnings(whole()) == [
        "pool team: there is no upstream one/c",
        "pool team: there is no upstream four",
        "pool lost: there is no upstream four",
        "pool lost: it has no upstream at all, so every call of its keys is refused",
    ]


@pytest.mark.parametrize("name", ["gpt-5", "models/gpt-5", "models/models/gpt-5", "up/models/gpt-5", "GPT-5"])
async def test_an_excluded_model_is_so_by_any_name(name: str) -> None:
    bench = Bench(("up", "openai_chat"), directory=directory(key(), pools=(Pool(name="team", excluded_models=("gpt-5",)),)))
    assert (await send(bench, chat(name))).status == 403
    assert not bench.adapters[0].calls


async def test_a_preview_that_a_pool_may_not_ask_for_is_not_asked() -> None:
    bench = Bench(("up", "gemini"), directory=directory(key(), pools=(Pool(name="team", excluded_models=("m-preview",)),)))
    table = RoutingTable([Rule(provider_key="up", models=("*",), previews={"m": "m-preview"})])
    bench.gateway.fleet = Fleet(bench.gateway.fleet.upstreams, table, quota=QuotaPolicy(switch_preview_model=True))
    bench.adapters[0].replies(b'{"error": {"code": 429, "status": "RESOURCE_EXHAUSTED", "message": "no"}}', status=429)
    assert (await send(bench, chat("m"))).status == 429
    assert [asked.model for asked in bench.adapters[0].calls] == ["m"]
