"""A request as far as routing needs it, and on its way to a server of the same dialect. Floor 1. Pure."""

from __future__ import annotations

import re
from typing import Any

import msgspec

from fkproxy.dialects.base import UNREADABLE_REASONING, Peek, Seen, head_of, limit_of, may_say
from fkproxy.dialects.conversation import ABSENT
from fkproxy.dialects.envelope import PREFIX
from fkproxy.dialects.openai_responses.compaction import summary_of
from fkproxy.model.errors import InvalidRequest
from fkproxy.model.request import EFFORTS
from fkproxy.wire import json

__all__ = ["apply_effort", "forward_request", "peek", "reasoning_of"]


class _Head(msgspec.Struct):
    model: str
    stream: bool | None = None
    background: bool | None = None
    reasoning: Any = None
    max_output_tokens: Any = None
    previous_response_id: msgspec.Raw = ABSENT
    conversation: msgspec.Raw = ABSENT
    prompt_cache_key: msgspec.Raw = ABSENT
    instructions: msgspec.Raw = ABSENT
    input: msgspec.Raw = ABSENT


class _Reasoning(msgspec.Struct):
    effort: str | None = None


class _Body(msgspec.Struct):
    reasoning: _Reasoning | None = None
    input: msgspec.Raw = ABSENT


_decode = msgspec.json.Decoder(_Head).decode
_decode_body = msgspec.json.Decoder(_Body).decode
_UPDATE = b'"configuration_update"'
_decode_items = msgspec.json.Decoder(list[msgspec.Raw]).decode
_FOREIGN = re.compile(rb'"encrypted_content"\s*:\s*"fkproxy1\.|"rs_[^"]+_[0-9]+"')
_OWN_ID = re.compile("rs_.+_[0-9]+")
"""What this gateway calls a thought of another vendor's model. The vendor's own ids have one underscore."""


def peek(body: bytes) -> Peek:
    """Model and stream flag without decoding the rest. Raises `InvalidRequest`, also for a reply that nobody could fetch or account for."""
    head = head_of(_decode, body)
    if head.background and not head.stream:
        raise InvalidRequest("background", "a reply cannot be fetched later here; wait for it, or ask for a stream")
    seen = Seen(head, limit_of(head.max_output_tokens))
    may_think = head.reasoning is not None or may_say(body, _UPDATE)
    return Peek(model=head.model, stream=bool(head.stream), may_think=may_think, seen=seen)


def forward_request(body: bytes, asked: Peek, model: str) -> bytes:
    """The body with `model` in it. Every other field keeps its very bytes.

    But for thoughts and summaries of another vendor's model, which this gateway gave out: when such a conversation moves on to a server of
    this dialect, that could not decrypt them, and does not know their ids. A summary goes there in words.
    """
    foreign = _FOREIGN.search(body) is not None
    if model == asked.model and not foreign:
        return body
    fields = json.raw_fields(body)
    if foreign and bytes(fields.get("input", b"")).startswith(b"["):
        fields["input"] = [kept for item in _decode_items(fields["input"]) if (kept := _for_vendor(item)) is not None]
    return json.encode({**fields, "model": model})


def _for_vendor(raw: msgspec.Raw) -> Any:
    """An item as the vendor may have it; None for a thought that is not its own. Raises `InvalidRequest`."""
    if _FOREIGN.search(bytes(raw)) is None or not bytes(raw).startswith(b"{"):
        return raw
    item = json.decode_request(bytes(raw))
    if (told := summary_of(item)) is not None:
        return {"type": "message", "role": "user", "content": [{"type": "input_text", "text": told}]}
    return None if _is_foreign_thought(item) else raw


def _is_foreign_thought(item: dict[str, Any]) -> bool:
    if item.get("type") != "reasoning":
        return False
    sealed, name = item.get("encrypted_content"), item.get("id")
    if isinstance(sealed, str) and sealed:
        return sealed.startswith(PREFIX)
    return isinstance(name, str) and _OWN_ID.fullmatch(name) is not None


def reasoning_of(body: bytes) -> str | None:
    """What a request says about thinking, in a few words."""
    if not may_say(body, b'"effort"'):
        return None
    try:
        found = _decode_body(body)
        said = [found.reasoning]
        if may_say(body, _UPDATE) and bytes(found.input).startswith(b"["):
            said += [_decode_body(item).reasoning for item in _decode_items(found.input) if _is_update(bytes(item))]
    except (*json.MALFORMED, InvalidRequest):
        return UNREADABLE_REASONING
    efforts_said = [reasoning.effort for reasoning in said if reasoning is not None and reasoning.effort is not None]
    if not efforts_said:
        return None
    return f"effort {efforts_said[-1] if efforts_said[-1] in EFFORTS else 'other'}"


def _is_update(raw: bytes) -> bool:
    """An item that changes settings from there on. Raises `InvalidRequest`."""
    return may_say(raw, _UPDATE) and raw.startswith(b"{") and json.decode_request(raw).get("type") == "configuration_update"


def apply_effort(body: bytes, effort: str | None) -> bytes:
    """The body with that effort instead of what it says itself, in its items too. Raises `InvalidRequest`."""
    fields = json.raw_fields(body)
    if may_say(body, _UPDATE) and bytes(fields.get("input", b"")).startswith(b"["):
        left = (_without_effort(bytes(item)) for item in _decode_items(fields["input"]))
        fields["input"] = [msgspec.Raw(item) for item in left if item]
    reasoning = json.inner_fields(fields, "reasoning")
    fields.pop("reasoning", None)
    reasoning.pop("effort", None)
    if effort is not None:
        reasoning["effort"] = effort
    return json.encode({**fields, "reasoning": reasoning} if reasoning else fields)


def _without_effort(raw: bytes) -> bytes:
    """An item without what it changes about thinking; nothing if it changes nothing else, which the vendor would not take."""
    if not _is_update(raw):
        return raw
    fields = {name: value for name, value in json.raw_fields(raw).items() if name != "reasoning"}
    return json.encode(fields) if json.inner_fields(fields, "text") else b""
