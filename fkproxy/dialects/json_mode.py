"""JSON mode said in words. Floor 1. Pure."""

from __future__ import annotations

from fkproxy.model.parts import Message, Text
from fkproxy.model.request import ChatRequest, Loss

__all__ = ["JSON_ONLY", "asked_in_words"]

JSON_ONLY = "Answer with a single JSON object, without Markdown and without any other text."
"""Where a dialect has no switch for it, this is all there is."""


def asked_in_words(request: ChatRequest, losses: list[Loss]) -> tuple[Message, ...]:
    """The messages, with the instruction behind the system's first words where JSON mode is on and nobody has spoken of JSON.

    "'messages' must contain the word 'json' in some form, to use 'response_format' of type 'json_object'", says the 400 of who has the
    switch. What the model and its tools have said need not count.
    """
    messages = request.messages
    if request.output is None or request.output.kind != "json" or any(map(_speaks_of_json, messages)):
        return messages
    losses.append(Loss(field="response_format", action="converted"))
    first = next((index for index, message in enumerate(messages) if message.role != "system"), len(messages))
    return (*messages[:first], Message(role="system", parts=(Text(text=JSON_ONLY),)), *messages[first:])


def _speaks_of_json(message: Message) -> bool:
    return message.role in ("system", "user") and any(isinstance(part, Text) and "json" in part.text.lower() for part in message.parts)
