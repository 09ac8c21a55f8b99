"""countTokens, both ends. Floor 1. Pure. Source: ai.google.dev/api/tokens, read 2026-11."""

from __future__ import annotations

import msgspec

from fkproxy.dialects.base import Encoded, Peek
from fkproxy.dialects.gemini import request, request_encode
from fkproxy.model.errors import InvalidRequest, UpstreamProtocolError
from fkproxy.model.request import ChatRequest
from fkproxy.wire import json

__all__ = ["Counter"]


_NULL = msgspec.Raw(b"null")


class _Question(msgspec.Struct):
    camel: msgspec.Raw = msgspec.field(name="generateContentRequest", default=_NULL)
    snake: msgspec.Raw = msgspec.field(name="generate_content_request", default=_NULL)


class _Answer(msgspec.Struct, rename="camel"):
    total_tokens: int


class Counter:
    """See `dialects.base.TokenCounter`."""

    def decode_request(self, body: bytes, asked: Peek) -> ChatRequest:
        """A question is a few contents, or a whole request in `generateContentRequest`."""
        try:
            question = msgspec.json.decode(body, type=_Question)
        except json.MALFORMED as error:
            raise json.refused(body) from error
        whole = question.camel if question.camel != _NULL else question.snake
        if whole == _NULL:
            return request.decode_request(body, asked.model, stream=False)
        if not bytes(whole).startswith(b"{"):
            raise InvalidRequest("generateContentRequest", "expected an object")
        return request.decode_request(bytes(whole), asked.model, stream=False)

    def encode_request(self, asked: ChatRequest, model: str) -> Encoded:
        """See `TokenCounter.encode_request`."""
        encoded = request_encode.encode_request(asked, model)
        fields = msgspec.json.decode(encoded.body, type=dict[str, msgspec.Raw])
        return Encoded(json.encode({"generateContentRequest": {"model": f"models/{model}", **fields}}), encoded.losses)

    def decode_reply(self, body: bytes) -> int:
        """See `TokenCounter.decode_reply`."""
        try:
            return msgspec.json.decode(body, type=_Answer).total_tokens
        except json.MALFORMED as error:
            raise UpstreamProtocolError("the upstream's count of tokens is not one") from error

    def encode_reply(self, input_tokens: int) -> bytes:
        """See `TokenCounter.encode_reply`."""
        return json.encode({"totalTokens": input_tokens, "promptTokensDetails": [{"modality": "TEXT", "tokenCount": input_tokens}]})
