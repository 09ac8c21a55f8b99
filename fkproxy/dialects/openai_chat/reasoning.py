"""How much to think, read and written in a body without decoding the rest. Floor 1. Pure."""

from __future__ import annotations

import msgspec

from fkproxy.dialects.base import UNREADABLE_REASONING, may_say
from fkproxy.model.request import EFFORTS, Effort
from fkproxy.wire import json

__all__ = ["apply_effort", "reasoning_of"]


class _Router(msgspec.Struct):
    effort: str | None = None
    max_tokens: int | None = None
    enabled: bool | None = None


class _Body(msgspec.Struct):
    reasoning_effort: str | None = None
    reasoning: _Router | None = None


_decode = msgspec.json.Decoder(_Body).decode


def reasoning_of(body: bytes) -> str | None:
    """What a request says about thinking, in a few words."""
    if not may_say(body, b'"reasoning'):
        return None
    try:
        found = _decode(body)
    except json.MALFORMED:
        return UNREADABLE_REASONING
    if found.reasoning_effort is not None:
        return f"effort {_known(found.reasoning_effort)}"
    router = found.reasoning
    if router is None:
        return None
    if router.effort is not None:
        return f"effort {_known(router.effort)}"
    return f"budget {router.max_tokens}" if router.max_tokens is not None else "on" if router.enabled else None


def _known(word: str) -> str:
    """Only words of the field reach a log; what else a client may write there is its own."""
    return word if word in EFFORTS else "other"


def apply_effort(body: bytes, effort: Effort | None) -> bytes:
    """The body with that effort instead of what it says itself. Raises `InvalidRequest`."""
    fields = json.raw_fields(body)
    fields.pop("reasoning", None)
    fields.pop("reasoning_effort", None)
    return json.encode(fields if effort is None else {**fields, "reasoning_effort": effort})
