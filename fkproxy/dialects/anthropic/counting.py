"""count_tokens, both ends. Floor 1. Pure. Source: platform.claude.com/docs/en/api/messages-count-tokens, read 2026-11."""

from __future__ import annotations

from fkproxy.dialects import counts
from fkproxy.dialects.anthropic import request, request_encode
from fkproxy.dialects.base import Encoded, Peek
from fkproxy.model.request import ChatRequest
from fkproxy.wire import json

__all__ = ["Counter"]

_COUNTED = ("model", "messages", "system", "tools", "tool_choice", "thinking", "cache_control", "output_config", "mcp_servers")


class Counter:
    """See `dialects.base.TokenCounter`."""

    def decode_request(self, body: bytes, asked: Peek) -> ChatRequest:
        """A request like any other, without a limit to its answer."""
        fields = json.decode_request(body)
        return request.decode_request(json.encode({**fields, "max_tokens": 1}), asked.model)

    def encode_request(self, asked: ChatRequest, model: str) -> Encoded:
        """What counts of the request; the API refuses the rest."""
        return counts.only(_COUNTED, request_encode.encode_request(asked, model))

    def decode_reply(self, body: bytes) -> int:
        """See `TokenCounter.decode_reply`."""
        return counts.input_tokens(body)

    def encode_reply(self, input_tokens: int) -> bytes:
        """See `TokenCounter.encode_reply`."""
        return json.encode({"input_tokens": input_tokens})
