"""count_tokens, both ends. Floor 1. Pure. Source: platform.claude.com/docs/en/api/messages-count-tokens, read 2026-11."""

from __future__ import annotations

import msgspec

from fkproxy.dialects.anthropic import request, request_encode
from fkproxy.dialects.base import Encoded, Peek
from fkproxy.model.errors import UpstreamProtocolError
from fkproxy.model.request import ChatRequest
from fkproxy.wire import json

__all__ = ["Counter"]

_COUNTED = ("model", "messages", "system", "tools", "tool_choice", "thinking", "cache_control", "output_config", "mcp_servers")


class _Answer(msgspec.Struct):
    input_tokens: int


class Counter:
    """See `dialects.base.TokenCounter`."""

    def decode_request(self, body: bytes, asked: Peek) -> ChatRequest:
        """A request like any other, without a limit to its answer."""
        fields = json.decode_request(body)
        return request.decode_request(json.encode({"max_tokens": 1, **fields}), asked.model)

    def encode_request(self, asked: ChatRequest, model: str) -> Encoded:
        """What counts of the request; the API refuses the rest."""
        encoded = request_encode.encode_request(asked, model)
        fields = msgspec.json.decode(encoded.body, type=dict[str, msgspec.Raw])
        return Encoded(json.encode({name: fields[name] for name in _COUNTED if name in fields}), encoded.losses)

    def decode_reply(self, body: bytes) -> int:
        """See `TokenCounter.decode_reply`."""
        try:
            return msgspec.json.decode(body, type=_Answer).input_tokens
        except json.MALFORMED as error:
            raise UpstreamProtocolError("the upstream's count of tokens is not one") from error

    def encode_reply(self, input_tokens: int) -> bytes:
        """See `TokenCounter.encode_reply`."""
        return json.encode({"input_tokens": input_tokens})
