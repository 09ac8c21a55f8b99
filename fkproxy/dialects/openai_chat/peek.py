"""A request as far as routing needs it, and on its way to a server of the same dialect. Floor 1. Pure."""

from __future__ import annotations

from typing import Any

import msgspec

from fkproxy.dialects.base import Peek, Seen, head_of, limit_of
from fkproxy.dialects.conversation import ABSENT
from fkproxy.dialects.openai_chat.mistral import takes_stream_options
from fkproxy.dialects.openai_models import is_openai
from fkproxy.model.errors import InvalidRequest
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
    n: Any = None
    prompt_cache_key: msgspec.Raw = ABSENT
    conversation_id: msgspec.Raw = ABSENT
    user: msgspec.Raw = ABSENT
    messages: msgspec.Raw = ABSENT


_decode = msgspec.json.Decoder(_Head).decode
_decode_messages = msgspec.json.Decoder(list[dict[str, Any]]).decode
_SEALED = b'"extra_content"'


def peek(body: bytes) -> Peek:
    """Model and stream flag without decoding the rest. Raises `InvalidRequest`."""
    head = head_of(_decode, body)
    options = head.stream_options
    return Peek(
        model=head.model,
        stream=bool(head.stream),
        include_usage=options is not None and bool(options.include_usage),
        may_think=head.reasoning_effort is not None or head.reasoning is not None,
        seen=Seen(head, limit_of(head.max_completion_tokens, head.max_tokens), 0 if head.n is None else limit_of(head.n)),
    )


def forward_request(body: bytes, asked: Peek, model: str) -> bytes:
    """The body with `model` in it and, in a stream, usage asked for where that is taken. Every other field keeps its very bytes.

    But for signatures on their way to a model of OpenAI's, which refuses them: that stands in for the one that signed.
    """
    amend_usage = asked.stream and asked.include_usage is not takes_stream_options(model)
    if model == asked.model and not amend_usage:
        return body
    fields = json.raw_fields(body)
    if model != asked.model and is_openai(model) and body.find(_SEALED) >= 0 and "messages" in fields:
        fields["messages"] = _unsealed(fields["messages"])
    fields["model"] = model
    if amend_usage and asked.include_usage:
        fields.pop("stream_options", None)
    elif amend_usage:
        fields["stream_options"] = {**json.inner_fields(fields, "stream_options"), "include_usage": True}
    return json.encode(fields)


def _unsealed(messages: Any) -> list[dict[str, Any]]:
    """The messages without signatures on them and on their calls. Raises `InvalidRequest`."""
    try:
        decoded = _decode_messages(messages)
    except json.MALFORMED as error:
        raise InvalidRequest("messages", "expected an array of objects that is not nested too deeply") from error
    for message in decoded:
        calls = message.get("tool_calls")
        for each in (message, *(calls if isinstance(calls, list) else ())):
            if isinstance(each, dict):
                each.pop("extra_content", None)
    return decoded
