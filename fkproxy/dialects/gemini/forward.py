"""A request on its way to a server of the same dialect. Floor 1. Pure."""

from __future__ import annotations

from typing import Any

import msgspec

from fkproxy.dialects.base import Peek
from fkproxy.model.errors import InvalidRequest
from fkproxy.wire import json

__all__ = ["forward_request"]

_WHOLE = ("generateContentRequest", "generate_content_request")

_Inner = dict[str, msgspec.Raw]
_decode_requests = msgspec.json.Decoder(list[_Inner] | _Inner).decode


def forward_request(body: bytes, asked: Peek, model: str) -> bytes:
    """A chat as it is: its model is in the path alone. A question for a count, and one for embeddings, may name the model once more.

    "The model in each of these requests must match the model specified" in the path (ai.google.dev/api/embeddings). Raises
    `InvalidRequest`.
    """
    if asked.operation == "chat" or model == asked.model:
        return body
    fields = _named(json.raw_fields(body), model)
    for name in _WHOLE:
        if inner := json.inner_fields(fields, name):
            fields[name] = _named(inner, model)
    if "requests" in fields:
        try:
            requests = _decode_requests(fields["requests"])
        except json.MALFORMED as error:
            raise InvalidRequest("requests", "expected an array of objects") from error
        fields["requests"] = [_named(each, model) for each in requests] if isinstance(requests, list) else _named(requests, model)
    return json.encode(fields)


def _named(fields: dict[str, Any], model: str) -> dict[str, Any]:
    return {**fields, "model": f"models/{model}"} if "model" in fields else fields
