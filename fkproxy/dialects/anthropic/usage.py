"""What Anthropic says was used, and what of that is paid for. Floor 1. Pure.

Mostly its counts are those of one model, and all of them are paid for. Where a reply took several attempts (`iterations`: those of a tool
loop, of an advisor, of models that stand in for one that declined, and of a conversation that is shortened first), the counts on top are
not the whole of it, and each attempt is paid for at the price of its own model. One that was declined before any output is not.

Source: platform.claude.com/docs/en, build-with-claude/compaction, build-with-claude/refusals-and-fallback and
agents-and-tools/tool-use/advisor-tool, read 2026-11.
"""

from __future__ import annotations

from typing import Annotated, Any

import msgspec

from fkproxy.model.usage import Tier, Usage, tier_of

__all__ = ["Counts", "usage_of"]

_MAX_NAME_CHARS = 256
"""A name is kept with the call's record, for as long as that waits; longer ones have no price."""
_MAX_ATTEMPTS = 64
_FREE = Usage(input_tokens=0, output_tokens=0)
_IN_THE_US = 1.1
"""As many times all tokens cost of who asks for it (platform.claude.com/docs/en/about-claude/pricing, data residency, read 2026-11)."""


class _TokenDetails(msgspec.Struct, gc=False):
    thinking_tokens: int | None = None


class _Written(msgspec.Struct, gc=False):
    """Of what was written to the cache what stays there for an hour."""

    ephemeral_1h_input_tokens: int | None = None

    def __bool__(self) -> bool:
        return bool(self.ephemeral_1h_input_tokens)


class Counts(msgspec.Struct, gc=False):
    """`usage` of a message, and of an event."""

    input_tokens: int | None = None
    output_tokens: int | None = None
    cache_creation_input_tokens: int | None = None
    cache_creation: _Written | None = None
    cache_read_input_tokens: int | None = None
    output_tokens_details: _TokenDetails | None = None
    speed: Any = None
    inference_geo: Any = None
    iterations: Any = None


class _Attempt(Counts, kw_only=True, gc=False):
    """`model` None: the one that was asked."""

    type: str
    model: Annotated[str, msgspec.Meta(max_length=_MAX_NAME_CHARS)] | None = None
    input_tokens: int
    output_tokens: int


_ADVICE = "advisor_message"
_BESIDE = (_ADVICE, "compaction")
"""What the counts on top hold nothing of."""
_Attempts = Annotated[list[_Attempt], msgspec.Meta(max_length=_MAX_ATTEMPTS)]
_SUMS = ("input_tokens", "output_tokens", "cached_input_tokens", "cache_write_tokens", "cache_write_1h_tokens")


def usage_of(counts: Counts, *, refused: bool) -> Usage:
    """`refused`: the model declined, and had said nothing before."""
    usage = _usage(counts, None, tier_of(counts.speed), _IN_THE_US if counts.inference_geo == "us" else None)
    if counts.iterations:
        usage = _with_attempts(usage, counts.iterations)
    return msgspec.structs.replace(usage, parts=(_FREE,)) if refused else usage


def _usage(counts: Counts, model: str | None, tier: Tier | None, price_factor: float | None) -> Usage:
    """Anthropic counts what it read from its cache and what it wrote to it beside the other input.

    Its `service_tier` tells what was paid for beforehand, and is no price of a token (platform.claude.com/docs/en/api/service-tiers).
    """
    given, read, written = counts.input_tokens, counts.cache_read_input_tokens, counts.cache_creation_input_tokens
    details = counts.output_tokens_details
    return Usage(
        input_tokens=None if given is None else given + (read or 0) + (written or 0),
        output_tokens=counts.output_tokens,
        cached_input_tokens=read,
        cache_write_tokens=written,
        reasoning_tokens=details.thinking_tokens if details is not None else None,
        cache_write_1h_tokens=counts.cache_creation.ephemeral_1h_input_tokens if counts.cache_creation else None,
        tier=tier,
        model=model,
        price_factor=price_factor,
    )


def _with_attempts(usage: Usage, told: Any) -> Usage:
    """All that is paid for, where that can be read. An adviser has no part in the tier."""
    try:
        attempts = msgspec.convert(told, _Attempts)
    except msgspec.ValidationError:
        return usage
    answered = next((each.model for each in attempts if each.type == "fallback_message"), None)
    usage = msgspec.structs.replace(usage, model=answered)
    if len(attempts) == 1 and attempts[0].type not in _BESIDE:
        return usage
    # Where none stood in it is the one that was asked: that may have another name with us, and a price of its own by it.
    asked = next((each.model for each in attempts if each.type == "message"), None) if answered is None else None
    parts = tuple(
        _usage(each, None if each.model == asked else each.model, None if each.type == _ADVICE else usage.tier, usage.price_factor)
        for each in attempts
        if each.output_tokens
    )
    if not parts:
        return msgspec.structs.replace(usage, parts=(_FREE,))
    if not all(part.credible for part in parts):
        return usage
    sums = {name: _sum([getattr(part, name) for part in parts]) for name in _SUMS}
    return msgspec.structs.replace(usage, **sums, parts=() if len(parts) == 1 and parts[0].model == answered else parts)


def _sum(counts: list[int | None]) -> int | None:
    said = [count for count in counts if count is not None]
    return sum(said) if said else None
