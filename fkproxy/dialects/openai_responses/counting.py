"""input_tokens, both ends. Floor 1. Pure. Source: OpenAI API reference, "Get input token counts", and openai 3.52, read 2026-11."""

from __future__ import annotations

import msgspec

from fkproxy.dialects import counts
from fkproxy.dialects.base import Encoded, Peek
from fkproxy.dialects.openai_responses import request, request_encode
from fkproxy.model.errors import Unrepresentable
from fkproxy.model.request import ChatRequest, Sampling
from fkproxy.wire import json

__all__ = ["Counter"]

_COUNTED = ("model", "input", "instructions", "tools", "tool_choice", "parallel_tool_calls", "reasoning", "text", "truncation")

_ELSEWHERE = ("previous_response_id", "conversation", "prompt")


class Counter:
    """See `dialects.base.TokenCounter`."""

    def decode_request(self, body: bytes, asked: Peek) -> ChatRequest:
        """A request like any other. Raises also `Unrepresentable` for one that goes on from what only the vendor has."""
        decoded = request.decode_request(body, asked.model)
        for name in _ELSEWHERE:
            if name in decoded.extra:
                raise Unrepresentable(name, "foreign", "what it stands for counts, and only the vendor has it")
        return decoded

    def encode_request(self, asked: ChatRequest, model: str) -> Encoded:
        """What counts of the request; the API has no place for the rest."""
        return counts.only(_COUNTED, request_encode.encode_request(msgspec.structs.replace(asked, sampling=Sampling()), model))

    def decode_reply(self, body: bytes) -> int:
        """See `TokenCounter.decode_reply`."""
        return counts.input_tokens(body)

    def encode_reply(self, input_tokens: int) -> bytes:
        """See `TokenCounter.encode_reply`."""
        return json.encode({"object": "response.input_tokens", "input_tokens": input_tokens})
