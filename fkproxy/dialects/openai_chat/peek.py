"""A request as far as routing needs it, and on its way to a server of the same dialect. Floor 1. Pure."""

from __future__ import annotations

from typing import Any

import msgspec

from fkproxy.dialects.base import Peek, Seen, head_of, limit_of
from fkproxy.dialects.conversation import ABSENT
from fkproxy.wire import json

__all__ = ["forward_request", "peek"]


class _StreamOptions(msgspec.Struct):
    include_usage: bool | None = None


class _Head(msgspec.Struct):
    model: str
    stream: bool | None = None
    stream_options: _StreamOptions | None = None
    reasoning_effort: Any = None
    reasoning: Any = None
    max_completion_tokens: Any = None
    max_tokens: Any = None
    prompt_cache_key: msgspec.Raw = ABSENT
    conversation_id: msgspec.Raw = ABSENT
    user: msgspec.Raw = ABSENT
    messages: msgspec.Raw = ABSENT


_decode = msgspec.json.Decoder(_Head).decode


def peek(body: bytes) -> Peek:
    """Model and stream flag without decoding the rest. Raises `InvalidRequest`."""
    head = head_of(_decode, body)
    options = head.stream_options
    return Peek(
        model=head.model,
        stream=bool(head.stream),
        include_usage=options is not None and bool(options.include_usage),
        may_think=head.reasoning_effort is not None or head.reasoning is not None,
        seen=Seen(head, limit_of(head.max_completion_tokens, head.max_tokens)),
    )


def forward_request(body: bytes, asked: Peek, model: str) -> bytes:
    """The body with `model` in it and, in a stream, usage asked for. Every other field keeps its very bytes."""
    if model == asked.model and (not asked.stream or asked.include_usage):
        return body
    fields = json.raw_fields(body)
    fields["model"] = model
    if asked.stream and not asked.include_usage:
        fields["stream_options"] = {**json.inner_fields(fields, "stream_options"), "include_usage": True}
    return json.encode(fields)
