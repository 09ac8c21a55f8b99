"""Results of tools behind the calls that asked for them. Floor 1. Pure.

Responses finds a result by its id, wherever it stands. Chat completions ("must be followed by tool messages responding to each
'tool_call_id'", says the 400), Anthropic and Gemini want the results of a turn's calls right behind it, before anybody says anything else.
"""

from __future__ import annotations

from itertools import chain

from fkproxy.model.parts import Message, ToolCall, ToolResult

__all__ = ["results_behind_calls"]


def results_behind_calls(messages: tuple[Message, ...]) -> tuple[Message, ...]:
    """The messages, those of tools moved forward where something stands between them and their calls."""
    groups: list[list[Message]] = [[]]
    asked: dict[str, list[Message]] = {}
    for message in messages:
        if message.role == "tool":
            ids = (part.call_id for part in message.parts if isinstance(part, ToolResult))
            asked.get(next(ids, ""), groups[-1]).append(message)
            continue
        if not (message.role == "assistant" and groups[-1] and groups[-1][-1].role == "assistant"):
            groups.append([])
        groups[-1].append(message)
        asked.update((part.id, groups[-1]) for part in message.parts if isinstance(part, ToolCall))
    return tuple(chain.from_iterable(groups))
