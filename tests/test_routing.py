"""Model name in, targets out."""

from __future__ import annotations

import pytest

from fkproxy.model.errors import UnknownModel
from fkproxy.routing import RoutingTable, Rule, Target

TABLE = RoutingTable(
    [
        Rule(provider_key="vertex", models=("gemini-*", "gemma-*")),
        Rule(provider_key="local", models=("gemini-2.5-flash", "llama?3", "[special]")),
        Rule(provider_key="nothing", models=()),
    ]
)


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        ("gemini-2.5-flash", (Target(0, "gemini-2.5-flash"), Target(1, "gemini-2.5-flash"))),
        ("models/gemini-2.5-pro", (Target(0, "gemini-2.5-pro"),)),
        ("llama-3", (Target(1, "llama-3"),)),
        ("local/anything:at-all", (Target(1, "anything:at-all"),)),
        ("nothing/x", (Target(2, "x"),)),
        ("vertex/publishers/x/models/y", (Target(0, "publishers/x/models/y"),)),
    ],
)
def test_candidates(model: str, expected: tuple[Target, ...]) -> None:
    assert TABLE.candidates(model) == expected
    assert TABLE.candidates(model) == expected, "the second answer comes from memory"


@pytest.mark.parametrize("model", ["", "gpt-4o", "GEMINI-2.5-flash", "elsewhere/gemini-2.5-flash", "local/", "gemini"])
def test_what_nobody_serves_is_said_so(model: str) -> None:
    with pytest.raises(UnknownModel) as caught:
        TABLE.candidates(model)
    assert caught.value.status == 404


def test_names_that_callers_invent_do_not_fill_the_memory() -> None:
    table = RoutingTable([Rule(provider_key="all", models=("*",))])
    for number in range(3000):
        table.candidates(f"invented-{number}")
    assert len(table._cache) <= 1024


def test_a_star_alone_takes_what_nobody_names() -> None:
    table = RoutingTable([Rule(provider_key="rest", models=("*", "shared-*")), Rule(provider_key="own", models=("gemini-*", "shared-1"))])
    assert table.candidates("gemini-x") == (Target(1, "gemini-x"),)
    assert table.candidates("shared-1") == (Target(0, "shared-1"), Target(1, "shared-1"))
    assert table.candidates("whatever") == (Target(0, "whatever"),)
    with pytest.raises(UnknownModel):
        table.candidates("")
