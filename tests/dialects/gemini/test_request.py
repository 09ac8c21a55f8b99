"""What Gemini insists on and other dialects do not."""

from __future__ import annotations

import json
from typing import Any

import pytest

from fkproxy.dialects import DIALECTS
from fkproxy.dialects.base import Encoded, Peek, ReplyContext
from fkproxy.model.errors import InvalidRequest, Unrepresentable
from fkproxy.model.events import collect
from fkproxy.model.parts import Message, Reasoning, Seal, Text, ToolCall, ToolResult
from fkproxy.model.request import ChatRequest, OutputFormat

CHAT, GEMINI = DIALECTS["openai_chat"], DIALECTS["gemini"]
CALLS = [
    {"id": "a", "type": "function", "function": {"name": "f", "arguments": "{}"}},
    {"id": "b", "type": "function", "function": {"name": "g", "arguments": "not json"}},
]
ASKED = {"contents": [{"role": "user", "parts": [{"text": "x"}]}]}
PNG = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}


def encoding(messages: list[Any], model: str, **fields: Any) -> Encoded:
    body = json.dumps({"model": model, "messages": messages, **fields}).encode()
    return GEMINI.encode_request(CHAT.decode_request(body, CHAT.peek(body, "", "")), model)


def encoded(messages: list[Any], model: str = "gemini-2.5-flash", **fields: Any) -> dict[str, Any]:
    result: dict[str, Any] = json.loads(encoding(messages, model, **fields).body)
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


def test_results_of_one_id_are_those_of_its_calls_in_their_order() -> None:
    calls = {"role": "assistant", "content": None, "tool_calls": [{**call, "id": "a"} for call in CALLS]}
    contents = encoded([calls, result("a", "1"), result("a", "2"), calls, result("a", "3"), result("a", "4"), result("a", "5")])["contents"]
    told = [part["functionResponse"] for content in contents for part in content["parts"] if "functionResponse" in part]
    assert [(part["name"], part["response"]["result"]) for part in told] == [("f", "1"), ("g", "2"), ("f", "3"), ("g", "4"), ("g", "5")]


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
    assert encoded(messages)["contents"][-1]["parts"][0]["functionResponse"]["response"] == response


def test_an_image_in_a_result_stands_where_the_model_takes_it() -> None:
    messages = [
        {"role": "assistant", "content": None, "tool_calls": CALLS[:1]},
        result("a", [{"type": "text", "text": "see"}, PNG]),
    ]
    inline = {"inlineData": {"mimeType": "image/png", "data": "AAAA"}}
    assert encoded(messages, "gemini-3-pro-preview")["contents"][-1]["parts"][0]["functionResponse"]["parts"] == [inline]
    assert encoded(messages, "gemini-2.5-pro")["contents"][-1]["parts"][1] == inline


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


@pytest.mark.parametrize(
    ("model", "told"),
    [
        ("gemini-3-pro-preview", 65_535),
        ("gemini-flash-latest", 65_535),
        ("gemini-2.5-flash", 65_535),
        ("gemini-2.5-flash-image", 32_768),
        ("gemini-2.0-flash", 8_192),
        ("gemma-4-31b-it", 128_000),
    ],
)
def test_an_answer_is_no_longer_than_the_model_gives(model: str, told: int) -> None:
    found = encoding([{"role": "user", "content": "u"}], model, max_tokens=128_000)
    assert json.loads(found.body)["generationConfig"]["maxOutputTokens"] == told
    assert [(loss.field, loss.action) for loss in found.losses] == ([("max_tokens", "converted")] if told < 128_000 else [])
    assert encoded([{"role": "user", "content": "u"}], model, max_tokens=8_000)["generationConfig"]["maxOutputTokens"] == 8_000


@pytest.mark.parametrize(
    ("seed", "told"),
    [(7, 7), (-7, -7), (2**31 - 1, 2**31 - 1), (-(2**31), -(2**31)), (2**31, 0), (1_763_838_000_123, 753_925_115), (-(2**40), 0)],
)
def test_a_seed_is_of_32_bits(seed: int, told: int) -> None:
    found = encoding([{"role": "user", "content": "u"}], "gemini-2.5-flash", seed=seed)
    assert json.loads(found.body)["generationConfig"]["seed"] == told
    assert [(loss.field, loss.action) for loss in found.losses] == ([("seed", "converted")] if seed != told else [])


def test_calls_of_one_turn_in_several_messages_are_one_content() -> None:
    messages = [{"role": "user", "content": "u"}, *({"role": "assistant", "content": None, "tool_calls": [call]} for call in CALLS)]
    contents = encoded([*messages, result("a", "1"), result("b", "2")])["contents"]
    assert [len(content["parts"]) for content in contents] == [1, 2, 2]


def test_the_first_of_the_calls_of_one_turn_is_marked_however_many_messages_it_took() -> None:
    messages = [{"role": "user", "content": "u"}, *({"role": "assistant", "content": None, "tool_calls": [call]} for call in CALLS)]
    parts = encoded([*messages, result("a", "1"), result("b", "2")], "gemini-3-pro-preview")["contents"][1]["parts"]
    assert ["thoughtSignature" in part for part in parts] == [True, False]


@pytest.mark.parametrize(
    ("messages", "expected"),
    [
        (["user u", "user v"], ["user uv"]),
        (["assistant a", "assistant b"], ["model ab"]),
        (["user u", "assistant ", "assistant b"], ["user u", "model b"]),
        (["user u", "assistant ", "user v"], ["user uv"]),
        (["assistant ", "assistant b"], ["model b"]),
        (["user u", "assistant a", "user v"], ["user u", "model a", "user v"]),
    ],
)
def test_the_roles_alternate(messages: list[str], expected: list[str]) -> None:
    contents = encoded([{"role": role, "content": text} for role, _, text in (message.partition(" ") for message in messages)])["contents"]
    assert [f"{content['role']} {''.join(part['text'] for part in content['parts'])}" for content in contents] == expected


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
    assert body["contents"] == [{"role": "user", "parts": [{"text": "u"}, {"text": "three"}]}]
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


def test_tools_whose_references_double_at_every_step_are_refused_together() -> None:
    definitions: dict[str, Any] = {
        f"d{level}": {"type": "object", "properties": {side: {"$ref": f"#/$defs/d{level + 1}"} for side in "ab"}} for level in range(10)
    }
    schema = {"type": "object", "properties": {"a": {"$ref": "#/$defs/d0"}}, "$defs": {**definitions, "d10": {"type": "string"}}}

    def tools(many: int) -> list[dict[str, Any]]:
        return [{"type": "function", "function": {"name": f"f{number}", "parameters": schema}} for number in range(many)]

    user = [{"role": "user", "content": "x"}]
    assert len(encoded(user, tools=tools(20))["tools"][0]["functionDeclarations"]) == 20
    with pytest.raises(InvalidRequest, match="grow"):
        encoded(user, tools=tools(30))


@pytest.mark.parametrize(
    "alternatives",
    [
        {"type": "object", "properties": {"a": {"type": "string"}, "b": {"type": "number"}}, "anyOf": [{"required": ["a"]}, {}]},
        {"oneOf": [{"type": "object", "properties": {name: {"type": kind}}} for name, kind in (("a", "string"), ("b", "number"))]},
    ],
)
def test_a_function_with_alternatives_keeps_its_parameters(alternatives: dict[str, Any]) -> None:
    tools = [{"type": "function", "function": {"name": "f", "parameters": alternatives}}]
    (tool,) = encoded([{"role": "user", "content": "u"}], tools=tools)["tools"]
    parameters = {"type": "OBJECT", "properties": {"a": {"type": "STRING"}, "b": {"type": "NUMBER"}}}
    assert tool["functionDeclarations"] == [{"name": "f", "parameters": parameters}]


@pytest.mark.parametrize(
    ("given", "standard"),
    [
        ({"any_of": [{"type": "INTEGER"}, {"type": "STRING"}]}, {"anyOf": [{"type": "integer"}, {"type": "string"}]}),
        ({"type": "ARRAY", "items": {"type": "STRING"}, "min_items": 1}, {"type": "array", "items": {"type": "string"}, "minItems": 1}),
        ({"type": "STRING", "maxLength": "8", "minLength": "?"}, {"type": "string", "maxLength": 8, "minLength": "?"}),
        ({"type": "STRING", "nullable": True}, {"type": ["string", "null"]}),
        ({"type": "STRING", "enum": ["a"], "nullable": True}, {"type": ["string", "null"], "enum": ["a", None]}),
        ({"anyOf": [{"type": "STRING"}], "nullable": True}, {"anyOf": [{"type": "string"}, {"type": "null"}]}),
        ({"type": "STRING", "nullable": False}, {"type": "string"}),
        ({"type": "STRING", "nullable": None, "enum": None, "items": None, "anyOf": None, "default": None}, {"type": "string"}),
        ({"type": "TYPE_UNSPECIFIED", "description": "d"}, {"description": "d"}),
        ({"type": "OBJECT", "additional_properties": {"type": "STRING"}}, {"type": "object", "additionalProperties": {"type": "string"}}),
        (
            {"properties": {"any_of": {"type": "STRING"}, "b": {}}, "property_ordering": ["b", "c"]},
            {"properties": {"b": {}, "any_of": {"type": "string"}}},
        ),
    ],
)
def test_a_schema_of_gemini_is_a_standard_one_for_others_and_its_own_again_for_gemini(
    given: dict[str, Any], standard: dict[str, Any]
) -> None:
    outer = {"type": "OBJECT", "properties": {"p": given}}
    body = {
        "contents": [{"role": "user", "parts": [{"text": "x"}]}],
        "tools": [{"functionDeclarations": [{"name": "f", "parameters": outer}]}],
        "generationConfig": {"responseMimeType": "application/json", "responseSchema": outer},
    }
    request = GEMINI.decode_request(json.dumps(body).encode(), Peek(model="m"))
    sent = json.loads(CHAT.encode_request(request, "m").body)
    for schema in (sent["tools"][0]["function"]["parameters"], sent["response_format"]["json_schema"]["schema"]):
        assert json.dumps(schema) == json.dumps({"type": "object", "properties": {"p": standard}})
    assert json.loads(GEMINI.encode_request(request, "m").body) == body


@pytest.mark.parametrize(("given", "standard"), [("_-8=", "/+8="), ("_-8", "/+8="), ("/+8=", "/+8="), ("AAAA", "AAAA")])
def test_base64_of_either_alphabet_reaches_other_dialects_in_the_standard_one(given: str, standard: str) -> None:
    body = {"contents": [{"parts": [{"inlineData": {"mimeType": "image/png", "data": given}}]}]}
    request = GEMINI.decode_request(json.dumps(body).encode(), Peek(model="m"))
    (message,) = json.loads(CHAT.encode_request(request, "m").body)["messages"]
    assert message["content"][0]["image_url"]["url"] == f"data:image/png;base64,{standard}"


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        (
            {"system_instruction": {"parts": {"text": "s"}}, "contents": {"role": "USER", "parts": {"text": "x"}}},
            {"systemInstruction": {"parts": [{"text": "s"}]}, "contents": [{"role": "user", "parts": [{"text": "x"}]}]},
        ),
        (
            {"contents": [{"parts": {"text": "x"}}], "tools": {"function_declarations": {"name": "f", "parameters": {"parts": {}}}}},
            {"contents": [{"parts": [{"text": "x"}]}], "tools": [{"functionDeclarations": [{"name": "f", "parameters": {"parts": {}}}]}]},
        ),
        (
            {"contents": [{"role": "MODEL", "parts": {"function_call": {"name": "f", "args": {"parts": {"a": 1}}}}}]},
            {"contents": [{"role": "model", "parts": [{"functionCall": {"name": "f", "args": {"parts": {"a": 1}}}}]}]},
        ),
    ],
)
def test_one_object_is_a_list_of_it_and_a_role_may_be_in_capitals(given: dict[str, Any], meant: dict[str, Any]) -> None:
    """As in the vendor's examples for curl."""
    request = GEMINI.decode_request(json.dumps(given).encode(), Peek(model="m"))
    assert json.loads(GEMINI.encode_request(request, "m").body) == meant


def test_a_tool_that_is_null_is_none() -> None:
    declared = {"functionDeclarations": [{"name": "f", "description": None, "parameters": None}]}
    body = {**ASKED, "tools": [{**declared, "googleSearch": None, "codeExecution": None}, {"functionDeclarations": None}]}
    request = GEMINI.decode_request(json.dumps(body).encode(), Peek(model="m"))
    assert json.loads(CHAT.encode_request(request, "m").body)["tools"] == [{"type": "function", "function": {"name": "f"}}]


@pytest.mark.parametrize(
    ("mode", "choice", "again"),
    [
        ("any", "required", "ANY"),
        ("ANY", "required", "ANY"),
        ("none", "none", "NONE"),
        ("validated", "auto", "VALIDATED"),
        ("MODE_UNSPECIFIED", "auto", "AUTO"),
        (None, "auto", "AUTO"),
    ],
)
def test_the_mode_of_a_clients_choice_is_in_either_case(mode: str | None, choice: str, again: str) -> None:
    body = {**ASKED, "tools": [{"functionDeclarations": [{"name": "f"}]}], "toolConfig": {"functionCallingConfig": {"mode": mode}}}
    request = GEMINI.decode_request(json.dumps(body).encode(), Peek(model="m"))
    assert json.loads(CHAT.encode_request(request, "m").body)["tool_choice"] == choice
    assert json.loads(GEMINI.encode_request(request, "m").body)["toolConfig"] == {"functionCallingConfig": {"mode": again}}


@pytest.mark.parametrize(
    ("call", "response"),
    [({"id": "x"}, {"id": "x"}), ({}, {}), ({}, {"id": "x"}), ({"id": "x"}, {})],
)
def test_a_response_finds_its_call_by_id_else_by_name(call: dict[str, str], response: dict[str, str]) -> None:
    contents = [
        {"role": "model", "parts": [{"functionCall": {"name": "g", "args": {}}}, {"functionCall": {"name": "f", "args": {}, **call}}]},
        {"role": "user", "parts": [{"functionResponse": {"name": "f", "response": {}, **response}}]},
    ]
    request = GEMINI.decode_request(json.dumps({"contents": contents}).encode(), Peek(model="m"))
    calls, results = (message.parts for message in request.messages)
    assert results[0].call_id == calls[1].id != calls[0].id


@pytest.mark.parametrize(
    "generation",
    [
        {"responseMimeType": "text/plain"},
        {"responseMimeType": "text/x.enum", "responseSchema": {"type": "STRING", "enum": ["a"]}, "mediaResolution": "MEDIA_RESOLUTION_LOW"},
        {"responseFormat": [{"text": {"mimeType": "TEXT_X_ENUM"}}, {"image": {"aspectRatio": "1:1"}}]},
    ],
)
def test_a_kind_of_output_that_only_gemini_knows_comes_back(generation: dict[str, Any]) -> None:
    body = {"contents": [{"role": "user", "parts": [{"text": "x"}]}], "generationConfig": generation}
    request = GEMINI.decode_request(json.dumps(body).encode(), Peek(model="m"))
    assert json.loads(GEMINI.encode_request(request, "m").body) == body


@pytest.mark.parametrize("mime_type", ["APPLICATION_JSON", "application/json", None])
@pytest.mark.parametrize("listed", [True, False])
def test_a_response_format_is_the_form_of_the_answer(mime_type: str | None, listed: bool) -> None:
    schema = {"type": "object", "properties": {"my_city": {"type": "string"}}}
    form = {"text": {"mimeType": mime_type, "schema": schema}}
    body = {**ASKED, "generationConfig": {"responseFormat": [form] if listed else form}}
    request = GEMINI.decode_request(json.dumps(body).encode(), Peek(model="m"))
    assert request.output == OutputFormat(kind="json_schema", schema_=schema)
    assert json.loads(GEMINI.encode_request(request, "m").body) == body


def test_unknown_fields_deep_inside_come_back() -> None:
    parts = [
        {"inlineData": {"mimeType": "image/png", "data": "AAAA", "new": 1}, "partMetadata": {"snake_key": 1}},
        {"fileData": {"fileUri": "gs://b/f.pdf", "mimeType": "application/pdf", "new": 2}},
        {
            "functionResponse": {
                "name": "f",
                "response": {},
                "parts": [{"new": 3}, {"inlineData": {"mimeType": "image/png", "data": "AAAA"}}],
            }
        },
    ]
    body = {"contents": [{"role": "user", "parts": parts[:2]}, {"role": "user", "parts": parts[2:]}]}
    request = GEMINI.decode_request(json.dumps(body).encode(), Peek(model="m"))
    assert json.loads(GEMINI.encode_request(request, "m").body) == body


@pytest.mark.parametrize(
    ("target", "query", "words"),
    [
        ("gemini-2.5-flash", "", ":generateContent"),
        (":generateContent", "", ":generateContent"),
        ("m:predict", "", ":generateContent"),
    ],
)
def test_a_path_that_is_not_served_says_what_is(target: str, query: str, words: str) -> None:
    with pytest.raises(InvalidRequest, match=words):
        GEMINI.peek(b"{}", target, query)


def test_a_path_is_decoded() -> None:
    assert GEMINI.peek(b"", "provider%2Fm%3Ax:generateContent", "") == Peek(model="provider/m:x", stream=False)
    assert GEMINI.peek(b"", "m:streamGenerateContent", "key=k&alt=sse") == Peek(model="m", stream=True)
    for query in ("", "alt=json"):
        assert GEMINI.peek(b"", "m:streamGenerateContent", query) == Peek(model="m", stream=True, json_array=True)
    assert GEMINI.peek(b"", "m:countTokens", "") == Peek(model="m", operation="count_tokens")
    assert GEMINI.peek(b"", "m:embedContent", "") == Peek(model="m", operation="embeddings", variant="embedContent")


@pytest.mark.parametrize(
    ("body", "path"),
    [
        ({}, "contents"),
        ({"contents": []}, "contents"),
        ({"contents": [1]}, "contents[0]"),
        ({"contents": [{"role": "x", "parts": []}]}, "contents[0].role"),
        ({"contents": [{"parts": [{}]}]}, "contents[0].parts[0]"),
        ({"contents": [{"parts": [{"inlineData": {"mimeType": "image/png"}}]}]}, "contents[0].parts[0].inlineData.data"),
        (
            {"contents": [{"parts": [{"inlineData": {"mimeType": "image/png", "data": "!"}}]}]},
            "contents[0].parts[0].inlineData.data",
        ),
        ({"contents": [{"parts": [{"functionCall": {}}]}]}, "contents[0].parts[0].functionCall.name"),
        ({"contents": [{"parts": [{"text": "x"}]}], "generationConfig": {"temperature": "hot"}}, "generationConfig.temperature"),
        ({"contents": [{"parts": [{"text": "x"}]}], "tools": [{"functionDeclarations": [{}]}]}, "tools[0].functionDeclarations[0].name"),
        ({**ASKED, "toolConfig": {"functionCallingConfig": {"mode": "must"}}}, "toolConfig.functionCallingConfig.mode"),
    ],
)
def test_a_wrong_field_is_named(body: Any, path: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        GEMINI.decode_request(json.dumps(body).encode(), Peek(model="m"))
    assert caught.value.param == path


def test_an_empty_refusal_is_no_part() -> None:
    messages = [{"role": "user", "content": "u"}, {"role": "assistant", "content": "a", "refusal": ""}, {"role": "user", "content": "v"}]
    assert encoded(messages)["contents"][1]["parts"] == [{"text": "a"}]


PREFILLED = [{"role": "user", "content": "u"}, {"role": "assistant", "content": "{"}]


def test_new_models_get_no_penalties_and_have_nothing_of_their_own_to_go_on_with() -> None:
    found = encoding(PREFILLED, "gemini-3.6-flash", presence_penalty=0.5, frequency_penalty=0, temperature=1)
    body = json.loads(found.body)
    assert body["contents"][1:] == [{"role": "model", "parts": [{"text": "{"}]}, {"role": "user", "parts": [{"text": "(continue)"}]}]
    assert body["generationConfig"] == {"temperature": 1}
    assert [f"{loss.field} {loss.action}" for loss in found.losses] == ["messages[].role converted", "presence_penalty dropped"]
    assert "generationConfig" not in encoded([*PREFILLED, {"role": "user", "content": "v"}], "gemini-3.6-flash", frequency_penalty=0)


CALLED = {"role": "assistant", "tool_calls": [{"id": "call_1", "type": "function", "function": {"name": "f", "arguments": "{}"}}]}
ANSWERED = {"role": "tool", "tool_call_id": "call_1", "content": "sun"}


@pytest.mark.parametrize(
    ("messages", "roles", "losses"),
    [
        ([CALLED, ANSWERED], ["user", "model", "user"], ["messages[].role converted"]),
        ([{"role": "system", "content": "s"}, CALLED, ANSWERED], ["user", "model", "user"], ["messages[].role converted"]),
        ([{"role": "assistant", "content": "hi"}, *PREFILLED[:1]], ["model", "user"], []),
        ([{"role": "system", "content": "s"}], ["user"], ["messages[].role converted"]),
    ],
)
def test_only_a_call_needs_somebody_who_led_to_it(messages: list[Any], roles: list[str], losses: list[str]) -> None:
    found = encoding(messages, "gemini-2.5-flash")
    assert [content["role"] for content in json.loads(found.body)["contents"]] == roles
    assert [f"{loss.field} {loss.action}" for loss in found.losses] == losses


def test_models_before_them_are_told_as_it_is() -> None:
    found = encoding(PREFILLED, "gemini-2.5-flash", presence_penalty=0.5, n=2)
    body = json.loads(found.body)
    assert [content["role"] for content in body["contents"]] == ["user", "model"]
    assert body["generationConfig"] == {"presencePenalty": 0.5, "candidateCount": 2}
    assert found.losses == ()


def test_the_third_generation_gives_one_answer() -> None:
    assert encoded(PREFILLED, "gemini-3-flash", n=1)["generationConfig"] == {"candidateCount": 1}
    with pytest.raises(Unrepresentable, match="one answer"):
        encoding(PREFILLED, "gemini-3-flash", n=2)


IMAGE = {"inlineData": {"mimeType": "image/jpeg", "data": "aGk="}, "thoughtSignature": "c2ln"}
CALL = {"functionCall": {"name": "f", "args": {}}}


@pytest.mark.parametrize(
    ("said", "returned"),
    [
        ([{"text": "hm", "thought": True}, {"text": "a", "thoughtSignature": "dA=="}, IMAGE, IMAGE], 1),
        ([IMAGE], 0),
        ([{"text": "hm", "thought": True, "thoughtSignature": "c2ln"}, {"text": "a"}], 1),
    ],
)
def test_signatures_that_travelled_as_thoughts_stand_on_their_parts_again(said: list[Any], returned: int) -> None:
    responses = DIALECTS["openai_responses"]
    reply = {"candidates": [{"content": {"parts": said}, "finishReason": "STOP"}]}
    context = ReplyContext(reply_id="r", model="m", created_s=1)
    output = json.loads(responses.encode_reply(collect(GEMINI.decode_reply(json.dumps(reply).encode())), context))["output"]
    body = json.dumps({"model": "m", "input": [{"role": "user", "content": "x"}, *output]}).encode()
    request = responses.decode_request(body, Peek(model="m"))
    assert json.loads(GEMINI.encode_request(request, "gemini-3-pro-image").body)["contents"][1]["parts"] == said[returned:]


def test_a_signature_behind_a_call_is_not_the_calls() -> None:
    sealed = Reasoning(seal=Seal(dialect="gemini", data="c2ln"))
    parts = (ToolCall(id="a", name="f"), sealed, Text(text="b", seal=Seal(dialect="gemini", data="dA==")), sealed)
    messages = (Message(role="assistant", parts=parts), Message(role="tool", parts=(ToolResult(call_id="a"),)))
    request = ChatRequest(dialect="openai_responses", model="m", messages=messages)
    encoded = GEMINI.encode_request(request, "gemini-2.5-flash")
    assert json.loads(encoded.body)["contents"][-2]["parts"] == [CALL, {"text": "b", "thoughtSignature": "dA=="}]
    assert [loss.field for loss in encoded.losses] == ["reasoning", "messages[].role"]


def test_the_mark_in_place_of_a_signature_is_no_loss_elsewhere_and_stays_at_home() -> None:
    parts = [{**CALL, "thoughtSignature": "skip_thought_signature_validator"}]
    body = {"contents": [{"role": "user", "parts": [{"text": "x"}]}, {"role": "model", "parts": parts}]}
    request = GEMINI.decode_request(json.dumps(body).encode(), Peek(model="m"))
    assert json.loads(GEMINI.encode_request(request, "gemini-3-flash").body)["contents"][1]["parts"] == parts
    for name in ("openai_chat", "openai_responses"):
        assert [loss.field for loss in DIALECTS[name].encode_request(request, "gpt-5").losses] == ["tool_calls[]"]
