"""Which models a key may ask for, and how much thinking."""

from __future__ import annotations

import pytest

from fkproxy.model.request import ReasoningConfig
from fkproxy.routing import MAX_NAME_CHARS, RoutingTable, Rule
from fkproxy.suffix import described
from fkproxy.terms import ModelPolicy, Terms, exceeds
from tests.fakes.keys import key

TABLE = RoutingTable(
    [
        Rule(provider_key="one", models=("small-*", "large"), prefix="team"),
        Rule(provider_key="router", models=("*",)),
    ]
)


@pytest.mark.parametrize(
    ("models", "excluded", "allowed", "refused"),
    [
        (("*",), (), ("small-1", "large", "vendor/large", ""), ()),
        ((), (), (), ("small-1", "large", "")),
        (
            ("small-*",),
            (),
            ("small-1", "one/small-1", "team/small-1", "models/small-1", "router/small-1"),
            ("large", "one/large", "Small-1"),
        ),
        (("*",), ("large",), ("small-1", "vendor/large"), ("large", "LARGE", "one/large", "team/large", "models/large", "router/Large")),
        (
            ("*",),
            ("vendor/large",),
            ("vendor/large:free", "vendor/small:nitro", "vendor/large:8b"),
            ("vendor/large:nitro", "vendor/large:Online", "router/vendor/large:floor:exacto", "models/vendor/large:nitro"),
        ),
        (("large",), (), ("large", "router/large"), ("vendor/large", "large:nitro")),
        (("*/large",), (), ("vendor/large", "team/large"), ("large",)),
        (("small-?",), ("small-2",), ("small-1",), ("small-2", "small-12")),
    ],
)
def test_what_may_be_asked_for(
    models: tuple[str, ...], excluded: tuple[str, ...], allowed: tuple[str, ...], refused: tuple[str, ...]
) -> None:
    policy = ModelPolicy(models, excluded)
    for _ in range(2):
        assert [name for name in allowed if not policy.allows(name, TABLE)] == []
        assert [name for name in refused if policy.allows(name, TABLE)] == []


@pytest.mark.parametrize("mark", ["-", "@", ""])
@pytest.mark.parametrize("pattern", ["dated-20251001", "dated@20251001", "dated-2025*", "dated@2025*", "*ed-2025????"])
def test_what_may_not_be_asked_for_is_refused_however_its_date_is_written(pattern: str, mark: str) -> None:
    table = RoutingTable([Rule(provider_key="one", models=("*",), date_mark=mark)])
    policy = ModelPolicy(("*",), (pattern,))
    asked = ("dated-20251001", "dated@20251001", "one/dated@20251001", "models/dated@20251001")
    assert [name for name in asked if policy.allows(name, table)] == []
    assert policy.allows("dated-20240101", table)
    assert not mark or all(ModelPolicy((f"dated{mark}20251001",)).allows(name, table) for name in asked)


def test_a_verdict_belongs_to_its_table() -> None:
    policy = ModelPolicy(("large",))
    other = RoutingTable([Rule(provider_key="vendor", models=("*",))])
    assert not policy.allows("vendor/large", TABLE)
    assert policy.allows("vendor/large", other), "there vendor is a provider"
    assert not policy.allows("vendor/large", TABLE)


def test_what_is_remembered_has_a_bound() -> None:
    policy = ModelPolicy(("small-*",))
    assert all(policy.allows(f"small-{number}", TABLE) for number in range(3000))
    assert len(policy._known) == 1024


def test_no_name_is_longer_than_the_longest_and_none_such_is_remembered() -> None:
    policy = ModelPolicy(("small-*",))
    assert policy.allows("small-" + "x" * (MAX_NAME_CHARS - 6), TABLE)
    assert not policy.allows("small-" + "x" * (MAX_NAME_CHARS - 5), TABLE)
    assert max(map(len, policy._known)) == MAX_NAME_CHARS


def test_a_key_may_ask_for_what_its_pool_and_itself_allow() -> None:
    terms = Terms(key(models=("small-*", "large")), ModelPolicy(("*",), ("small-2",)))
    assert [name for name in ("small-1", "small-2", "large", "other") if terms.allows(name, TABLE)] == ["small-1", "large"]


@pytest.mark.parametrize(
    ("asked", "maximum", "too_much"),
    [
        ("effort high", "medium", True),
        ("effort medium", "medium", False),
        ("effort low", "medium", False),
        ("effort none", "none", False),
        ("effort minimal", "none", True),
        ("effort max", "xhigh", True),
        ("effort max", "max", False),
        ("effort other", "max", True),
        ("level high", "low", True),
        ("level minimal", "low", False),
        ("budget 8192", "medium", False),
        ("budget 8193", "medium", True),
        ("budget 0", "none", False),
        ("budget -1", "high", True),
        ("budget -1", "auto", False),
        ("budget 4000 effort high", "8192", True),
        ("budget 9000 effort low", "8192", True),
        ("adaptive", "high", True),
        ("adaptive effort low", "medium", False),
        ("adaptive effort high", "medium", True),
        ("disabled", "none", False),
        ("disabled effort high", "none", False),
        ("on", "high", True),
        ("effort high", "100000", False),
    ],
)
def test_what_is_more_than_the_maximum(asked: str, maximum: str, too_much: bool) -> None:
    terms = Terms(key(maximum_thinking=maximum), ModelPolicy(("*",)))
    assert terms.maximum_thinking is not None
    assert exceeds(asked, terms.maximum_thinking) is too_much
    assert terms.thinking(asked) == (terms.maximum_thinking if too_much else None)


def test_a_call_that_says_nothing_keeps_what_the_model_does() -> None:
    assert Terms(key(maximum_thinking="low"), ModelPolicy(("*",))).thinking(None) is None


@pytest.mark.parametrize(
    ("word", "applied"), [("high", "effort high"), ("2048", "budget 2048"), ("none", "effort none"), ("0", "effort none")]
)
@pytest.mark.parametrize("asked", [None, "effort low", "budget 9000", "disabled"])
def test_enforced_thinking_is_for_every_call(word: str, applied: str, asked: str | None) -> None:
    chosen = Terms(key(enforced_thinking=word), ModelPolicy(("*",))).thinking(asked)
    assert isinstance(chosen, ReasoningConfig)
    assert described(chosen) == applied
