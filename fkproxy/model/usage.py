"""Token counts. Floor 0. Values only."""

from __future__ import annotations

from typing import Any, Literal

import msgspec

__all__ = ["MAX_TOKENS", "Tier", "Usage", "tier_of"]

Tier = Literal["fast", "ultrafast", "flex"]
"""A tier of service with prices of its own."""

_TIERS: dict[str, Tier] = {"fast": "fast", "priority": "fast", "ultrafast": "ultrafast", "flex": "flex"}
"""OpenAI has two words for one tier, and replies say either (developers.openai.com/api/docs/guides/fast-mode, read 2026-11)."""

MAX_TOKENS = 2**53 - 1
"""Whole numbers up to here are exact in JSON and in every database."""


class Usage(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """What the upstream said it counted. None means "it did not say" and is never 0.

    `input_tokens` includes the cached ones; `output_tokens` includes reasoning. So input + output is the total in every dialect,
    and a dialect that reports them apart is normalised by its decoder. `cache_write_1h_tokens` are those of `cache_write_tokens` that the
    vendor keeps for an hour; audio and images are part of the input or the output, too. All three have prices of their own.
    `tier`: what it was served in, None for the standard one. `model`: the one that the vendor let answer in the place of what was asked.
    `price_factor`: what its price is multiplied by, for where it was served. `parts`: what is paid for, each at its own price, where that
    is not simply all that is counted here.
    """

    input_tokens: int | None = None
    output_tokens: int | None = None
    cached_input_tokens: int | None = None
    cache_write_tokens: int | None = None
    reasoning_tokens: int | None = None
    audio_input_tokens: int | None = None
    audio_output_tokens: int | None = None
    cache_write_1h_tokens: int | None = None
    image_output_tokens: int | None = None
    tier: Tier | None = None
    model: str | None = None
    price_factor: float | None = None
    parts: tuple[Usage, ...] = ()

    @property
    def counts(self) -> bool:
        """False where it names neither what went in nor what came out."""
        return self.input_tokens is not None or self.output_tokens is not None

    @property
    def credible(self) -> bool:
        """False where a count is less than nothing, or more than anybody can have used."""
        # All their bits together: less than nothing if one is, and beyond the bound, which is all ones, if one is.
        bits = (self.input_tokens or 0) | (self.output_tokens or 0) | (self.reasoning_tokens or 0)
        return 0 <= bits | (self.cached_input_tokens or 0) | (self.cache_write_tokens or 0) <= MAX_TOKENS

    @property
    def total_tokens(self) -> int | None:
        """Input plus output, or None while either is unknown."""
        if self.input_tokens is None or self.output_tokens is None:
            return None
        return self.input_tokens + self.output_tokens


def tier_of(word: Any) -> Tier | None:
    """What a reply says of the tier that it was served in, whatever that is; None for the standard one, and for one that nobody knows."""
    return _TIERS.get(word) if isinstance(word, str) else None
