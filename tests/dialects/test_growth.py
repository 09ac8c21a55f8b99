"""A request four times as long takes about four times the work: one long one must not hold up everybody else's calls.

Counted are the interpreter's instructions, which are the same on every machine.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from types import FrameType
from typing import Any

import pytest

from fkproxy.dialects import DIALECTS, UPSTREAM_DIALECTS

FEW = 30
MODELS = {"anthropic": "claude-opus-4-6", "gemini": "gemini-2.5-pro"}


def instructions(do: Callable[[], Any]) -> int:
    """How many the interpreter takes for it."""
    count = 0

    def entered(frame: FrameType, _event: str, _value: Any) -> Any:
        frame.f_trace_opcodes, frame.f_trace_lines = True, False
        return counted

    def counted(_frame: FrameType, event: str, _value: Any) -> Any:
        nonlocal count
        count += event == "opcode"
        return counted

    before = sys.gettrace()
    sys.settrace(entered)
    try:
        do()
    finally:
        sys.settrace(before)
    return count


def said(role: str) -> Callable[[int], list[Any]]:
    return lambda many: [{"role": role, "content": "x"}] * many


def called_and_answered(many: int) -> list[Any]:
    messages: list[Any] = []
    for number in map(str, range(many)):
        call = {"id": number, "type": "function", "function": {"name": "f", "arguments": "{}"}}
        messages += [{"role": "assistant", "tool_calls": [call]}, {"role": "tool", "tool_call_id": number, "content": "x"}]
    return messages


def functions(many: int) -> list[Any]:
    """As they were before there were tools."""
    call = {"role": "assistant", "content": None, "function_call": {"name": "f", "arguments": "{}"}}
    return [call] * many + [{"role": "function", "name": "f", "content": "x"}] * many


@pytest.mark.parametrize("target", UPSTREAM_DIALECTS)
@pytest.mark.parametrize(
    "messages",
    [said("user"), said("assistant"), said("system"), called_and_answered, functions],
    ids=["user", "assistant", "system", "tools", "functions"],
)
def test_work_grows_with_the_messages(messages: Callable[[int], list[Any]], target: str) -> None:
    chat = DIALECTS["openai_chat"]

    def work(many: int) -> int:
        body = json.dumps({"model": "m", "messages": [{"role": "user", "content": "x"}, *messages(many)]}).encode()

        def translate() -> None:
            request = chat.decode_request(body, chat.peek(body, "", ""))
            UPSTREAM_DIALECTS[target].encode_request(request, MODELS.get(target, "gpt-5"))

        return instructions(translate)

    assert work(4 * FEW) < 5 * work(FEW)
