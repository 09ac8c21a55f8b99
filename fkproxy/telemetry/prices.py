"""What a call cost, from the vendors' list prices or the operator's own. Floor 2. The only file with genai_prices.

Prices are USD for a million tokens. What is not known stays unknown: a server that is no vendor's has no list price, and a reply without
usage has no cost. List prices come with the library, as of its release; nothing is fetched.

A tier of service has prices of its own where the library knows them; an operator's are multiplied. Where neither is known a tier costs what
the standard one does.

List prices change: from a day on, or with the time of day. A call costs what the model did when it began.

The library's own calculation takes 100 µs; its prices of a model are looked up once for some time, and each call is a few multiplications.
Source: github.com/pydantic/genai-prices, read 2026-11: above a threshold of input tokens the higher price is for all tokens.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import msgspec

from fkproxy.model.names import bare, fits, forms
from fkproxy.model.usage import Tier, Usage

__all__ = ["Pricing", "Rates", "cost_usd", "warm_up"]

_MILLION = 1e6
_MAX_KNOWN = 1024
_SAME_S = 900.0
"""No list price changes within a quarter of an hour: full hours of every clock in the world begin with one."""

_LISTED = {
    "input": "input_mtok",
    "output": "output_mtok",
    "cached_input": "cache_read_mtok",
    "cache_write": "cache_write_mtok",
    "cache_write_1h": "cache_write_1h_mtok",
    "audio_input": "input_audio_mtok",
    "audio_output": "output_audio_mtok",
    "image_output": "output_image_mtok",
}
"""Ours → the library's."""
_TIERS: dict[Tier | None, dict[str, str]] = {
    "fast": {"speed": "fast", "service_tier": "priority"},
    "ultrafast": {"service_tier": "ultrafast"},
    "flex": {"service_tier": "flex"},
}
"""Ours → the library's, for every vendor: each has one word or the other."""

logger = logging.getLogger("fkproxy.telemetry.prices")


class Rates(msgspec.Struct, frozen=True, kw_only=True):
    """USD for a million tokens, for calls with more than `above_input_tokens`.

    `output` None: the model makes none, as those that embed. The others None: `cached_input`, `cache_write` and `audio_input` are as
    `input`, `cache_write_1h` as `cache_write`, `audio_output` and `image_output` as `output`. `tiers`: how many times as much a tier costs.
    """

    input: float
    output: float | None
    cached_input: float | None = None
    cache_write: float | None = None
    cache_write_1h: float | None = None
    audio_input: float | None = None
    audio_output: float | None = None
    image_output: float | None = None
    above_input_tokens: int = 0
    tiers: Mapping[Tier, float] = {}

    def cost_usd(self, usage: Usage) -> float | None:
        """None when the vendor did not say what was used, or counted an output that has no price."""
        if usage.input_tokens is None or usage.output_tokens is None or (usage.output_tokens and self.output is None):
            return None
        cached, written = usage.cached_input_tokens or 0, usage.cache_write_tokens or 0
        plain = usage.input_tokens - cached - written
        if plain < 0:
            plain = 0
        total = plain * self.input + usage.output_tokens * (self.output or 0.0)
        total += cached * (self.input if self.cached_input is None else self.cached_input)
        write = self.input if self.cache_write is None else self.cache_write
        total += written * write
        if self.cache_write_1h is not None:
            total += _share(usage.cache_write_1h_tokens, written) * (self.cache_write_1h - write)
        if self.audio_input is not None:
            total += _share(usage.audio_input_tokens, plain) * (self.audio_input - self.input)
        if self.audio_output is not None:
            total += _share(usage.audio_output_tokens, usage.output_tokens) * (self.audio_output - (self.output or 0.0))
        if self.image_output is not None:
            total += _share(usage.image_output_tokens, usage.output_tokens) * (self.image_output - (self.output or 0.0))
        if usage.tier is not None:
            total *= self.tiers.get(usage.tier, 1.0)
        if usage.price_factor is not None:
            total *= usage.price_factor
        return total / _MILLION


class Pricing:
    """The prices of one provider. `own`: by the model's name or a pattern, the first that fits. `vendor` None: no list prices.

    `vendor` is the library's word for who sells the models; `url` finds it by the address of the server.
    """

    __slots__ = ("_known", "_own", "_url", "_vendor")

    def __init__(self, *, vendor: str | None = None, url: str | None = None, own: Mapping[str, Rates] | None = None) -> None:
        self._vendor = vendor
        self._url = url
        own = own or {}
        self._own = {form: rates for name, rates in own.items() for form in forms(name) if form == name or form not in own}
        self._known: dict[tuple[str, Tier | None, float], tuple[Rates, ...]] = {}

    @property
    def listed(self) -> bool:
        """Whether a list price may be looked up: see `warm_up`. Not where the operator has a price for every model."""
        return (self._vendor is not None or self._url is not None) and "*" not in self._own

    def rates(self, model: str, tier: Tier | None, at_s: float) -> tuple[Rates, ...]:
        """Those of one model at that time, unix seconds, by rising threshold; none where nobody knows."""
        key = model, tier, at_s // _SAME_S
        known = self._known.get(key)
        if known is None:
            if len(self._known) >= _MAX_KNOWN:
                self._known.clear()
            known = self._find(model, tier, at_s) or (self._find(bare(model), tier, at_s) if bare(model) != model else ())
            self._known[key] = known
        return known

    def _find(self, model: str, tier: Tier | None, at_s: float) -> tuple[Rates, ...]:
        for pattern, rates in self._own.items():
            # An exact name is there in each of its forms already, so that one that has a price in its own keeps it.
            if fits(model, pattern):
                return (rates,)
        if not self.listed:
            return ()
        return _listed(model, self._vendor, self._url, tier, at_s)


def cost_usd(pricing: Pricing | None, model: str | None, usage: Usage | None, at_s: float) -> float | None:
    """What one call cost that began at `at_s`, unix seconds; None where that is not known."""
    if pricing is None or model is None or usage is None:
        return None
    if not usage.parts:
        return _cost_usd(pricing, model, usage, at_s)
    known = [usd for part in usage.parts if (usd := _cost_usd(pricing, model, part, at_s)) is not None]
    return sum(known) if len(known) == len(usage.parts) else None


def _cost_usd(pricing: Pricing, model: str, usage: Usage, at_s: float) -> float | None:
    chosen: Rates | None = None
    stand_in = pricing.rates(usage.model, usage.tier, at_s) if usage.model is not None else ()
    for rates in stand_in or pricing.rates(model, usage.tier, at_s):
        if not rates.above_input_tokens or (usage.input_tokens or 0) > rates.above_input_tokens:
            chosen = rates
    return chosen.cost_usd(usage) if chosen is not None else None


def _share(count: int | None, whole: int) -> int:
    """Of `whole`; nobody looks at these counts before (see `Usage.credible`)."""
    return max(0, min(count, whole)) if count else 0


def warm_up() -> None:
    """Load the list prices: a tenth of a second that no call should wait for, and some megabytes that only who needs them should have."""
    _listed("", "", None, None, 0.0)


def _listed(model: str, vendor: str | None, url: str | None, tier: Tier | None, at_s: float) -> tuple[Rates, ...]:
    # Imported here: it takes a tenth of a second and ten megabytes, and only who has a vendor's upstream needs it.
    from genai_prices.data_snapshot import get_snapshot

    try:
        seller, found = get_snapshot().find_provider_model(model, None, vendor, url)
    except LookupError:
        return ()
    # The library may have the model from another seller's list, whose tiers this one need not have.
    own = any(each is found for each in seller.models)
    prices = found.get_prices(datetime.fromtimestamp(at_s, UTC), _TIERS.get(tier) if own else None)
    if prices.input_mtok is None:
        return ()
    fields = {field: getattr(prices, name) for field, name in _LISTED.items()}
    return tuple(_rates(fields, threshold) for threshold in sorted({0, *(start for price in fields.values() for start in _starts(price))}))


def _rates(fields: Mapping[str, Any], threshold: int) -> Rates:
    known: dict[str, Any] = {field: _at(price, threshold) for field, price in fields.items()}
    return Rates(**known, above_input_tokens=threshold)


def _starts(price: Any) -> list[int]:
    return [tier.start for tier in price.tiers] if hasattr(price, "tiers") else []


def _at(price: Any, threshold: int) -> float | None:
    """The price above the threshold."""
    if price is None:
        return None
    if not hasattr(price, "tiers"):
        return float(price)
    return float(next((tier.price for tier in reversed(price.tiers) if tier.start <= threshold), price.base))
