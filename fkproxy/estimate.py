"""How many tokens a request has, roughly, where nobody can count them. Floor 1. Pure.

Four bytes of text a token is what the vendors themselves give as a rule of thumb for English
(platform.openai.com/tokenizer, ai.google.dev/gemini-api/docs/tokens, read 2026-11); an image counts 258 (the latter).

What a request may use is guessed without decoding it, and on the high side. Media in base64 are no text: an image counts up to some 1,600
tokens with Anthropic (docs.claude.com/en/docs/vision), a second of audio 32 and one of video 263 with Google (both read 2026-11). Of a PDF
the text counts, too: it is taken for text. Who asks for several answers pays for each (platform.openai.com/docs/api-reference/chat/create).
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
_CANDIDATES = b'"candidate'
_CANDIDATE_COUNT = re.compile(rb'"candidate_?[cC]ount"\s*:\s*(\d{1,3})(?!\d)')
_MOST_CHOICES = 128
"""OpenAI gives no more; Google gives eight."""
_MEDIUM = b'"data'
_LEAST_ENCODED_BYTES = 1000
_ENCODED = re.compile(rb'(?<!\\)"data(?::[^",]{0,100};base64,|"\s*:\s*")(?!JVBERi)[A-Za-z0-9+/_=\\-]{%d}' % _LEAST_ENCODED_BYTES)
"""The beginning of a medium: a `data:` address, or a field `data`. What follows is no PDF, which begins with "%PDF"."""
_STEP_BYTES = 8192
"""Smaller media may be taken for text: few tokens either way."""
_MOST_TOKENS_PER_MEDIUM = 1600
_ENCODED_BYTES_PER_TOKEN = 256
"""Of video with one megabit a second."""
_MOST_LOOKS = 100
_USUAL_OUTPUT_TOKENS = 1024
_MOST_OUTPUT_TOKENS = _USUAL_OUTPUT_TOKENS * 8


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


def expected_usage(body: bytes, max_output_tokens: int | None = None, choices: int = 0) -> Usage:
    """An upper guess from the request's length and the output it allows.

    `max_output_tokens` is that output for each of so many `choices`, 0 where the request does not say; None: both are looked for.
    """
    if max_output_tokens is None:
        max_output_tokens, choices = _most(body, _LIMIT, _OUTPUT_LIMIT), _most(body, _CANDIDATES, _CANDIDATE_COUNT)
    made = max_output_tokens or _USUAL_OUTPUT_TOKENS
    if made > _MOST_OUTPUT_TOKENS:
        made = _MOST_OUTPUT_TOKENS
    if choices > 1:
        made *= min(choices, _MOST_CHOICES)
    media, encoded_bytes = _media(body)
    text_tokens = (len(body) - encoded_bytes) // _BYTES_PER_TOKEN
    given = text_tokens + media * _MOST_TOKENS_PER_MEDIUM + encoded_bytes // _ENCODED_BYTES_PER_TOKEN
    return Usage(input_tokens=given, output_tokens=made)


def _media(body: bytes) -> tuple[int, int]:
    """(how many, their bytes)

    Most requests have none and are not searched: where text has no blank for so long it is encoded, if it is text at all.
    """
    for at in range(_STEP_BYTES, len(body) - _LEAST_ENCODED_BYTES, _STEP_BYTES):
        if body.find(b" ", at, at + _LEAST_ENCODED_BYTES) < 0:
            break
    else:
        return 0, 0
    at, media, size_bytes = -1, 0, 0
    for _ in range(_MOST_LOOKS):
        at = body.find(_MEDIUM, at + 1)
        if at < 0:
            break
        if found := _ENCODED.match(body, at):
            end = body.find(b'"', found.end())
            media += 1
            size_bytes += (end if end >= 0 else len(body)) - at
            at = max(at, end)
    return media, size_bytes


def _most(body: bytes, mark: bytes, pattern: re.Pattern[bytes]) -> int:
    """The most that the request says, 0 where it says nothing. It is looked for without decoding the request, by how the pattern begins:
    to find a few bytes takes a tenth of what a pattern takes.
    """
    at, most = -1, 0
    for _ in range(_MOST_LOOKS):
        at = body.find(mark, at + 1)
        if at < 0:
            break
        if found := pattern.match(body, at):
            most = max(most, int(found[1]))
    return most


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
