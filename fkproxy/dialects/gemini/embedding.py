"""embedContent and batchEmbedContents, both ends. Floor 1. Pure. Source: ai.google.dev/api/embeddings, read 2026-11."""

from __future__ import annotations

from typing import Any

import msgspec

from fkproxy.dialects.base import Encoded, Peek
from fkproxy.dialects.gemini.request import NAME, fields_of
from fkproxy.model.embedding import EmbeddingReply, EmbeddingRequest
from fkproxy.model.errors import InvalidRequest, UpstreamProtocolError
from fkproxy.model.parts import Extra
from fkproxy.model.request import Loss
from fkproxy.model.usage import Usage
from fkproxy.wire import json
from fkproxy.wire.fields import Fields

__all__ = ["Embedder"]

_SINGLE = "embedContent"


class _Vector(msgspec.Struct):
    values: list[float]


class _Reply(msgspec.Struct, rename="camel"):
    embedding: _Vector | None = None
    embeddings: list[_Vector] | None = None
    usage_metadata: Any = None


class Embedder:
    """See `dialects.base.EmbeddingCodec`."""

    def decode_request(self, body: bytes, asked: Peek) -> EmbeddingRequest:
        """One content, or the contents of a batch, which must ask for the same in all else."""
        fields = fields_of(body)
        entries = [fields] if asked.variant == _SINGLE else list(fields.each("requests"))
        if not entries:
            raise InvalidRequest("requests", "expected an array with at least one request")
        read = [_read(entry) for entry in entries]
        if any(more != read[0][1] for _, more, _ in read):
            raise InvalidRequest("requests", "all requests of a batch must have the same taskType, title and outputDimensionality")
        task, title, dimensions = read[0][1]
        return EmbeddingRequest(
            dialect=NAME,
            model=asked.model,
            texts=tuple(text for text, _, _ in read),
            single=asked.variant == _SINGLE,
            dimensions=dimensions,
            task=task,
            title=title,
            extra={name: value for _, _, rest in read for name, value in rest.items()},
        )

    def encode_request(self, asked: EmbeddingRequest, model: str) -> Encoded:
        """Always a batch."""
        more = {"taskType": asked.task, "title": asked.title, "outputDimensionality": asked.dimensions}
        common = {"model": f"models/{model}", **{name: value for name, value in more.items() if value is not None}}
        requests = [{**common, "content": {"parts": [{"text": text}]}} for text in asked.texts]
        losses = [Loss(field=name, from_client=True) for name in asked.extra]
        if asked.user is not None:
            losses.append(Loss(field="user"))
        return Encoded(json.encode({"requests": requests}), tuple(losses))

    def decode_reply(self, body: bytes) -> EmbeddingReply:
        """See `EmbeddingCodec.decode_reply`."""
        try:
            reply = msgspec.json.decode(body, type=_Reply)
        except json.MALFORMED as error:
            raise UpstreamProtocolError("the upstream's embeddings are not what its dialect says") from error
        vectors = reply.embeddings if reply.embeddings is not None else [reply.embedding] if reply.embedding is not None else []
        count = reply.usage_metadata.get("promptTokenCount") if isinstance(reply.usage_metadata, dict) else None
        usage = Usage(input_tokens=count, output_tokens=0) if type(count) is int else None
        return EmbeddingReply(vectors=tuple(tuple(vector.values) for vector in vectors), usage=usage)

    def hear_reply(self, body: bytes) -> Usage | None:
        """See `EmbeddingCodec.hear_reply`."""
        return self.decode_reply(body).usage

    def encode_reply(self, reply: EmbeddingReply, asked: EmbeddingRequest) -> bytes:
        """See `EmbeddingCodec.encode_reply`."""
        vectors = [{"values": vector} for vector in reply.vectors]
        body: dict[str, Any] = {"embedding": vectors[0]} if asked.single and vectors else {"embeddings": vectors}
        if reply.usage is not None and reply.usage.input_tokens is not None:
            body["usageMetadata"] = {"promptTokenCount": reply.usage.input_tokens}
        return json.encode(body)


def _read(entry: Fields) -> tuple[str, tuple[str | None, str | None, int | None], Extra]:
    entry.any("model")
    content = entry.within("content")
    if content is None:
        raise InvalidRequest(entry.at("content"), "expected an object, but it is missing")
    texts = [part.text("text") for part in content.each("parts")]
    if not texts or any(text is None for text in texts):
        raise InvalidRequest(content.at("parts"), "expected parts with text")
    task, dimensions = entry.any("taskType"), entry.integer("outputDimensionality", 1)
    asked = (task if isinstance(task, str) else None, entry.text("title"), dimensions)
    return "".join(text for text in texts if text is not None), asked, entry.rest()
