"""Results of tools behind the calls that asked for them, one for each. Floor 1. Pure.

Responses finds a result by its id, wherever it stands. Chat completions ("must be followed by tool messages responding to each
'tool_call_id'", says the 400), Anthropic and Gemini want the results of a turn's calls right behind it, before anybody says anything else.
None of them takes a call that nobody answered ("No tool output found for function call", "the number of function response parts is equal to
the number of function call parts"), which `function_call` of chat completions may be.
"""

from __future__ import annotations

from collections import Counter
from itertools import chain

from fkproxy.model.parts import Message, Text, ToolCall, ToolResult
from fkproxy.model.request import Loss

__all__ = ["NO_RESULT", "results_behind_calls", "with_results"]

NO_RESULT = "No result."


def results_behind_calls(messages: tuple[Message, ...]) -> tuple[Message, ...]:
    """The messages, those of tools moved forward where something stands between them and their calls."""
    for message in messages:
        if message.role == "tool":
            break
    else:
        return messages
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


def with_results(messages: tuple[Message, ...], losses: list[Loss]) -> tuple[Message, ...]:
    """The messages, and behind each call that has no result one that says so, which is reported as converted."""
    if not _has_calls(messages):
        return messages
    answered = _answered(messages)
    found: list[Message] = []
    missing: list[Message] = []
    for message in messages:
        if message.role != "tool" and not (message.role == "assistant" and found and found[-1].role == "assistant"):
            found += missing
            missing = []
        found.append(message)
        for call in message.parts:
            if isinstance(call, ToolCall) and not answered.pop():
                losses.append(Loss(field="tool_calls[]", action="converted"))
                result = ToolResult(call_id=call.id, name=call.name, parts=(Text(text=NO_RESULT),), is_error=True)
                missing.append(Message(role="tool", parts=(result,)))
    return (*found, *missing)


def _has_calls(messages: tuple[Message, ...]) -> bool:
    for message in messages:
        for part in message.parts:
            if type(part) is ToolCall:
                return True
    return False


def _answered(messages: tuple[Message, ...]) -> list[bool]:
    """Of each call, the last one first: it has a result. Some servers use an id again: a result is that of the last call before it."""
    found: list[bool] = []
    results: Counter[str] = Counter()
    for part in chain.from_iterable(reversed(message.parts) for message in reversed(messages)):
        if isinstance(part, ToolResult):
            results[part.call_id] += 1
        elif isinstance(part, ToolCall):
            found.append(results[part.id] > 0)
            results[part.id] -= found[-1]
    return found
