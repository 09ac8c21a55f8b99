"""JSON mode, or a schema, said in words. Floor 1. Pure."""

from __future__ import annotations

import msgspec

from fkproxy.model.parts import Message, Text
from fkproxy.model.request import ChatRequest, Loss
from fkproxy.wire import json

__all__ = ["JSON_ONLY", "asked_in_words", "output_in_words"]

JSON_ONLY = "Answer with a single JSON object, without Markdown and without any other text."
"""Where a dialect has no switch for it, this is all there is."""
_MATCHING = "Answer with JSON that matches this JSON Schema, without Markdown and without any other text: "


def asked_in_words(request: ChatRequest, losses: list[Loss]) -> tuple[Message, ...]:
    """The messages, with the instruction behind the system's first words where JSON mode is on and nobody has spoken of JSON.

    "'messages' must contain the word 'json' in some form, to use 'response_format' of type 'json_object'", says the 400 of who has the
    switch. What the model and its tools have said need not count.
    """
    messages = request.messages
    if request.output is None or request.output.kind != "json" or any(map(_speaks_of_json, messages)):
        return messages
    losses.append(Loss(field="response_format", action="converted"))
    return _instructed(messages, JSON_ONLY)


def output_in_words(request: ChatRequest, losses: list[Loss]) -> ChatRequest:
    """The request with the form of its answer behind the system's first words, for a model that does not take it otherwise."""
    if request.output is None or request.output.kind == "text":
        return request
    losses.append(Loss(field="response_format", action="converted"))
    words = JSON_ONLY if request.output.schema_ is None else _MATCHING + json.encode(request.output.schema_).decode()
    return msgspec.structs.replace(request, messages=_instructed(request.messages, words), output=None)


def _instructed(messages: tuple[Message, ...], words: str) -> tuple[Message, ...]:
    first = next((index for index, message in enumerate(messages) if message.role != "system"), len(messages))
    return (*messages[:first], Message(role="system", parts=(Text(text=words),)), *messages[first:])


def _speaks_of_json(message: Message) -> bool:
    return message.role in ("system", "user") and any(isinstance(part, Text) and "json" in part.text.lower() for part in message.parts)
