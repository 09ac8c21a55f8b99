"""What Gemini insists on and other dialects do not."""

from __future__ import annotations

import json
from typing import Any

import pytest

from fkproxy.dialects import DIALECTS
from fkproxy.dialects.base import Peek
from fkproxy.model.errors import InvalidRequest

CHAT, GEMINI = DIALECTS["openai_chat"], DIALECTS["gemini"]
CALLS = [
    {"id": "a", "type": "function", "function": {"name": "f", "arguments": "{}"}},
    {"id": "b", "type": "function", "function": {"name": "g", "arguments": "not json"}},
]
PNG = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}


def encoded(messages: list[Any], model: str = "gemini-2.5-flash", **fields: Any) -> dict[str, Any]:
    body = json.dumps({"model": model, "messages": messages, **fields}).encode()
    request = CHAT.decode_request(body, CHAT.peek(body, "", ""))
    result: dict[str, Any] = json.loads(GEMINI.encode_request(request, model).body)
    return result


def result(call_id: str, content: Any) -> dict[str, Any]:
    return {"role": "tool", "tool_call_id": call_id, "content": content}


def test_results_stand_in_one_content_in_the_order_of_the_calls() -> None:
    messages = [{"role": "user", "content": "u"}, {"role": "assistant", "content": None, "tool_calls": CALLS}]
    contents = encoded([*messages, result("b", "2"), result("a", '{"x": 1}'), {"role": "user", "content": "go on"}])["contents"]
    assert [content["role"] for content in contents] == ["user", "model", "user", "user"]
    assert [part["functionResponse"] for part in contents[2]["parts"]] == [
        {"name": "f", "response": {"x": 1}},
        {"name": "g", "response": {"result": "2"}},
    ]
    assert contents[1]["parts"][1]["functionCall"]["args"] == {"arguments": "not json"}


@pytest.mark.parametrize(
    ("content", "response"),
    [
        ("plain", {"result": "plain"}),
        ("[1]", {"result": "[1]"}),
        ('{"a": 1}', {"a": 1}),
        ('{"$ref": "x"}', {"result": '{"$ref": "x"}'}),
        ('{"a": [{"$ref": 1}]}', {"result": '{"a": [{"$ref": 1}]}'}),
        ("", {"result": ""}),
    ],
)
def test_a_result_is_an_object_and_never_a_reference(content: str, response: dict[str, Any]) -> None:
    messages = [{"role": "assistant", "content": None, "tool_calls": CALLS[:1]}, result("a", content)]
    assert encoded(messages)["contents"][1]["parts"][0]["functionResponse"]["response"] == response


def test_an_image_in_a_result_stands_where_the_model_takes_it() -> None:
    messages = [
        {"role": "assistant", "content": None, "tool_calls": CALLS[:1]},
        result("a", [{"type": "text", "text": "see"}, PNG]),
    ]
    inline = {"inlineData": {"mimeType": "image/png", "data": "AAAA"}}
    assert encoded(messages, "gemini-3-pro-preview")["contents"][1]["parts"][0]["functionResponse"]["parts"] == [inline]
    assert encoded(messages, "gemini-2.5-pro")["contents"][1]["parts"][1] == inline


def test_a_lost_signature_is_replaced_by_the_documented_marker_where_one_is_wanted() -> None:
    messages = [
        {"role": "user", "content": "u"},
        {"role": "assistant", "content": "t", "tool_calls": CALLS},
        result("a", "1"),
        result("b", "2"),
    ]
    signed = encoded(messages, "gemini-3-pro-preview")["contents"][1]["parts"]
    assert [part.get("thoughtSignature") for part in signed] == [None, "skip_thought_signature_validator", None]
    assert not any("thoughtSignature" in part for part in encoded(messages, "gemini-2.5-pro")["contents"][1]["parts"])


def test_calls_of_one_turn_in_several_messages_are_one_content() -> None:
    messages = [{"role": "user", "content": "u"}, *({"role": "assistant", "content": None, "tool_calls": [call]} for call in CALLS)]
    contents = encoded([*messages, result("a", "1"), result("b", "2")])["contents"]
    assert [len(content["parts"]) for content in contents] == [1, 2, 2]


def test_system_messages_stand_in_front_or_keep_their_place() -> None:
    body = encoded(
        [
            {"role": "system", "content": "one"},
            {"role": "developer", "content": "two"},
            {"role": "user", "content": "u"},
            {"role": "system", "content": "three"},
        ]
    )
    assert body["systemInstruction"] == {"parts": [{"text": "one"}, {"text": "two"}]}
    assert [content["parts"][0]["text"] for content in body["contents"]] == ["u", "three"]
    assert encoded([{"role": "system", "content": "alone"}])["contents"] == [{"role": "user", "parts": [{"text": "alone"}]}]


@pytest.mark.parametrize(
    ("choice", "expected"),
    [
        ("none", {"mode": "NONE"}),
        ("auto", {"mode": "AUTO"}),
        ("required", {"mode": "ANY"}),
        ({"type": "function", "function": {"name": "f"}}, {"mode": "ANY", "allowedFunctionNames": ["f"]}),
        (
            {"type": "allowed_tools", "allowed_tools": {"mode": "auto", "tools": [{"type": "function", "function": {"name": "f"}}]}},
            {"mode": "VALIDATED", "allowedFunctionNames": ["f"]},
        ),
    ],
)
def test_the_choice_of_tools(choice: Any, expected: dict[str, Any]) -> None:
    tools = [{"type": "function", "function": {"name": "f"}}]
    body = encoded([{"role": "user", "content": "u"}], tools=tools, tool_choice=choice)
    assert body["toolConfig"] == {"functionCallingConfig": expected}
    assert body["tools"] == [{"functionDeclarations": [{"name": "f"}]}]


@pytest.mark.parametrize(
    ("target", "query", "words"),
    [
        ("gemini-2.5-flash", "", ":generateContent"),
        (":generateContent", "", ":generateContent"),
        ("m:countTokens", "", ":generateContent"),
        ("m:streamGenerateContent", "", "alt=sse"),
        ("m:streamGenerateContent", "alt=json", "alt=sse"),
    ],
)
def test_a_path_that_is_not_served_says_what_is(target: str, query: str, words: str) -> None:
    with pytest.raises(InvalidRequest, match=words):
        GEMINI.peek(b"{}", target, query)


def test_a_path_is_decoded() -> None:
    assert GEMINI.peek(b"", "provider%2Fm%3Ax:generateContent", "") == Peek(model="provider/m:x", stream=False)
    assert GEMINI.peek(b"", "m:streamGenerateContent", "key=k&alt=sse") == Peek(model="m", stream=True)


@pytest.mark.parametrize(
    ("body", "path"),
    [
        ({}, "contents"),
        ({"contents": []}, "contents"),
        ({"contents": [1]}, "contents[0]"),
        ({"contents": [{"role": "x", "parts": []}]}, "contents[0].role"),
        ({"contents": [{"parts": [{}]}]}, "contents[0].parts[0]"),
        ({"contents": [{"parts": [{"inlineData": {"mimeType": "image/png"}}]}]}, "contents[0].parts[0].inlineData.data"),
        ({"contents": [{"parts": [{"functionCall": {}}]}]}, "contents[0].parts[0].functionCall.name"),
        ({"contents": [{"parts": [{"text": "x"}]}], "generationConfig": {"temperature": "hot"}}, "generationConfig.temperature"),
        ({"contents": [{"parts": [{"text": "x"}]}], "tools": [{"functionDeclarations": [{}]}]}, "tools[0].functionDeclarations[0].name"),
    ],
)
def test_a_wrong_field_is_named(body: Any, path: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        GEMINI.decode_request(json.dumps(body).encode(), Peek(model="m"))
    assert caught.value.param == path
