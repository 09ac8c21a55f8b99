"""JSON in and out, in one place, so that every error about it reads the same.

Floor 0. Pure.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any, TypeVar

import msgspec

from fkproxy.model.errors import InvalidRequest, UpstreamProtocolError

__all__ = [
    "MALFORMED",
    "UNREADABLE",
    "decode_reply",
    "decode_request",
    "encode",
    "inner_fields",
    "loads",
    "raw_fields",
    "refused",
    "scan",
    "try_object",
]

T = TypeVar("T")

MALFORMED = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
"""What a decoder raises for bytes that it cannot read. Text that is not UTF-8 is Python's own error, and none of msgspec's."""

UNREADABLE = (ValueError, IndexError, StopIteration, RecursionError)
"""What `scan` raises where no value begins, or one does not end, and an index that is behind the text."""

scan = json.JSONDecoder(strict=False).scan_once  # type: ignore[attr-defined]  # what raw_decode calls; not in its stub
"""(value, where it ends) of what begins at an index of a text: for whom it is not worth while to decode all that comes behind."""

_UP_TO_HALF = re.compile(rb"(?:[^\\]++|\\[^u]|\\u(?![dD][89a-fA-F])|\\u[dD][89abAB]..\\u[dD][c-fC-F])*+(?=\\u....)", re.DOTALL)
"""All up to an escape that is a surrogate and begins no pair."""

encode = msgspec.json.Encoder().encode
"""Compact UTF-8 JSON, keys in the order they stand: equal values give equal bytes, which vendors' prompt caches rely on."""

_decode = msgspec.json.Decoder().decode
_decode_raw = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_decode_inner = msgspec.json.Decoder(dict[str, msgspec.Raw] | None).decode


def loads(data: bytes | str) -> Any:
    """Plain JSON value. Raises `ValueError`."""
    try:
        return _decode(data)
    except MALFORMED as error:
        raise ValueError(str(error)) from error


def decode_request(data: bytes) -> dict[str, Any]:
    """A client's JSON body, which must be an object. Raises `InvalidRequest`."""
    if not data:
        raise InvalidRequest(None, "the request body is empty; a JSON object was expected")
    try:
        value = _decode(data)
    except RecursionError as error:
        raise InvalidRequest(None, "the request body is nested too deeply") from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        half = _half_a_pair(data)
        # As text: who holds an exception in a variable of the frame that it came through makes a cycle of them.
        fault = str(error) if half is None else f"one half of a surrogate pair stands alone, as where an emoji was cut in two (byte {half})"
        raise InvalidRequest(None, f"the request body is not valid JSON: {fault}") from error
    if not isinstance(value, dict):
        raise InvalidRequest(None, "the request body must be a JSON object")
    return value


def _half_a_pair(data: bytes) -> int | None:
    """Where an escaped surrogate is without its other half. The decoder takes such a body for one that was cut off.

    Anthropic and OpenAI refuse it, too: "no low surrogate in string" (anomalyco/opencode#14630, read 2026-11).
    """
    found = _UP_TO_HALF.match(data) if data.find(b"\\ud") >= 0 or data.find(b"\\uD") >= 0 else None
    return found.end() if found is not None else None


def refused(data: bytes) -> InvalidRequest:
    """What is wrong with a client's JSON body that could not be read."""
    try:
        decode_request(data)
    except InvalidRequest as error:
        return error
    return InvalidRequest(None, "the request body must be a JSON object that is not nested too deeply")


def raw_fields(body: bytes) -> dict[str, Any]:
    """The fields of a client's JSON body, each as it stands. Raises `InvalidRequest`."""
    try:
        return dict(_decode_raw(body))
    except MALFORMED as error:
        raise refused(body) from error


def inner_fields(fields: Mapping[str, Any], name: str) -> dict[str, Any]:
    """Those of the object in the field `name`, each as it stands; none where it is null or not there. Raises `InvalidRequest`."""
    given = fields.get(name)
    if given is None:
        return {}
    try:
        return dict(_decode_inner(given) or {})
    except MALFORMED as error:
        raise InvalidRequest(name, "expected an object") from error


def decode_reply(data: bytes) -> dict[str, Any]:
    """An upstream's JSON body or event, which must be an object. Raises `UpstreamProtocolError` without quoting it."""
    try:
        value = _decode(data)
    except MALFORMED as error:
        raise UpstreamProtocolError("the upstream sent something that is not valid JSON") from error
    if not isinstance(value, dict):
        raise UpstreamProtocolError("the upstream sent JSON that is not an object")
    return value


def try_object(text: bytes | str) -> dict[str, Any] | None:
    """The JSON object in `text`, or None when it is anything else."""
    try:
        value = _decode(text)
    except MALFORMED:
        return None
    return value if isinstance(value, dict) else None
