"""Requests of another dialect on their way to chat completions."""

from __future__ import annotations

import json
from typing import Any

import pytest

from fkproxy.dialects import DIALECTS
from fkproxy.dialects.base import Peek
from fkproxy.model.parts import Media, Message, Reasoning, Seal, Text, ToolCall, ToolResult
from fkproxy.model.request import ChatRequest, ReasoningConfig, Sampling

CHAT = DIALECTS["openai_chat"]
USER = Message(role="user", parts=(Text(text="hello"),))


def encode(*messages: Message, model: str = "m", **fields: Any) -> Any:
    request = ChatRequest(dialect="anthropic", model="m", messages=messages or (USER,), **fields)
    return json.loads(CHAT.encode_request(request, model).body)


@pytest.mark.parametrize(
    ("model", "name"),
    [
        ("gpt-4o", "max_tokens"),
        ("gpt-4.1", "max_tokens"),
        ("llama-3", "max_tokens"),
        ("gpt-oss-120b", "max_tokens"),
        ("o3-mini", "max_completion_tokens"),
        ("gpt-5-mini", "max_completion_tokens"),
        ("openai/gpt-5.1", "max_completion_tokens"),
    ],
)
def test_the_limit_has_the_name_that_the_model_takes(model: str, name: str) -> None:
    body = encode(model=model, sampling=Sampling(max_output_tokens=9))
    assert {field: value for field, value in body.items() if field.startswith("max_")} == {name: 9}


@pytest.mark.parametrize(
    ("texts", "expected"),
    [
        ((), "Error: "),
        (("a",), "Error: a"),
        (("a", "b"), [{"type": "text", "text": "Error: "}, {"type": "text", "text": "a"}, {"type": "text", "text": "b"}]),
    ],
)
def test_that_a_tool_failed_is_said(texts: tuple[str, ...], expected: Any) -> None:
    call = Message(role="assistant", parts=(ToolCall(id="1", name="f"),))
    result = ToolResult(call_id="1", parts=tuple(Text(text=text) for text in texts), is_error=True)
    assert encode(USER, call, Message(role="tool", parts=(result,)))["messages"][-1]["content"] == expected


@pytest.mark.parametrize("parts", [(), (Reasoning(text="hm"),)])
def test_an_answer_without_content_is_left_out(parts: Any) -> None:
    messages = encode(USER, Message(role="assistant", parts=parts), USER)["messages"]
    assert messages == [{"role": "user", "content": "hello"}] * 2


@pytest.mark.parametrize(
    ("model", "asked", "told", "lost"),
    [
        ("gpt-4o", "none", None, []),
        ("gpt-4o", "high", None, ["reasoning dropped"]),
        ("gpt-5-chat-latest", "high", None, ["reasoning dropped"]),
        ("o3", "none", "low", ["reasoning.effort converted"]),
        ("o3", "high", "high", []),
        ("gpt-5-mini", "none", "minimal", ["reasoning.effort converted"]),
        ("gpt-5", "max", "high", ["reasoning.effort converted"]),
        ("gpt-5-pro", "low", "high", ["reasoning.effort converted"]),
        ("openai/gpt-5.1", "minimal", "low", ["reasoning.effort converted"]),
        ("gpt-5.1-codex", "none", "low", ["reasoning.effort converted"]),
        ("gpt-5.1-codex-max", "max", "xhigh", ["reasoning.effort converted"]),
        ("openai/gpt-5.2-chat-latest", "none", "medium", ["reasoning.effort converted"]),
        ("gpt-5.2-pro", "low", "medium", ["reasoning.effort converted"]),
        ("gpt-5.2", "minimal", "low", ["reasoning.effort converted"]),
        ("gpt-5.4", "none", "none", []),
        ("gpt-5.4-mini", "max", "xhigh", ["reasoning.effort converted"]),
        ("gpt-5.6", "minimal", "low", ["reasoning.effort converted"]),
        ("gpt-5.6-sol", "max", "max", []),
        ("qwen3", "max", "max", []),
    ],
)
def test_effort_is_what_the_model_takes(model: str, asked: Any, told: str | None, lost: list[str]) -> None:
    def encoded(dialect: str) -> tuple[Any, list[str]]:
        request = ChatRequest(dialect=dialect, model="m", messages=(USER,), reasoning=ReasoningConfig(effort=asked))
        found = CHAT.encode_request(request, model)
        return json.loads(found.body).get("reasoning_effort"), [f"{loss.field} {loss.action}" for loss in found.losses]

    assert encoded("anthropic") == (told, lost)
    assert encoded("openai_chat") == (asked, [])


def said(*parts: Any) -> Message:
    return Message(role="assistant", parts=parts)


def test_what_the_model_says_in_a_row_is_one_message_that_its_results_follow() -> None:
    results = [Message(role="tool", parts=(ToolResult(call_id=name),)) for name in "ab"]
    history = (said(Text(text="wait")), said(ToolCall(id="a", name="f")), said(ToolCall(id="b", name="f")), *results)
    asked, *answers = encode(USER, *history)["messages"][1:]
    assert (asked["content"], [call["id"] for call in asked["tool_calls"]]) == ("wait", ["a", "b"])
    assert [answer["tool_call_id"] for answer in answers] == ["a", "b"]


IMAGE = Media(kind="image", mime_type="image/png", data="aGk=", seal=Seal(dialect="gemini", data="c2ln"))
SHOWN = [
    {"type": "text", "text": "Media in the answer:"},
    {"type": "image_url", "image_url": {"url": "data:image/png;base64,aGk="}},
]


@pytest.mark.parametrize(
    ("history", "roles"),
    [
        ((said(Text(text="here"), IMAGE), USER), ["user", "assistant", "user", "user"]),
        ((said(IMAGE),), ["user", "user"]),
        (
            (said(IMAGE, ToolCall(id="a", name="f")), Message(role="tool", parts=(ToolResult(call_id="a"),))),
            ["user", "assistant", "tool", "user"],
        ),
    ],
)
def test_media_that_the_model_made_are_in_the_users_hands(history: tuple[Message, ...], roles: list[str]) -> None:
    request = ChatRequest(dialect="gemini", model="m", messages=(USER, *history))
    found = CHAT.encode_request(request, "m")
    messages = json.loads(found.body)["messages"]
    assert [message["role"] for message in messages] == roles
    assert [message["content"] for message in messages if isinstance(message["content"], list)] == [SHOWN]
    assert [f"{loss.field} {loss.action}" for loss in found.losses] == ["seal dropped", "messages[].media converted"]


ITEM = {"role": "user", "content": "x"}


def sent(*items: dict[str, Any]) -> list[dict[str, Any]]:
    """What the items of a Responses request become."""
    body = json.dumps({"model": "m", "input": list(items)}).encode()
    request = DIALECTS["openai_responses"].decode_request(body, Peek(model="m"))
    found: list[dict[str, Any]] = json.loads(CHAT.encode_request(request, "m").body)["messages"]
    return found


def call(call_id: str) -> dict[str, Any]:
    return {"type": "function_call", "call_id": call_id, "name": "f", "arguments": "{}"}


def output(call_id: str) -> dict[str, Any]:
    return {"type": "function_call_output", "call_id": call_id, "output": f"of {call_id}"}


def test_a_turn_of_nothing_but_thoughts_is_left_out() -> None:
    thought = {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "c2Vh"}
    assert sent(ITEM, thought, ITEM) == [ITEM, ITEM]


def test_all_of_a_refusal_is_told() -> None:
    refused = [{"role": "assistant", "content": [{"type": "refusal", "refusal": text}]} for text in ("I won't. ", "Sorry.")]
    assert sent(ITEM, *refused)[1] == {"role": "assistant", "content": None, "refusal": "I won't. Sorry."}


def test_results_stand_right_behind_their_calls() -> None:
    found = sent(ITEM, call("a"), call("b"), output("b"), {"role": "user", "content": "hurry"}, output("a"), ITEM)
    assert [message.get("tool_call_id") or message["role"] for message in found] == ["user", "assistant", "b", "a", "user", "user"]
    assert [message["content"] for message in found if message["role"] == "user"] == ["x", "hurry", "x"]


def from_messages(**fields: Any) -> tuple[dict[str, Any], tuple[str, ...]]:
    """(body, losses) that an Anthropic request becomes."""
    body = json.dumps({"model": "m", "max_tokens": 9, "messages": [ITEM], **fields}).encode()
    encoded = CHAT.encode_request(DIALECTS["anthropic"].decode_request(body, Peek(model="m")), "m")
    return json.loads(encoded.body), tuple(loss.field for loss in encoded.losses)


def test_a_failed_tools_words_say_so_however_many_there_are() -> None:
    call = {"type": "tool_use", "id": "a", "name": "f", "input": {}}
    for texts in ([], ["one"], ["one", "two"]):
        result = {
            "type": "tool_result",
            "tool_use_id": "a",
            "is_error": True,
            "content": [{"type": "text", "text": text} for text in texts],
        }
        body, _ = from_messages(messages=[ITEM, {"role": "assistant", "content": [call]}, {"role": "user", "content": [result]}])
        content = body["messages"][-1]["content"]
        said = [content] if isinstance(content, str) else [part["text"] for part in content]
        assert said[0].startswith("Error:")
        assert " ".join(said).removeprefix("Error:").split() == texts
