"""Chat completions requests: what is refused and how it is said, and the way to a server of the same dialect."""

from __future__ import annotations

import json
from typing import Any

import pytest

from fkproxy.dialects import DIALECTS
from fkproxy.dialects.base import Peek
from fkproxy.model.errors import InvalidRequest
from fkproxy.model.parts import Media, Seal, Text, ToolCall, ToolResult
from fkproxy.model.request import ReasoningConfig, ToolChoice

CHAT = DIALECTS["openai_chat"]
USER = [{"role": "user", "content": "hello"}]


def decode(**fields: Any) -> Any:
    body = json.dumps({"model": "m", "messages": USER, **fields}).encode()
    return CHAT.decode_request(body, CHAT.peek(body, "", ""))


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({"model": "m"}, Peek(model="m", stream=False, include_usage=False, may_think=False)),
        ({"model": "m", "stream": None, "stream_options": None}, Peek(model="m", stream=False, include_usage=False, may_think=False)),
        ({"model": "m", "stream": True}, Peek(model="m", stream=True, include_usage=False, may_think=False)),
        (
            {"stream_options": {"include_usage": True}, "stream": True, "model": "m"},
            Peek(model="m", stream=True, include_usage=True, may_think=False),
        ),
        ({"model": "m", "reasoning_effort": 5}, Peek(model="m", include_usage=False)),
        ({"model": "m", "reasoning": {"effort": "low"}}, Peek(model="m", include_usage=False)),
    ],
)
def test_what_routing_needs(body: dict[str, Any], expected: Peek) -> None:
    assert CHAT.peek(json.dumps(body).encode(), "", "") == expected


@pytest.mark.parametrize(
    ("body", "path"),
    [
        (b"", None),
        (b"{", None),
        (b"[]", None),
        (b"null", None),
        (b'{"messages": []}', "model"),
        (b'{"model": null}', "model"),
        (b'{"model": ""}', "model"),
        (b'{"model": 1}', "model"),
        (b'{"model": "m", "stream": "yes"}', "stream"),
        (b'{"model": "m", "stream_options": []}', "stream_options"),
        (b'{"model": "m", "x": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", None),
    ],
)
def test_what_cannot_be_routed_is_refused(body: bytes, path: str | None) -> None:
    with pytest.raises(InvalidRequest) as caught:
        CHAT.peek(body, "", "")
    assert caught.value.param == path


@pytest.mark.parametrize(
    ("fields", "path"),
    [
        ({"messages": []}, "messages"),
        ({"messages": "x"}, "messages"),
        ({"messages": [1]}, "messages[0]"),
        ({"messages": [{}]}, "messages[0].role"),
        ({"messages": [{"role": "alien", "content": "x"}]}, "messages[0].role"),
        ({"messages": [{"role": "user"}]}, "messages[0].content"),
        ({"messages": [{"role": "user", "content": 5}]}, "messages[0].content"),
        ({"messages": [{"role": "user", "content": [{"text": "x"}]}]}, "messages[0].content[0].type"),
        ({"messages": [{"role": "user", "content": [{"type": "text"}]}]}, "messages[0].content[0].text"),
        ({"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {}}]}]}, "messages[0].content[0].image_url.url"),
        (
            {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "file:///etc/passwd"}}]}]},
            "messages[0].content[0].image_url.url",
        ),
        (
            {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:image/png;base64,!"}}]}]},
            "messages[0].content[0].image_url.url",
        ),
        (
            {"messages": [{"role": "user", "content": [{"type": "input_audio", "input_audio": {"data": "AAAA"}}]}]},
            "messages[0].content[0].input_audio.format",
        ),
        ({"messages": [{"role": "user", "content": [{"type": "file", "file": {}}]}]}, "messages[0].content[0].file"),
        ({"messages": [{"role": "tool", "content": "x"}]}, "messages[0].tool_call_id"),
        ({"messages": [{"role": "assistant", "tool_calls": [{"id": "a"}]}]}, "messages[0].tool_calls[0].function"),
        ({"tools": {}}, "tools"),
        ({"tools": [{"type": "function", "function": {}}]}, "tools[0].function.name"),
        ({"tools": [{"type": "function", "function": {"name": "spaces are bad"}}]}, "tools[0].function.name"),
        ({"tools": [{"type": "function", "function": {"name": "f", "parameters": []}}]}, "tools[0].function.parameters"),
        ({"tool_choice": "some"}, "tool_choice"),
        ({"tool_choice": {"type": "function"}}, "tool_choice.function"),
        ({"temperature": 2.1}, "temperature"),
        ({"temperature": True}, "temperature"),
        ({"top_p": -0.1}, "top_p"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"max_completion_tokens": 1.5}, "max_completion_tokens"),
        ({"n": 0}, "n"),
        ({"stop": [1]}, "stop"),
        ({"seed": "x"}, "seed"),
        ({"logit_bias": []}, "logit_bias"),
        ({"reasoning_effort": "much"}, "reasoning_effort"),
        ({"response_format": {"type": "yaml"}}, "response_format.type"),
        ({"response_format": {"type": "json_schema"}}, "response_format.json_schema"),
        ({"extra_body": {"google": {"thinking_config": {"thinking_budget": "x"}}}}, "extra_body.google.thinking_config"),
    ],
)  # fmt: skip
def test_a_wrong_field_is_named(fields: dict[str, Any], path: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        decode(**fields)
    assert caught.value.param == path
    assert len(str(caught.value)) < 200


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"reasoning_effort": "low"}, ReasoningConfig(effort="low")),
        ({"reasoning": {"effort": "high", "exclude": True}}, ReasoningConfig(effort="high", include_thoughts=False)),
        ({"reasoning": {"max_tokens": 500}}, ReasoningConfig(budget_tokens=500)),
        ({"reasoning": {"enabled": False}}, ReasoningConfig(effort="none")),
        ({"google": {"thinking_config": {"thinking_budget": 0}}}, ReasoningConfig(budget_tokens=0)),
        (
            {"extra_body": {"google": {"thinking_config": {"thinking_level": "LOW", "include_thoughts": True}}}},
            ReasoningConfig(effort="low", include_thoughts=True),
        ),
        ({}, None),
    ],
)
def test_reasoning_in_every_place_that_is_in_use(fields: dict[str, Any], expected: ReasoningConfig | None) -> None:
    assert decode(**fields).reasoning == expected


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"tool_choice": "none"}, ToolChoice(mode="none")),
        ({"tool_choice": "any"}, ToolChoice(mode="required")),
        ({"tool_choice": {"type": "function", "function": {"name": "f"}}}, ToolChoice(mode="required", names=("f",))),
        ({"function_call": {"name": "f"}}, ToolChoice(mode="required", names=("f",))),
        ({"function_call": "auto"}, ToolChoice(mode="auto")),
    ],
)
def test_the_choice_of_tools(fields: dict[str, Any], expected: ToolChoice) -> None:
    assert decode(**fields).tool_choice == expected


def test_the_newer_limit_wins_over_the_older() -> None:
    assert decode(max_tokens=5, max_completion_tokens=7).sampling.max_output_tokens == 7
    assert decode(max_tokens=5).sampling.max_output_tokens == 5


def test_a_result_learns_its_tools_name_and_a_call_keeps_its_seal() -> None:
    call = {
        "id": "a",
        "type": "function",
        "function": {"name": "f", "arguments": ""},
        "extra_content": {"google": {"thought_signature": "s"}},
    }
    request = decode(messages=[*USER, {"role": "assistant", "tool_calls": [call]}, {"role": "tool", "tool_call_id": "a", "content": "1"}])
    assert request.messages[1].parts == (ToolCall(id="a", name="f", arguments="{}", seal=Seal(dialect="gemini", data="s")),)
    assert request.messages[2].parts == (ToolResult(call_id="a", name="f", parts=(Text(text="1"),)),)


@pytest.mark.parametrize("data", ["AAAA", "AA-_", "AAA", "AA\nAA", "AA=="])
def test_base64_is_taken_in_every_common_spelling(data: str) -> None:
    part = {"type": "image_url", "image_url": {"url": f"data:image/PNG;charset=x;base64,{data}"}}
    (media,) = decode(messages=[{"role": "user", "content": [part]}]).messages[0].parts
    assert isinstance(media, Media)
    assert media.mime_type == "image/png"
    assert media.data is not None
    assert len(media.data) % 4 == 0
    assert not set(media.data) & set("-_\n")


def test_a_forwarded_body_keeps_the_bytes_of_what_it_does_not_touch() -> None:
    body = b'{ "z":1.50e3 , "model":"m","messages":[ {"role" : "user","content":"\\u00e9"} ],"stream":true,"stream_options":{"x":1} }'
    sent = CHAT.forward_request(body, CHAT.peek(body, "", ""), "n")
    assert sent == (
        b'{"z":1.50e3,"model":"n","messages":[ {"role" : "user","content":"\\u00e9"} ],"stream":true,'
        b'"stream_options":{"x":1,"include_usage":true}}'
    )


def test_what_is_null_says_nothing_elsewhere() -> None:
    said = {"role": "assistant", "content": "a", "audio": None, "annotations": None}
    call = {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}, "note": None}
    asked = decode(messages=[*USER, said, {"role": "assistant", "tool_calls": [call]}], web_search_options=None, prediction=None)
    for dialect in ("anthropic", "gemini", "openai_responses"):
        assert not {loss.field for loss in DIALECTS[dialect].encode_request(asked, "m").losses} - {"tool_calls[]", "messages[].role"}


SEALED = {"google": {"thought_signature": "c2ln"}}
TURNS = [
    {"role": "user", "content": "u"},
    {
        "role": "assistant",
        "content": "t",
        "extra_content": SEALED,
        "tool_calls": [{"id": "a", "type": "function", "function": {"name": "f", "arguments": "{}"}, "extra_content": SEALED}],
    },
    {"role": "tool", "tool_call_id": "a", "content": "r"},
]


@pytest.mark.parametrize(
    ("asked", "model", "kept"),
    [
        ("gemini-3-pro-preview", "gpt-4.1", False),
        ("openai/gpt-5", "gpt-5", False),
        ("gemini/gemini-3-pro-preview", "gemini-3-pro-preview", True),
        ("gemini-3-pro-preview", "llama-3", True),
        ("gpt-4.1", "gpt-4.1", True),
    ],
)
def test_signatures_do_not_go_to_a_model_that_refuses_them(asked: str, model: str, kept: bool) -> None:
    body = json.dumps({"model": asked, "messages": TURNS}).encode()
    sent = json.loads(CHAT.forward_request(body, CHAT.peek(body, "", ""), model))
    plain = [{name: value for name, value in message.items() if name != "extra_content"} for message in TURNS]
    plain[1]["tool_calls"] = [{"id": "a", "type": "function", "function": {"name": "f", "arguments": "{}"}}]
    assert sent == {"model": model, "messages": TURNS if kept else plain}


def test_messages_that_hold_signatures_and_are_none_are_named() -> None:
    body = b'{"model": "m", "messages": ["\\"extra_content\\"", {"extra_content": 1}]}'
    with pytest.raises(InvalidRequest) as caught:
        CHAT.forward_request(body, CHAT.peek(body, "", ""), "gpt-4.1")
    assert caught.value.param == "messages"


FUNCTION = {"name": "f", "parameters": {"type": "object", "properties": {}}}
TOOL = {"type": "function", "function": FUNCTION}


@pytest.mark.parametrize(
    ("fields", "parallel"),
    [
        ({"functions": [FUNCTION]}, False),
        ({"functions": [FUNCTION], "parallel_tool_calls": True}, False),
        ({"functions": []}, None),
        ({"functions": [FUNCTION], "tools": [TOOL]}, None),
        ({"tools": [TOOL], "parallel_tool_calls": True}, True),
    ],
)
def test_who_can_be_told_one_call_asks_for_no_more(fields: dict[str, Any], parallel: bool | None) -> None:
    assert decode(**fields).parallel_tool_calls is parallel
