"""Token counts. Floor 0. Values only."""

from __future__ import annotations

import msgspec

__all__ = ["Usage"]


class Usage(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What the upstream said it counted. None means "it did not say" and is never 0.

    `input_tokens` includes the cached ones; `output_tokens` includes reasoning. So input + output is the total in every dialect,
    and a dialect that reports them apart is normalised by its decoder.
    """

    input_tokens: int | None = None
    output_tokens: int | None = None
    cached_input_tokens: int | None = None
    cache_write_tokens: int | None = None
    reasoning_tokens: int | None = None
    audio_input_tokens: int | None = None
    audio_output_tokens: int | None = None

    @property
    def total_tokens(self) -> int | None:
        """Input plus output, or None while either is unknown."""
        if self.input_tokens is None or self.output_tokens is None:
            return None
        return self.input_tokens + self.output_tokens
