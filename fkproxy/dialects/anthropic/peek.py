"""A request as far as routing needs it, and on its way to a server of the same dialect. Floor 1. Pure."""

from __future__ import annotations

import re
from typing import Any

import msgspec

from fkproxy.dialects.anthropic.thinking import drop_clearing
from fkproxy.dialects.anthropic.turns import lacks_thoughts
from fkproxy.dialects.base import Peek, Seen, head_of, limit_of
from fkproxy.dialects.conversation import ABSENT
from fkproxy.dialects.envelope import PREFIX
from fkproxy.model.errors import InvalidRequest
from fkproxy.wire import json

__all__ = ["forward_request", "peek"]


class _Head(msgspec.Struct):
    model: str
    stream: bool | None = None
    thinking: Any = None
    output_config: Any = None
    max_tokens: Any = None
    metadata: msgspec.Raw = ABSENT
    system: msgspec.Raw = ABSENT
    messages: msgspec.Raw = ABSENT


_decode = msgspec.json.Decoder(_Head).decode
_decode_messages = msgspec.json.Decoder(list[msgspec.Raw]).decode
_BUDGETED = msgspec.Raw(b'"enabled"')
_UNSIGNED = re.compile(rb'"signature"\s*:\s*"(?:"|fkproxy1\.)')


def peek(body: bytes) -> Peek:
    """Model and stream flag without decoding the rest. Raises `InvalidRequest`."""
    head = head_of(_decode, body)
    return Peek(
        model=head.model,
        stream=bool(head.stream),
        may_think=head.thinking is not None or head.output_config is not None,
        seen=Seen(head, limit_of(head.max_tokens)),
    )


def forward_request(body: bytes, asked: Peek, model: str) -> bytes:
    """The body with `model` in it. Every other field keeps its very bytes.

    But for thoughts without a signature of this vendor: they are what this gateway gives for those of another vendor's model. When such a
    conversation moves on to a server of this dialect, that would refuse them. Where the calls that they led to are being answered, it would
    refuse a budget for others as well: see `turns.lacks_thoughts`.
    """
    unsigned = _UNSIGNED.search(body) is not None
    if model == asked.model and not unsigned:
        return body
    fields = json.raw_fields(body)
    if unsigned and "messages" in fields:
        try:
            fields["messages"] = [message for raw in _decode_messages(fields["messages"]) if (message := _signed(raw)) is not None]
        except json.MALFORMED as error:
            raise InvalidRequest("messages", "expected an array that is not nested too deeply") from error
        if json.inner_fields(fields, "thinking").get("type") == _BUDGETED and lacks_thoughts(fields["messages"]):
            del fields["thinking"]
            drop_clearing(fields)
    fields["model"] = model
    return json.encode(fields)


def _signed(raw: msgspec.Raw) -> Any:
    """A message without its unsigned thoughts; None when it held nothing else."""
    if _UNSIGNED.search(bytes(raw)) is None:
        return raw
    message = json.try_object(bytes(raw))
    content = message.get("content") if message is not None else None
    if message is None or not isinstance(content, list):
        return raw
    kept = [block for block in content if not (isinstance(block, dict) and block.get("type") == "thinking" and _not_theirs(block))]
    return {**message, "content": kept} if kept else None


def _not_theirs(block: dict[str, Any]) -> bool:
    signature = block.get("signature")
    return not signature or (isinstance(signature, str) and signature.startswith(PREFIX))
