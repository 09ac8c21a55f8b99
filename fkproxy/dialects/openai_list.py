"""The list of models that both OpenAI dialects have, both ends. Floor 1. Pure.

Sources, read 2026-11: OpenAI API reference, "List models"; docs.together.ai/reference/models, whose list is a bare array.
"""

from __future__ import annotations

from typing import Any

import msgspec

from fkproxy.dialects.base import ModelEntry
from fkproxy.model.errors import UpstreamProtocolError
from fkproxy.wire import json
from fkproxy.wire.times import read_time

__all__ = ["decode_models", "encode_models"]


class _Model(msgspec.Struct):
    id: str
    owned_by: Any = None
    created: Any = None


class _Models(msgspec.Struct):
    data: list[_Model]


_decode = msgspec.json.Decoder(_Models | list[_Model]).decode


def encode_models(models: list[ModelEntry]) -> bytes:
    """`GET /v1/models`."""
    data = [{"id": model.id, "object": "model", "created": model.created_s, "owned_by": model.owned_by} for model in models]
    return json.encode({"object": "list", "data": data})


def decode_models(body: bytes) -> list[ModelEntry]:
    """See `Dialect.decode_models`."""
    try:
        found = _decode(body)
    except json.MALFORMED as error:
        raise UpstreamProtocolError("the upstream's list of models is not one") from error
    return [
        ModelEntry(
            id=model.id,
            owned_by=model.owned_by if isinstance(model.owned_by, str) else "",
            created_s=int(read_time(model.created) or 0),
        )
        for model in (found if isinstance(found, list) else found.data)
    ]
