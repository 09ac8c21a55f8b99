"""Messages of other dialects as turns. Floor 1. Pure.

Source: platform.claude.com/docs/en/api/messages and …/agents-and-tools/tool-use/handle-tool-calls, read 2026-11. What Anthropic insists
on and other dialects do not: the user speaks first; a call's id is of few characters and used once; the results of a turn's calls stand
in front of the very next turn, one for each; no text is empty or blank; no turn ends with a thought.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Sequence
from itertools import takewhile
from typing import Any

import msgspec

from fkproxy.dialects.anthropic.blocks import NAME
from fkproxy.dialects.anthropic.blocks_encode import Block, BlockWriter
from fkproxy.dialects.anthropic.caching import mark_last
from fkproxy.dialects.media import MADE
from fkproxy.dialects.pairing import NO_RESULT
from fkproxy.model.errors import Unrepresentable
from fkproxy.model.parts import Message
from fkproxy.model.request import Loss
from fkproxy.wire import json

__all__ = ["Turn", "called_names", "drop_thoughts", "encode_turns", "end_turns", "lacks_thoughts"]

Turn = dict[str, Any]

_NOT_IN_IDS = re.compile(r"[^a-zA-Z0-9_-]")
_FIRST = "(begin)"
_LAST = "(continue)"
"""What the user says where somebody has to say something."""
_MEDIA = ("image", "document")
_THOUGHTS = ("thinking", "redacted_thinking")
_RESULT = "tool_result"
_LOOP = ("tool_use", _RESULT)


def encode_turns(messages: tuple[Message, ...], losses: list[Loss]) -> tuple[list[Block], list[Turn]]:
    """(system, turns). Raises `Unrepresentable`."""
    writer = BlockWriter(own=False, losses=losses)
    leading = tuple(takewhile(lambda message: message.role == "system", messages))
    system = [block for message in leading for block in _blocks(writer, message)]
    if any(block["type"] != "text" for block in system):
        raise Unrepresentable("anything but text in a system message", NAME)
    turns: list[Turn] = []
    for message in messages[len(leading) :]:
        if message.role == "system":
            # Most models know one system prompt, and it stands in front: a later one keeps its place as the user's word.
            losses.append(Loss(field="messages[].role", action="converted"))
        _add(turns, "assistant" if message.role == "assistant" else "user", _blocks(writer, message))
    turns = _concluded(turns, losses)
    if not turns:
        losses.append(Loss(field="messages[].role" if system else "messages[].content", action="converted"))
        return [], [{"role": "user", "content": system or [_text(_FIRST)]}]
    if turns[0]["role"] == "assistant":
        # "first message must use the "user" role", says the 400 of some who serve these models.
        losses.append(Loss(field="messages[].role", action="converted"))
        turns.insert(0, {"role": "user", "content": [_text(_FIRST)]})
    return system, _paired(turns, losses)


def lacks_thoughts(turns: Sequence[Turn | msgspec.Raw]) -> bool:
    """Calls are being answered, and no thoughts led to them, nor to those before them in the turn. A message is decoded, or as it came.

    "If thinking is enabled, the final assistant turn must start with a thinking block", and "tool use loops are part of the assistant turn"
    (…/build-with-claude/extended-thinking, of models with a budget): without interleaved thinking there is none before its later calls.
    """
    kinds = map(_begins_with, reversed(turns))
    return next(kinds, None) == _RESULT and next((kind for kind in kinds if kind not in _LOOP), None) not in _THOUGHTS


def _begins_with(turn: Turn | msgspec.Raw) -> str | None:
    """The type of a message's first block that is no text; None where there is none."""
    value = json.try_object(bytes(turn)) if isinstance(turn, msgspec.Raw) else turn
    content = value.get("content") if value is not None else None
    kinds = [block.get("type") for block in content if isinstance(block, dict)] if isinstance(content, list) else []
    return next((kind for kind in kinds if kind != "text"), None)


def called_names(turns: list[Turn]) -> list[str]:
    """The names of the tools that were called, each once."""
    return list(dict.fromkeys(block["name"] for turn in turns for block in turn["content"] if block["type"] == "tool_use"))


def drop_thoughts(turns: list[Turn], losses: list[Loss]) -> None:
    """Take the thoughts out, for a model that is not to think.

    "When thinking is disabled, an `assistant` message in the final position cannot contain `thinking`", says the 400.
    """
    for turn in turns:
        content: list[Block] = turn["content"]
        kept = [block for block in content if block["type"] not in _THOUGHTS]
        if len(kept) < len(content):
            losses.append(Loss(field="reasoning"))
            turn["content"] = kept


def end_turns(turns: list[Turn], *, prefill: bool, losses: list[Loss]) -> None:
    """See to the last turn if it is the assistant's, whose words the model would go on with."""
    last = turns[-1]
    if last["role"] == "user":
        return
    final = last["content"][-1]
    if prefill and final["type"] == "text":
        # "final assistant content cannot end with trailing whitespace", says the 400.
        final["text"] = final["text"].rstrip()
        return
    losses.append(Loss(field="messages[].role", action="converted"))
    turns.append({"role": "user", "content": [_text(_LAST)]})


def _blocks(writer: BlockWriter, message: Message) -> list[Block]:
    blocks = writer.blocks(message.parts)
    mark_last(blocks, message.extra)
    return blocks


def _text(text: str) -> Block:
    return {"type": "text", "text": text}


def _add(turns: list[Turn], role: str, blocks: list[Block]) -> None:
    """Put blocks behind the others, into the last turn if it is of the same role."""
    if not blocks:
        return
    if turns and turns[-1]["role"] == role:
        turns[-1]["content"] += blocks
    else:
        turns.append({"role": role, "content": blocks})


def _concluded(turns: list[Turn], losses: list[Loss]) -> list[Turn]:
    """The turns without the thoughts that lead to nothing, and with the model's media in the user's hands.

    "The final block in an assistant message cannot be `thinking`", says the 400: it comes from an answer that was broken off. And
    "'image' blocks are not permitted within assistant turns": models of other vendors make some.
    """
    concluded: list[Turn] = []
    for turn in turns:
        content: list[Block] = turn["content"]
        media: list[Block] = []
        if turn["role"] == "assistant":
            media = [block for block in content if block["type"] in _MEDIA]
            content = [block for block in content if block["type"] not in _MEDIA]
            while content and content[-1]["type"] in _THOUGHTS:
                content.pop()
                losses.append(Loss(field="reasoning"))
        _add(concluded, turn["role"], content)
        if media:
            losses.append(Loss(field="messages[].media", action="converted"))
            _add(concluded, "user", [_text(MADE), *media])
    return concluded


def _paired(turns: list[Turn], losses: list[Loss]) -> list[Turn]:
    """The turns with a result for every call right behind it, in the calls' order, and a call before every result."""
    paired: list[Turn] = []
    used: dict[str, int] = {}
    calls: list[Block] = []
    for turn in turns:
        content: list[Block] = turn["content"]
        if turn["role"] == "assistant":
            paired.append(turn)
            calls = [block for block in content if block["type"] == "tool_use"]
            continue
        results = [block for block in content if block["type"] == "tool_result"]
        said = [block for block in content if block["type"] != "tool_result"]
        waiting: dict[str, deque[Block]] = {}
        for result in results:
            waiting.setdefault(result["tool_use_id"], deque()).append(result)
        answers = [_answer(call, waiting, losses) for call in calls]
        _rename(calls, answers, used)
        left = {id(result) for results_of_one in waiting.values() for result in results_of_one}
        strays = [block for result in results if id(result) in left for block in _as_said(result)]
        if strays:
            losses.append(Loss(field="tool_result", action="converted"))
        paired.append({"role": "user", "content": [*answers, *strays, *said]})
        calls = []
    if calls:
        answers = [_answer(call, {}, losses) for call in calls]
        _rename(calls, answers, used)
        paired.append({"role": "user", "content": answers})
    return paired


def _answer(call: Block, waiting: dict[str, deque[Block]], losses: list[Loss]) -> Block:
    """The call's result, taken out of those that wait by their id; one that says that there is none where it is missing."""
    results = waiting.get(call["id"])
    if not results:
        losses.append(Loss(field="tool_calls[]", action="converted"))
        return {"type": "tool_result", "tool_use_id": call["id"], "content": NO_RESULT, "is_error": True}
    return results.popleft()


def _rename(calls: list[Block], answers: list[Block], used: dict[str, int]) -> None:
    """Ids in the characters that are allowed, each one once in the conversation. `used`: how often each has been wanted."""
    for call, answer in zip(calls, answers, strict=True):
        plain = call_id = _NOT_IN_IDS.sub("_", call["id"]) or "call"
        while call_id in used:
            used[plain] += 1
            call_id = f"{plain}_{used[plain]}"
        used[call_id] = 1
        call["id"] = answer["tool_use_id"] = call_id


def _as_said(result: Block) -> list[Block]:
    """A result that no call asked for, in the user's words."""
    content = result.get("content") or []
    blocks: list[Block] = [_text(content)] if isinstance(content, str) else content
    return [_text(f"Result of the tool call {result['tool_use_id']}:"), *blocks]
