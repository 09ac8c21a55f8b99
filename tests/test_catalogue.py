"""Which models can be had."""

from __future__ import annotations

import logging

import pytest

from fkproxy.adapters.base import Exchange, UpstreamCall
from fkproxy.catalogue import Catalogue
from fkproxy.dialects.base import ModelEntry
from fkproxy.model.errors import UpstreamUnavailable
from fkproxy.routing import RoutingTable, Rule
from tests.fakes.pipeline import Clock


class ListingAdapter:
    """An upstream that only has a list."""

    dialect = "openai_chat"

    def __init__(self, provider_key: str, models: tuple[str, ...], *names: str) -> None:
        self.provider_key = provider_key
        self.models = models
        self.names = list(names)
        self.asked = 0
        self.away = False

    async def list_models(self) -> list[ModelEntry]:
        self.asked += 1
        if self.away:
            raise UpstreamUnavailable("gone")
        return [ModelEntry(id=name, owned_by=self.provider_key) for name in self.names]

    async def send(self, call: UpstreamCall) -> Exchange:
        raise AssertionError("a list is not a call")

    async def aclose(self) -> None:
        return


def catalogue(clock: Clock, *adapters: ListingAdapter) -> Catalogue:
    routing = RoutingTable([Rule(provider_key=adapter.provider_key, models=adapter.models) for adapter in adapters])
    return Catalogue(adapters, routing, now=clock)


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
