"""Model name in, targets out."""

from __future__ import annotations

import pytest

from fkproxy.model.errors import UnknownModel
from fkproxy.routing import Member, RoutingTable, Rule, Target, _Compiled

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
    assert TABLE.serves(model)


@pytest.mark.parametrize("model", ["", "gpt-4o", "GEMINI-2.5-flash", "elsewhere/gemini-2.5-flash", "local/", "gemini"])
def test_what_nobody_serves_is_said_so(model: str) -> None:
    with pytest.raises(UnknownModel) as caught:
        TABLE.candidates(model)
    assert caught.value.status == 404
    assert not TABLE.serves(model)


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


def test_prefixes_mappings_and_exclusions() -> None:
    rules = [
        Rule(
            provider_key="one",
            models=("gpt-*",),
            prefix="team",
            excluded=("*:FREE", "gpt-4*"),
            names={"fast": "gpt-5", "claude-*": "gpt-9"},
        ),
        Rule(provider_key="two", models=("*",)),
    ]
    table, strict = RoutingTable(rules), RoutingTable(rules, force_prefix=True)
    for model, expected in {
        "gpt-5": Target(0, "gpt-5"),
        "team/gpt-5": Target(0, "gpt-5"),
        "team/fast": Target(0, "gpt-5"),
        "fast": Target(0, "gpt-5"),
        "claude-x": Target(0, "gpt-9"),
        "gpt-5:free": Target(1, "gpt-5:free"),
        "gpt-4o": Target(1, "gpt-4o"),
        "one/unknown": Target(0, "unknown"),
        "team/unknown": Target(1, "team/unknown"),
    }.items():
        assert table.candidates(model) == (expected,), model
    for model, expected in {"gpt-5": Target(1, "gpt-5"), "fast": Target(1, "fast"), "team/fast": Target(0, "gpt-5")}.items():
        assert strict.candidates(model) == (expected,), model
    with pytest.raises(UnknownModel):
        table.candidates("one/gpt-4o")


def test_what_is_excluded_is_so_by_whatever_way_to_it() -> None:
    table = RoutingTable([Rule(provider_key="one", models=("*",), excluded=("vendor/large",))])
    for model in ("vendor/large", "vendor/large:nitro", "one/vendor/large:floor"):
        with pytest.raises(UnknownModel):
            table.candidates(model)
    assert table.candidates("vendor/small:nitro") == (Target(0, "vendor/small:nitro"),), "the vendor knows what it means"


def test_priorities_credentials_and_fallbacks_make_stages() -> None:
    table = RoutingTable(
        [
            Rule(provider_key="low", models=("m",), priority=-1),
            Rule(
                provider_key="high",
                models=("m",),
                priority=5,
                members=(Member(priority=0), Member(priority=9), Member(priority=9)),
                fallbacks=("backup", "spare"),
                previews={"m": "m-preview"},
            ),
            Rule(provider_key="backup", models=("other",), names={"m": "their-m"}),
            Rule(provider_key="spare", models=("s",)),
        ],
        fallbacks={"m": ("other", "nobody"), "n*": ("other",)},
    )
    route = table.route("m")
    assert route.only is None
    assert [stage.name for stage in route.stages] == ["m", "other"]
    tiers = [[(group.provider_key, group.model, group.tiers, group.preview) for group in tier] for tier in route.stages[0].tiers]
    assert tiers == [
        [("high", "m", ((2, 3), (1,)), "m-preview")],
        [("backup", "their-m", ((4,),), None)],
        [("low", "m", ((0,),), None)],
        [("spare", "m", ((5,),), None)],
    ]
    assert table.candidates("m")[-1] == Target(4, "other")
    assert [stage.name for stage in table.route("nine").stages] == ["other"], "nobody has it, so its fallback serves"
    assert table.route("other").only == Target(4, "other")


def test_where_a_model_is_shown() -> None:
    rule = Rule(provider_key="one", models=("a*",), prefix="p", excluded=("ab",))
    table = RoutingTable([rule])
    assert table.shown(rule, "aa") == ["aa", "p/aa"]
    assert table.shown(rule, "ab") == []
    assert table.shown(rule, "b") == []
    assert RoutingTable([rule], force_prefix=True).shown(rule, "aa") == ["p/aa"]
    assert [(each.provider_key, list(indices)) for each, indices in table.providers] == [("one", [0])]


def test_what_a_model_list_asks_of_the_table_does_not_grow_with_the_square_of_the_providers(monkeypatch: pytest.MonkeyPatch) -> None:
    rules = [Rule(provider_key=f"p{number}", models=(f"m{number}-*",)) for number in range(50)]
    table = RoutingTable(rules)
    looks = 0
    serves = _Compiled.serves

    def counted(self: _Compiled, name: str) -> bool:
        nonlocal looks
        looks += 1
        return serves(self, name)

    monkeypatch.setattr(_Compiled, "serves", counted)
    for number, rule in enumerate(rules):
        assert table.shown(rule, f"m{number}-x") == [f"m{number}-x"]
    assert looks == 50


@pytest.mark.parametrize("written", ["dated-20251001", "dated@20251001", "dated-2025*", "dated@2025*", "*-2025????"])
def test_a_dated_model_falls_back_however_its_date_is_written(written: str) -> None:
    rules = [Rule(provider_key="one", models=("dated*",), date_mark="-"), Rule(provider_key="two", models=("spare",))]
    table = RoutingTable(rules, fallbacks={written: ("spare",), "dated*": ()})
    for asked in ("dated-20251001", "dated@20251001"):
        assert [target.model for target in table.candidates(asked)] == ["dated-20251001", "spare"]
    assert [target.model for target in table.candidates("dated-20240101")] == ["dated-20240101"]
