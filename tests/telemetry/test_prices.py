"""What calls cost."""

from __future__ import annotations

from datetime import datetime

import msgspec
import pytest

from fkproxy.model.usage import Tier, Usage
from fkproxy.telemetry import prices
from fkproxy.telemetry.prices import Pricing, Rates, warm_up

NOW_S = datetime.fromisoformat("2026-11-23T12:00Z").timestamp()

USAGE = Usage(input_tokens=1_000_000, output_tokens=100_000, cached_input_tokens=400_000, cache_write_tokens=100_000)


def cost_usd(pricing: Pricing | None, model: str | None, usage: Usage | None, at_s: float = NOW_S) -> float | None:
    return prices.cost_usd(pricing, model, usage, at_s)


def test_every_kind_of_token_has_its_price() -> None:
    own = Pricing(own={"m": Rates(input=2.0, output=10.0, cached_input=0.5, cache_write=3.0)})
    assert cost_usd(own, "m", USAGE) == pytest.approx(0.5 * 2 + 0.4 * 0.5 + 0.1 * 3 + 0.1 * 10)
    plain = Pricing(own={"m*": Rates(input=2.0, output=10.0)})
    assert cost_usd(plain, "m-1", USAGE) == pytest.approx(1.0 * 2 + 0.1 * 10)


@pytest.mark.parametrize(
    ("vendor", "model", "more", "usd"),
    [
        ("anthropic", "claude-sonnet-4-6", {"cache_write_tokens": 800, "cache_write_1h_tokens": 600}, 200 * 3 + 200 * 3.75 + 600 * 6),
        ("google", "gemini-2.5-flash", {"audio_input_tokens": 700}, 300 * 0.3 + 700 * 1),
        ("openai", "gpt-audio", {"output_tokens": 50, "audio_output_tokens": 40}, 1000 * 2.5 + 10 * 10 + 40 * 64),
        ("google", "gemini-2.5-flash-image", {"output_tokens": 1300, "image_output_tokens": 1290}, 1000 * 0.3 + 10 * 2.5 + 1290 * 30),
        ("google", "gemini-2.5-flash-image", {"output_tokens": 10, "image_output_tokens": 10**400}, 1000 * 0.3 + 10 * 30),
        ("google", "gemini-2.5-flash", {"cached_input_tokens": 900, "audio_input_tokens": 500}, 900 * 0.03 + 100 * 1),
        ("google", "gemini-2.5-flash", {"audio_input_tokens": -700}, 1000 * 0.3),
    ],
)
def test_what_the_list_has_other_prices_for_costs_those(vendor: str, model: str, more: dict[str, int], usd: float) -> None:
    usage = Usage(**{"input_tokens": 1000, "output_tokens": 0, **more})
    assert cost_usd(Pricing(vendor=vendor), model, usage) == pytest.approx(usd * 1e-6)


@pytest.mark.parametrize(
    ("vendor", "model", "tier", "usd"),
    [
        ("anthropic", "claude-opus-4-8", None, 800 * 5 + 200 * 0.5 + 100 * 25),
        ("anthropic", "claude-opus-4-8", "fast", 800 * 10 + 200 * 1 + 100 * 50),
        ("anthropic", "claude-opus-4-8", "flex", 800 * 5 + 200 * 0.5 + 100 * 25),
        ("anthropic", "claude-haiku-4-5", "fast", 800 * 1 + 200 * 0.1 + 100 * 5),
        ("openai", "o3", None, 800 * 2 + 200 * 0.5 + 100 * 8),
        ("openai", "o3", "fast", 800 * 3.5 + 200 * 0.875 + 100 * 14),
        ("openai", "o3", "flex", 800 * 1 + 200 * 0.25 + 100 * 4),
        ("openai", "o3", "ultrafast", 800 * 2 + 200 * 0.5 + 100 * 8),
    ],
)
def test_a_tier_costs_what_the_list_has_for_it(vendor: str, model: str, tier: Tier | None, usd: float) -> None:
    pricing = Pricing(vendor=vendor)
    for each in (None, tier, None, tier):
        cost = cost_usd(pricing, model, Usage(input_tokens=1000, cached_input_tokens=200, output_tokens=100, tier=each))
    assert cost == pytest.approx(usd * 1e-6)


def test_a_model_that_stands_in_costs_its_own_price() -> None:
    usage = Usage(input_tokens=1000, output_tokens=100)
    pricing = Pricing(vendor="anthropic", own={"mine": Rates(input=1.0, output=2.0)})
    for model, stand_in, usd in (
        ("claude-fable-5", "claude-opus-4-8", 1000 * 5 + 100 * 25),
        ("claude-fable-5", "mine", 1000 * 1 + 100 * 2),
        ("mine", "nobodys", 1000 * 1 + 100 * 2),
        ("nobodys", "mine", 1000 * 1 + 100 * 2),
    ):
        assert cost_usd(pricing, model, msgspec.structs.replace(usage, model=stand_in)) == pytest.approx(usd * 1e-6)
    fast = msgspec.structs.replace(usage, model="claude-opus-4-8", tier="fast")
    assert cost_usd(pricing, "claude-fable-5", fast) == pytest.approx((1000 * 10 + 100 * 50) * 1e-6)


def test_what_is_paid_for_in_parts_costs_what_each_does() -> None:
    parts = tuple(Usage(input_tokens=60_000, output_tokens=100, model=model) for model in (None, None, "claude-opus-5"))
    usage = Usage(input_tokens=180_000, output_tokens=300, parts=parts)
    below = (60_000 * 0.1 + 100 * 0.5) * 1e-6
    assert cost_usd(Pricing(vendor="anthropic"), "claude-haiku-5-5", usage) == pytest.approx(2 * below + (60_000 * 5 + 100 * 25) * 1e-6)
    assert cost_usd(Pricing(own={"claude-opus-5": Rates(input=1.0, output=1.0)}), "m", usage) is None
    free = msgspec.structs.replace(usage, parts=(Usage(input_tokens=0, output_tokens=0),))
    assert cost_usd(Pricing(vendor="anthropic"), "claude-haiku-5-5", free) == 0.0


def test_where_it_was_served_may_cost_more() -> None:
    usage = Usage(input_tokens=1000, output_tokens=100, tier="fast", price_factor=1.1)
    for part in (usage, Usage(input_tokens=9, parts=(usage,), price_factor=1.1)):
        assert cost_usd(Pricing(vendor="anthropic"), "claude-opus-4-8", part) == pytest.approx((1000 * 10 + 100 * 50) * 1.1e-6)


def test_a_tier_has_thresholds_of_its_own() -> None:
    pricing, usage = Pricing(vendor="openai"), Usage(input_tokens=300_000, output_tokens=0)
    standard, fast = (cost_usd(pricing, "gpt-5.6-sol", msgspec.structs.replace(usage, tier=tier)) for tier in (None, "fast"))
    assert standard == pytest.approx(0.3 * 8)
    assert fast == pytest.approx(0.3 * 16)


def test_the_tiers_of_an_operators_price_are_as_many_times_it() -> None:
    own = Pricing(vendor="openai", own={"o3": Rates(input=2.0, output=10.0, tiers={"ultrafast": 6.0, "flex": 0.5})})
    costs = [cost_usd(own, "o3", Usage(input_tokens=1000, output_tokens=100, tier=tier)) for tier in (None, "ultrafast", "flex", "fast")]
    assert costs == [pytest.approx(times * 3e-3) for times in (1, 6, 0.5, 1)]


def test_another_sellers_tiers_are_not_this_ones() -> None:
    usage = Usage(input_tokens=1000, output_tokens=100)
    both = [cost_usd(Pricing(vendor="azure"), "gpt-5.6-sol", msgspec.structs.replace(usage, tier=tier)) for tier in (None, "fast")]
    assert both[0]
    assert both[0] == both[1]


@pytest.mark.parametrize("usage", [None, Usage(), Usage(input_tokens=5), Usage(output_tokens=5)])
def test_what_is_not_known_is_not_nothing(usage: Usage | None) -> None:
    assert cost_usd(Pricing(own={"m": Rates(input=1.0, output=1.0)}), "m", usage) is None
    assert cost_usd(None, "m", USAGE) is None
    assert cost_usd(Pricing(), "m", USAGE) is None
    assert cost_usd(Pricing(own={"m": Rates(input=1.0, output=1.0)}), None, USAGE) is None


def test_list_prices_of_a_vendor_and_of_an_address() -> None:
    warm_up()
    small = Usage(input_tokens=1000, output_tokens=100)
    assert cost_usd(Pricing(vendor="openai"), "gpt-4o-mini", small) == pytest.approx(1000 * 0.15e-6 + 100 * 0.6e-6)
    assert cost_usd(Pricing(url="https://api.deepseek.com/v1"), "deepseek-chat", small)
    assert cost_usd(Pricing(url="http://127.0.0.1:11434/v1"), "gpt-4o-mini", small) is None, "its own server's price is nobody's"
    assert cost_usd(Pricing(vendor="openai"), "a-model-of-nobody", small) is None


def test_above_a_threshold_all_tokens_cost_more() -> None:
    below, above = Usage(input_tokens=200_000, output_tokens=0), Usage(input_tokens=200_001, output_tokens=0)
    pricing = Pricing(vendor="google")
    rates = pricing.rates("gemini-2.5-pro", None, NOW_S)
    assert [each.above_input_tokens for each in rates] == [0, 200_000]
    first, second = cost_usd(pricing, "gemini-2.5-pro", below), cost_usd(pricing, "gemini-2.5-pro", above)
    assert first == pytest.approx(0.2 * rates[0].input)
    assert second == pytest.approx(0.200001 * rates[1].input)
    assert rates[1].input > rates[0].input


@pytest.mark.parametrize(
    ("vendor", "model", "before", "after", "times"),
    [
        ("openai", "o3", "2025-06-09T23:59:59", "2025-06-10T00:00:00", 0.2),
        ("google", "gemini-3.8-flash", "2026-12-31T23:59:59", "2027-01-01T00:00:00", 2),
        ("deepseek", "deepseek-chat", "2026-11-23T16:29:59", "2026-11-23T16:30:00", 0.5),
        ("deepseek", "deepseek-chat", "2026-11-24T00:29:59", "2026-11-24T00:30:00", 2),
    ],
)
def test_a_call_costs_what_the_model_did_when_it_began(vendor: str, model: str, before: str, after: str, times: float) -> None:
    pricing, usage = Pricing(vendor=vendor), Usage(input_tokens=1000, output_tokens=0)
    first, second, late = (cost_usd(pricing, model, usage, datetime.fromisoformat(f"{at}Z").timestamp()) for at in (before, after, before))
    assert first
    assert second == pytest.approx(times * first)
    assert late == first, "it began before, and ends after one that did not"


def test_an_operators_own_price_holds_however_a_date_is_written() -> None:
    dashed, at, usual = (Rates(input=float(price), output=0.0) for price in (1, 2, 3))
    one = Pricing(own={"m-20251001": dashed, "m*": usual})
    assert [one.rates(model, None, NOW_S) for model in ("m-20251001", "m@20251001", "m-20240101")] == [(dashed,), (dashed,), (usual,)]
    several = Pricing(own={"m-2025*": dashed, "*": usual})
    assert [several.rates(model, None, NOW_S) for model in ("m-20251001", "m@20251001", "m@20240101")] == [(dashed,), (dashed,), (usual,)]
    both = Pricing(own={"m-20251001": dashed, "m@20251001": at})
    assert [both.rates(model, None, NOW_S) for model in ("m-20251001", "m@20251001")] == [(dashed,), (at,)]


def test_an_operators_own_price_wins_and_names_do_not_fill_the_memory() -> None:
    pricing = Pricing(vendor="openai", own={"gpt-4o*": Rates(input=0.0, output=0.0)})
    assert cost_usd(pricing, "gpt-4o-mini", USAGE) == 0.0
    for number in range(3000):
        pricing.rates(f"invented-{number}", None, NOW_S)
    assert len(pricing._known) <= 1024


def test_lists_are_not_needed_where_every_model_has_a_price() -> None:
    some, every = {"gpt-*": Rates(input=1, output=2)}, {"gpt-*": Rates(input=1, output=2), "*": Rates(input=3, output=4)}
    assert Pricing(vendor="openai", own=some).listed
    assert not Pricing(vendor="openai", own=every).listed
    assert Pricing(vendor="openai", own=every).rates("claude-opus-4-5", None, NOW_S) == (Rates(input=3, output=4),)
    assert not Pricing(own=some).listed


def test_a_cached_share_larger_than_the_input_costs_nothing_twice() -> None:
    odd = Usage(input_tokens=10, output_tokens=0, cached_input_tokens=20)
    assert cost_usd(Pricing(own={"m": Rates(input=1e6, output=0.0, cached_input=0.0)}), "m", odd) == 0.0


def test_what_embeds_has_a_price() -> None:
    rates = Pricing(vendor="openai").rates("text-embedding-3-large", None, NOW_S)
    assert rates
    assert rates[0].output is None


def test_a_models_name_with_googles_collection_has_its_price() -> None:
    assert (
        Pricing(vendor="google").rates("models/gemini-2.5-pro", None, NOW_S)
        == Pricing(vendor="google").rates("gemini-2.5-pro", None, NOW_S)
        != ()
    )


def test_the_way_to_a_model_changes_no_price() -> None:
    small, pricing = Usage(input_tokens=1000, output_tokens=100), Pricing(url="https://openrouter.ai/api/v1")
    plain = cost_usd(pricing, "openai/gpt-5", small)
    assert plain
    for way in ("nitro", "floor", "exacto", "online", "nitro:online"):
        assert cost_usd(pricing, f"openai/gpt-5:{way}", small) == plain
    assert cost_usd(pricing, "openai/gpt-5:free", small) != plain, "it is a model of its own"
