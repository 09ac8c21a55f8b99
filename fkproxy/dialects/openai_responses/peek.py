"""A request as far as routing needs it, and on its way to a server of the same dialect. Floor 1. Pure."""

from __future__ import annotations

from typing import Any

import msgspec

from fkproxy.dialects.base import Peek
from fkproxy.model.errors import InvalidRequest
from fkproxy.wire import json

__all__ = ["apply_effort", "forward_request", "peek", "reasoning_of"]


class _Head(msgspec.Struct):
    model: str
    stream: bool | None = None


class _Reasoning(msgspec.Struct):
    effort: str | None = None


class _Body(msgspec.Struct):
    reasoning: _Reasoning | None = None


_decode = msgspec.json.Decoder(_Head).decode
_decode_body = msgspec.json.Decoder(_Body).decode
_decode_raw = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


def peek(body: bytes) -> Peek:
    """Model and stream flag without decoding the rest. Raises `InvalidRequest`."""
    try:
        head = _decode(body)
    except msgspec.ValidationError as error:
        value = json.decode_request(body)
        if value.get("model") is None:
            raise InvalidRequest("model", "expected a string, but it is missing") from error
        text, _, path = str(error).partition(" - at `$")
        raise InvalidRequest(path.strip("`").removeprefix(".") or None, text[:1].lower() + text[1:]) from error
    except (msgspec.DecodeError, RecursionError):
        json.decode_request(body)
        raise
    if not head.model:
        raise InvalidRequest("model", "must not be empty")
    return Peek(model=head.model, stream=bool(head.stream))


def _fields(body: bytes) -> dict[str, Any]:
    try:
        return dict(_decode_raw(body))
    except (msgspec.DecodeError, RecursionError) as error:
        raise InvalidRequest(None, "the request body must be a JSON object that is not nested too deeply") from error


def forward_request(body: bytes, asked: Peek, model: str) -> bytes:
    """The body with `model` in it. Every other field keeps its very bytes."""
    return body if model == asked.model else json.encode({**_fields(body), "model": model})


def reasoning_of(body: bytes, efforts: tuple[str, ...]) -> str | None:
    """What a request says about thinking, in a few words."""
    if b'"effort"' not in body:
        return None
    try:
        found = _decode_body(body).reasoning
    except msgspec.DecodeError:
        return None
    if found is None or found.effort is None:
        return None
    return f"effort {found.effort if found.effort in efforts else 'other'}"


def apply_effort(body: bytes, effort: str | None) -> bytes:
    """The body with that effort instead of what it says itself."""
    fields = _fields(body)
    given = fields.pop("reasoning", None)
    reasoning: dict[str, Any] = dict(_decode_raw(given)) if given is not None and bytes(given) != b"null" else {}
    reasoning.pop("effort", None)
    if effort is not None:
        reasoning["effort"] = effort
    return json.encode({**fields, "reasoning": reasoning} if reasoning else fields)
