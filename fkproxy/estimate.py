"""How many tokens a request has, roughly, where nobody can count them. Floor 1. Pure.

Four bytes of text a token is what the vendors themselves give as a rule of thumb for English
(platform.openai.com/tokenizer, ai.google.dev/gemini-api/docs/tokens, read 2026-11); an image counts 258 (the latter).
"""

from __future__ import annotations

import re

from fkproxy.model.parts import Media, Reasoning, Refusal, Text, ToolCall, ToolResult
from fkproxy.model.request import ChatRequest
from fkproxy.model.usage import Usage
from fkproxy.wire import json

__all__ = ["estimate_tokens", "expected_usage"]

_BYTES_PER_TOKEN = 4
_TOKENS_PER_MESSAGE = 4
_TOKENS_PER_MEDIA = 258
_LIMIT = b'"max'
_OUTPUT_LIMIT = re.compile(rb'"max(?:(?:_completion|_output)?_?[tT]okens|OutputTokens)"\s*:\s*(\d{1,9})')
_MOST_LOOKS = 100
_USUAL_OUTPUT_TOKENS = 1024


def estimate_tokens(request: ChatRequest) -> int:
    """Input tokens, at least 1."""
    size_bytes, tokens = 0, 0
    for message in request.messages:
        tokens += _TOKENS_PER_MESSAGE
        for part in message.parts:
            size, extra = _weigh(part)
            size_bytes += size
            tokens += extra
    for tool in request.tools:
        size_bytes += len(json.encode([tool.name, tool.description, tool.parameters or tool.value]))
    return max(1, tokens + -(-size_bytes // _BYTES_PER_TOKEN))


def expected_usage(body: bytes, max_output_tokens: int | None = None) -> Usage:
    """An upper guess from the request's length and the output it allows.

    `max_output_tokens` is that output, 0 where the request does not say; None: it is looked for.
    """
    allowed = _allowed_output(body) if max_output_tokens is None else max_output_tokens or _USUAL_OUTPUT_TOKENS
    return Usage(input_tokens=len(body) // _BYTES_PER_TOKEN, output_tokens=min(allowed, _USUAL_OUTPUT_TOKENS * 8))


def _allowed_output(body: bytes) -> int:
    """The most that the request says, looked for without decoding it: to find a few bytes takes a tenth of what a pattern takes."""
    at, most = -1, 0
    for _ in range(_MOST_LOOKS):
        at = body.find(_LIMIT, at + 1)
        if at < 0:
            break
        if found := _OUTPUT_LIMIT.match(body, at):
            most = max(most, int(found[1]))
    return most or _USUAL_OUTPUT_TOKENS


def _weigh(part: object) -> tuple[int, int]:
    """(bytes of text, tokens beside them)"""
    match part:
        case Text(text=text) | Refusal(text=text) | Reasoning(text=text):
            return len(text.encode()), 0
        case ToolCall(name=name, arguments=arguments):
            return len(name.encode()) + len(arguments.encode()), 0
        case ToolResult(parts=parts, structured=structured):
            inner = [_weigh(each) for each in parts]
            written = len(json.encode(structured)) if structured is not None else 0
            return written + sum(size for size, _ in inner), sum(tokens for _, tokens in inner)
        case Media():
            return 0, _TOKENS_PER_MEDIA
    return 0, 0
