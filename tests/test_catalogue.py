"""Which models can be had."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from typing import Any

import pytest

from fkproxy.adapters.base import Timeouts
from fkproxy.catalogue import Catalogue
from fkproxy.dialects import DIALECTS
from fkproxy.dialects.base import ModelEntry
from fkproxy.fleet import Fleet
from fkproxy.limits.breaker import Breaker
from fkproxy.limits.standing import Standing
from fkproxy.model.errors import UpstreamUnavailable
from fkproxy.routing import RoutingTable, Rule
from fkproxy.upstream import Terms, Upstream
from tests.fakes.pipeline import Clock, ScriptedAdapter

pytestmark = pytest.mark.leaps

PATIENCE_S = 0.05


class ListingAdapter(ScriptedAdapter):
    """An upstream that only has a list."""

    def __init__(self, provider_key: str, models: tuple[str, ...], *names: str) -> None:
        super().__init__(Clock(), provider_key, "openai_chat", models)
        self.names = list(names)
        self.asked = 0
        self.away = False
        self.answers = asyncio.Event()
        self.answers.set()

    async def list_models(self) -> list[ModelEntry]:
        self.asked += 1
        await self.answers.wait()
        if self.away:
            raise UpstreamUnavailable("gone")
        return [ModelEntry(id=name, owned_by=self.provider_key) for name in self.names]


def catalogue(clock: Clock, *adapters: ListingAdapter, **table: Any) -> Catalogue:
    fleet = fleet_of([Rule(provider_key=adapter.provider_key, models=adapter.models) for adapter in adapters], adapters, **table)
    return Catalogue(lambda: fleet, now=clock, patience_s=PATIENCE_S)


def fleet_of(rules: Sequence[Rule], adapters: Sequence[ListingAdapter], **table: Any) -> Fleet:
    terms = Terms(timeouts=Timeouts())
    upstreams = [Upstream(adapter, DIALECTS["openai_chat"], Breaker(), Standing(), terms) for adapter in adapters]
    return Fleet(upstreams, RoutingTable(rules, **table))


async def test_the_first_upstream_that_serves_a_name_owns_it_and_unserved_names_are_left_out() -> None:
    first = ListingAdapter("first", ("a*",), "a1", "a2", "b1")
    second = ListingAdapter("second", ("*",), "a2", "b2")
    entries = await catalogue(Clock(), first, second).models()
    assert [(entry.id, entry.owned_by) for entry in entries] == [("a1", "first"), ("a2", "first"), ("b2", "second")]


async def test_a_list_is_kept_for_a_while() -> None:
    clock, adapter = Clock(), ListingAdapter("one", ("*",), "a")
    listed = catalogue(clock, adapter)
    for _ in range(3):
        await listed.models()
    assert adapter.asked == 1
    clock.now_s += 301
    adapter.names.append("b")
    assert [entry.id for entry in await listed.models()] == ["a", "b"]


async def test_an_upstream_that_is_away_keeps_its_last_list_and_does_not_hide_the_others(caplog: pytest.LogCaptureFixture) -> None:
    clock, one, two = Clock(), ListingAdapter("one", ("a*",), "a"), ListingAdapter("two", ("b*",), "b")
    listed = catalogue(clock, one, two)
    await listed.models()
    one.away = True
    two.names.append("b2")
    clock.now_s += 301
    with caplog.at_level(logging.WARNING):
        assert [entry.id for entry in await listed.models()] == ["a", "b", "b2"]
    assert [record.msg for record in caplog.records] == ["the list of models could not be had"]
    asked = one.asked
    clock.now_s += 5
    await listed.models()
    assert one.asked == asked, "it is left alone for some seconds"
    clock.now_s += 15
    one.away = False
    await listed.models()
    assert one.asked == asked + 1


async def test_an_upstream_that_hangs_is_waited_for_a_moment_by_the_first_who_asks_and_is_asked_once() -> None:
    clock, one, two = Clock(), ListingAdapter("one", ("a*",), "a"), ListingAdapter("two", ("b*",), "b")
    listed = catalogue(clock, one, two)
    await listed.models()
    clock.now_s += 301
    one.names.append("a2")
    two.names.append("b2")
    two.answers.clear()
    assert [entry.id for entry in await listed.models()] == ["a", "a2", "b"]
    clock.now_s += PATIENCE_S
    async with asyncio.timeout(PATIENCE_S / 2):
        assert [entry.id for entry in await listed.models()] == ["a", "a2", "b"], "who comes later waits no more"
    two.answers.set()
    await asyncio.sleep(0)
    assert [entry.id for entry in await listed.models()] == ["a", "a2", "b", "b2"]
    assert (one.asked, two.asked) == (2, 2)


@pytest.mark.parametrize(("models", "waits"), [(("b*",), True), (("b", "b*"), False)])
async def test_a_list_that_was_never_had_is_waited_for_unless_names_are_known(models: tuple[str, ...], waits: bool) -> None:
    adapter = ListingAdapter("two", models, "b", "b2")
    listed = catalogue(Clock(), adapter)
    adapter.answers.clear()
    first = asyncio.create_task(listed.models())
    done, _ = await asyncio.wait({first}, timeout=3 * PATIENCE_S)
    assert bool(done) is not waits
    first.cancel()
    adapter.answers.set()
    assert [entry.id for entry in await listed.models()] == ["b", "b2"]
    assert adapter.asked == 1, "it goes on being asked when nobody waits"


async def test_what_is_asked_for_ends_with_the_catalogue() -> None:
    adapter = ListingAdapter("one", ("*",), "a")
    listed = catalogue(Clock(), adapter)
    adapter.answers.clear()
    waiting = asyncio.create_task(listed.models())
    await asyncio.sleep(0)
    listed.close()
    assert await waiting == []


async def test_names_by_prefix_alias_and_mapping_are_listed_and_excluded_ones_are_not() -> None:
    adapter = ListingAdapter("one", ("*",), "gpt-5", "gpt-5:free", "o9")
    plain = Rule(provider_key="one", models=("*",), prefix="team", excluded=("*:FREE",), names={"fast": "gpt-5", "claude-*": "o9"})
    for force, expected in (
        (False, ["gpt-5", "team/gpt-5", "o9", "team/o9", "fast", "team/fast"]),
        (True, ["team/gpt-5", "team/o9", "team/fast"]),
    ):
        fleet = fleet_of([plain], [adapter], force_prefix=force)
        listed = await Catalogue(lambda fleet=fleet: fleet, now=Clock()).models()
        assert [entry.id for entry in listed] == expected


async def test_one_model_is_found_under_what_calls_name_it() -> None:
    first = ListingAdapter("first", ("a*",), "a1", "b1")
    second = ListingAdapter("second", ("*",), "a1", "b1:free")
    rules = [Rule(provider_key="first", models=("a*",)), Rule(provider_key="second", models=("*",), excluded=("*:free",))]
    fleet = fleet_of(rules, [first, second])
    listed = Catalogue(lambda: fleet, now=Clock())
    owners = {"a1": "first", "first/a1": "first", "second/a1": "second", "first/b1": "first", "/a1": "first"}
    missing = ["b1", "b2", "first/a2", "second/b1", "second/b1:free", "third/a1", "first/", ""]
    for name in [*owners, *missing]:
        found = await listed.model(name)
        assert (found.id, found.owned_by) == (name, owners[name]) if found is not None else name in missing, name


async def test_a_dated_model_that_nobody_lists_is_not_there_however_its_date_is_written() -> None:
    adapter = ListingAdapter("own", (), "opus-20250805")
    fleet = fleet_of([Rule(provider_key="own", models=("opus*",), date_mark="-")], [adapter])
    listed = Catalogue(lambda: fleet, now=Clock())
    assert [await listed.model(f"opus{mark}20240101") for mark in "-@"] == [None, None]
    assert [found and found.id for found in [await listed.model("opus@20250805")]] == ["opus@20250805"]


async def test_one_model_is_found_under_every_name_that_calls_get_by_with() -> None:
    """Behind patterns, fallbacks, Google's `models/`, and without the date that only the vendor's list has."""
    own = ListingAdapter("own", (), "sonnet-20250929", "opus@20250805", "gpt-5")
    rest = ListingAdapter("rest", (), "free")
    rules = [
        Rule(provider_key="own", models=("gpt-5*", "sonnet*", "opus"), prefix="px", names={"claude-*": "gpt-5", "new-*": "gpt-9"}),
        Rule(provider_key="rest", models=("*",), excluded=("secret",)),
    ]
    fleet = fleet_of(rules, [own, rest], fallbacks={"ghost": ("gpt-5",)})
    listed = Catalogue(lambda: fleet, now=Clock())
    own_names = ("claude-x", "px/claude-x", "own/claude-x", "new-1", "sonnet", "px/sonnet", "opus", "models/gpt-5", "ghost")
    owners = {**dict.fromkeys(own_names, "own"), **dict.fromkeys(("free", "models/free", "rest/free"), "rest")}
    for name in (*owners, "gpt-5-nano", "sonn", "px/free", "rest/gpt-5", "secret", "n" * 600):
        found = await listed.model(name)
        assert (found and (found.id, found.owned_by)) == ((name, owners[name]) if name in owners else None), name
