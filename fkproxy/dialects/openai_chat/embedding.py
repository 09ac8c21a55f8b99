"""Embeddings, both ends. Floor 1. Pure. Source: platform.openai.com/docs/api-reference/embeddings, read 2026-11."""

from __future__ import annotations

import base64
import binascii
import struct
from typing import Any

import msgspec

from fkproxy.dialects.base import Encoded, Peek
from fkproxy.model.embedding import EmbeddingReply, EmbeddingRequest
from fkproxy.model.errors import InvalidRequest, Unrepresentable, UpstreamProtocolError
from fkproxy.model.request import Loss
from fkproxy.model.usage import Usage
from fkproxy.wire import json
from fkproxy.wire.fields import Fields

__all__ = ["Embedder"]


class _Vector(msgspec.Struct):
    """One text's. Google's endpoint for OpenAI's clients numbers none (spring-projects/spring-ai#7019)."""

    embedding: list[float] | str
    index: int | None = None


class _Reply(msgspec.Struct):
    data: list[_Vector]
    usage: Any = None


class _Heard(msgspec.Struct):
    """A reply whose vectors only the client need be able to read: servers have forms of their own, as of several vectors for a text."""

    data: list[msgspec.Raw]
    usage: Any = None


class Embedder:
    """See `dialects.base.EmbeddingCodec`."""

    def decode_request(self, body: bytes, asked: Peek) -> EmbeddingRequest:
        """Raises `Unrepresentable` for an input of token numbers, which mean something to one vendor only."""
        fields = Fields(json.decode_request(body))
        fields.any("model")
        given = fields.any("input")
        if isinstance(given, list) and given and all(isinstance(item, int | list) for item in given):
            raise Unrepresentable("an input of token numbers", "foreign", "send text")
        texts = fields.texts("input")
        if not texts:
            raise InvalidRequest("input", "expected a string or an array of strings")
        return EmbeddingRequest(
            dialect="openai_chat",
            model=asked.model,
            texts=texts,
            dimensions=fields.integer("dimensions", 1),
            encoding=fields.choice("encoding_format", ("float", "base64")) or "float",
            user=fields.text("user"),
            extra=fields.rest(),
        )

    def encode_request(self, asked: EmbeddingRequest, model: str) -> Encoded:
        """See `EmbeddingCodec.encode_request`."""
        body: dict[str, Any] = {"model": model, "input": list(asked.texts), "encoding_format": "float"}
        if asked.dimensions is not None:
            body["dimensions"] = asked.dimensions
        losses = [Loss(field=name) for name, value in (("taskType", asked.task), ("title", asked.title)) if value is not None]
        losses += [Loss(field=name, from_client=True) for name in asked.extra]
        return Encoded(json.encode(body), tuple(losses))

    def decode_reply(self, body: bytes) -> EmbeddingReply:
        """See `EmbeddingCodec.decode_reply`."""
        try:
            reply = msgspec.json.decode(body, type=_Reply)
            vectors = tuple(_numbers(entry.embedding) for entry in sorted(reply.data, key=lambda entry: entry.index or 0))
        except (*json.MALFORMED, binascii.Error, struct.error) as error:
            raise UpstreamProtocolError("the upstream's embeddings are not what its dialect says") from error
        return EmbeddingReply(vectors=vectors, usage=_usage(reply.usage))

    def hear_reply(self, body: bytes) -> Usage | None:
        """See `EmbeddingCodec.hear_reply`."""
        try:
            return _usage(msgspec.json.decode(body, type=_Heard).usage)
        except json.MALFORMED as error:
            raise UpstreamProtocolError("the upstream's embeddings are not what its dialect says") from error

    def encode_reply(self, reply: EmbeddingReply, asked: EmbeddingRequest) -> bytes:
        """See `EmbeddingCodec.encode_reply`. Base64 is that of 32-bit floats, little-endian."""
        data = [
            {"object": "embedding", "index": index, "embedding": _packed(vector) if asked.encoding == "base64" else vector}
            for index, vector in enumerate(reply.vectors)
        ]
        count = (reply.usage.input_tokens if reply.usage is not None else None) or 0
        usage = {"prompt_tokens": count, "total_tokens": count}
        return json.encode({"object": "list", "data": data, "model": asked.model, "usage": usage})


def _usage(told: Any) -> Usage | None:
    """Some servers count fractions, or write numbers as texts: they have said no usage."""
    count = told.get("prompt_tokens") if isinstance(told, dict) else None
    return Usage(input_tokens=count, output_tokens=0) if type(count) is int else None


def _packed(vector: tuple[float, ...]) -> str:
    return base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode()


def _numbers(value: list[float] | str) -> tuple[float, ...]:
    if isinstance(value, list):
        return tuple(value)
    data = base64.b64decode(value, validate=True)
    return struct.unpack(f"<{len(data) // 4}f", data)
