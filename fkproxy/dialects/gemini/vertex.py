"""What clients of Vertex AI say otherwise than those of the Gemini API, whose words the rest of this dialect reads. Floor 1. Pure.

Chats are the same in both. A question for a count is the request itself there, where the API has it in `generateContentRequest`, and what
is asked of an embedding stands in `embedContentConfig`, in a batch in that of each request, which need not name the model.

Sources: docs.cloud.google.com/vertex-ai/docs/reference/rest/v1beta1/projects.locations.publishers.models; google-genai 3.4, `models.py`;
read 2026-11.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import unquote

import msgspec

from fkproxy.model.errors import InvalidRequest
from fkproxy.wire import json

__all__ = ["rewrite"]

_OF_A_QUESTION = frozenset(("contents", "generateContentRequest", "generate_content_request"))
_CONFIG = "embedContentConfig"

_decode_batch = msgspec.json.Decoder(list[dict[str, msgspec.Raw]]).decode


def rewrite(body: bytes, target: str) -> bytes:
    """The body as the Gemini API has it. Raises `InvalidRequest`."""
    model, _, method = unquote(target).rpartition(":")
    # The API wants its own name of the model, without a provider in front of it.
    named = {"model": f"models/{model.rpartition('/')[2]}"}
    if method == "countTokens":
        fields = json.raw_fields(body)
        if not fields.keys() <= _OF_A_QUESTION:
            return json.encode({"generateContentRequest": {**fields, **named}})
    elif method == "embedContent":
        return json.encode(_asked(json.raw_fields(body)))
    elif method == "batchEmbedContents":
        fields = json.raw_fields(body)
        try:
            requests = _decode_batch(fields.get("requests", b"[]"))
        except json.MALFORMED as error:
            raise InvalidRequest("requests", "expected an array of objects") from error
        return json.encode({**fields, "requests": [{**_asked(each), **named} for each in requests]})
    return body


def _asked(fields: Mapping[str, Any]) -> dict[str, Any]:
    """A request for an embedding. Raises `InvalidRequest`."""
    config = json.inner_fields(fields, _CONFIG)
    return {**{name: value for name, value in fields.items() if name != _CONFIG}, **config}
