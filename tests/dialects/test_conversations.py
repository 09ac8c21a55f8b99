"""Conversations made up by hypothesis, through every dialect: what was said arrives, and the beginning of a conversation stays as it was.

A vendor's prompt cache hits only when the translated beginning of a conversation has the same bytes in every call.
"""

from __future__ import annotations

import contextlib
import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fkproxy.dialects import DIALECTS
from fkproxy.dialects.base import Dialect
from fkproxy.model.errors import Unrepresentable
from fkproxy.model.parts import Media, Message, Reasoning, Seal, Text, ToolCall, ToolResult
from fkproxy.model.request import ChatRequest, Sampling, Tool

MODELS = {"anthropic": "claude-sonnet-4-5", "openai_responses": "gpt-5"}
TURNS = {"openai_chat": "messages", "anthropic": "messages", "gemini": "contents", "openai_responses": "input"}
NAMES = ("look_up", "run")
TOOLS = tuple(Tool(name=name, parameters={"type": "object", "properties": {"a": {"type": "string"}}}) for name in NAMES)

words = st.text(alphabet=st.characters(codec="utf-8", exclude_categories=("Cs", "Cc")), min_size=1, max_size=12).filter(str.strip)
texts = st.builds(Text, text=words)
images = st.just(Media(kind="image", mime_type="image/png", data="iVBORw0KGgo="))
thoughts = st.builds(
    Reasoning, text=words, seal=st.none() | st.builds(Seal, dialect=st.sampled_from(["gemini", "anthropic"]), data=st.just("c2ln"))
)


@st.composite
def exchanges(draw: st.DrawFn, number: int) -> list[Message]:
    """A question, and an answer: at once, or by way of tools."""
    asked = draw(st.lists(st.one_of(texts, images), min_size=1, max_size=2))
    found = [Message(role="user", parts=(*asked, draw(texts)))]
    names = draw(st.lists(st.sampled_from(NAMES), max_size=2))
    if names:
        calls = [
            ToolCall(id=f"call_{number}_{index}", name=name, arguments=json.dumps({"a": draw(words)})) for index, name in enumerate(names)
        ]
        results = [ToolResult(call_id=call.id, name=call.name, parts=(draw(texts),)) for call in draw(st.permutations(calls))]
        found.append(Message(role="assistant", parts=(*draw(st.lists(thoughts, max_size=1)), *calls)))
        found += [Message(role="tool", parts=(result,)) for result in results]
    found.append(Message(role="assistant", parts=(draw(texts),)))
    return found


@st.composite
def conversations(draw: st.DrawFn) -> ChatRequest:
    messages = [Message(role="system", parts=(draw(texts),))] if draw(st.booleans()) else []
    for number in range(draw(st.integers(1, 3))):
        messages += draw(exchanges(number))
    messages.append(Message(role="user", parts=(draw(texts),)))
    return ChatRequest(
        dialect="nobody",
        model="m",
        messages=tuple(messages),
        tools=TOOLS,
        sampling=Sampling(max_output_tokens=draw(st.integers(100, 9000))),
    )


def through(dialect: Dialect, request: ChatRequest) -> ChatRequest:
    body = dialect.encode_request(request, MODELS.get(dialect.name, "gemini-2.5-pro")).body
    return dialect.decode_request(body, dialect.peek(body, "m:generateContent", ""))


def said(request: ChatRequest) -> dict[str, Any]:
    """What a conversation says, whatever the cuts, the order of results and the places of media that a dialect prescribes."""
    parts = [(message.role, part) for message in request.messages for part in message.parts]
    results = [part for _, part in parts if isinstance(part, ToolResult)]
    return {
        "texts": [(role, part.text) for role, part in parts if isinstance(part, Text)],
        "images": sum(1 for _, part in parts if isinstance(part, Media)),
        "calls": [(part.name, json.loads(part.arguments)) for _, part in parts if isinstance(part, ToolCall)],
        "results": sorted(_result(result) for result in results),
        "pairs": _pairs(request),
        "tools": [tool.name for tool in request.tools],
        "limit": request.sampling.max_output_tokens,
    }


def _result(result: ToolResult) -> str:
    """A text comes back from Gemini, which wants an object, within one, and as itself where it is one."""
    value = result.structured
    text = "".join(part.text for part in result.parts if isinstance(part, Text))
    if value is None:
        with contextlib.suppress(ValueError):
            value = json.loads(text)
    if not isinstance(value, dict):
        return text
    return str(value["result"]) if "result" in value else json.dumps(value)


def _pairs(request: ChatRequest) -> list[tuple[Any, str]]:
    """The arguments of each call with its result: ids may change, what belongs together may not."""
    results = {part.call_id: _result(part) for message in request.messages for part in message.parts if isinstance(part, ToolResult)}
    calls = [part for message in request.messages for part in message.parts if isinstance(part, ToolCall)]
    return [(json.loads(call.arguments), results[call.id]) for call in calls]


@pytest.mark.parametrize("last", DIALECTS)
@pytest.mark.parametrize("first", DIALECTS)
@settings(max_examples=30, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(request=conversations())
def test_what_was_said_arrives_by_way_of_any_two_dialects(first: str, last: str, request: ChatRequest) -> None:
    expected = said(request)
    asked = through(DIALECTS[first], request)
    assert said(asked) == expected
    assert said(through(DIALECTS[last], asked)) == expected


@pytest.mark.parametrize("name", DIALECTS)
@settings(max_examples=30, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(request=conversations(), more=exchanges(9))
def test_the_beginning_keeps_its_bytes_when_the_conversation_goes_on(name: str, request: ChatRequest, more: list[Message]) -> None:
    dialect = DIALECTS[name]
    model = MODELS.get(name, "gemini-2.5-pro")
    longer = ChatRequest(
        **{field: getattr(request, field) for field in request.__struct_fields__} | {"messages": (*request.messages, *more)}
    )
    try:
        short, long = (json.loads(dialect.encode_request(each, model).body) for each in (request, longer))
    except Unrepresentable:
        return
    turns = TURNS[name]
    head, tail = short.pop(turns), long.pop(turns)
    assert json.dumps(short) == json.dumps(long), "what stands before and beside the conversation"
    last = head.pop()
    assert [json.dumps(turn) for turn in tail[: len(head)]] == [json.dumps(turn) for turn in head]
    assert json.dumps(last)[:-2] in json.dumps(tail[len(head)]), "a last turn may be added to"


@pytest.mark.parametrize("name", DIALECTS)
@settings(max_examples=20, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(request=conversations())
def test_a_seal_goes_to_its_own_vendor_only(name: str, request: ChatRequest) -> None:
    body = DIALECTS[name].encode_request(request, MODELS.get(name, "gemini-2.5-pro")).body
    own = any(
        isinstance(part, Reasoning) and part.seal is not None and part.seal.dialect == name
        for message in request.messages
        for part in message.parts
    )
    assert own or b"c2ln" not in body
