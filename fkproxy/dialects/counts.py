"""Counts of the tokens of a request, as two vendors have them alike: both ends of what their endpoints share. Floor 1. Pure."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from fkproxy.dialects.base import Encoded
from fkproxy.model.errors import UpstreamProtocolError
from fkproxy.wire import json

__all__ = ["input_tokens", "only"]


class _Answer(msgspec.Struct):
    input_tokens: int


def only(names: Iterable[str], encoded: Encoded) -> Encoded:
    """Of a request these fields, as they stand."""
    fields = msgspec.json.decode(encoded.body, type=dict[str, msgspec.Raw])
    return Encoded(json.encode({name: fields[name] for name in names if name in fields}), encoded.losses)


def input_tokens(body: bytes) -> int:
    """What an upstream counted. Raises `UpstreamProtocolError`."""
    try:
        return msgspec.json.decode(body, type=_Answer).input_tokens
    except json.MALFORMED as error:
        raise UpstreamProtocolError("the upstream's count of tokens is not one") from error
