"""JSON mode towards servers that have a switch for it and want to be asked as well."""

from __future__ import annotations

import json
from typing import Any

import pytest

from fkproxy.dialects import DIALECTS
from fkproxy.dialects.base import Peek
from fkproxy.dialects.json_mode import JSON_ONLY

TARGETS = {
    "openai_chat": ("messages", {"role": "system", "content": JSON_ONLY}),
    "openai_responses": ("input", {"type": "message", "role": "developer", "content": [{"type": "input_text", "text": JSON_ONLY}]}),
}
GEMINI = DIALECTS["gemini"]


def encode(target: str, texts: tuple[str, ...], *, system: str = "", mime_type: str = "application/json") -> tuple[Any, list[str]]:
    """(messages, losses) of what a Gemini client says in turns of its own and the model's."""
    contents = [{"role": "model" if index % 2 else "user", "parts": [{"text": text}]} for index, text in enumerate(texts)]
    instruction = {"systemInstruction": {"parts": [{"text": system}]}} if system else {}
    body = {"contents": contents, "generationConfig": {"responseMimeType": mime_type}, **instruction}
    encoded = DIALECTS[target].encode_request(GEMINI.decode_request(json.dumps(body).encode(), Peek(model="m")), "m")
    return json.loads(encoded.body)[TARGETS[target][0]], [f"{loss.field} {loss.action}" for loss in encoded.losses]


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize(
    ("texts", "system", "place"),
    [
        (("three colours",), "", 0),
        (("three colours",), "Be brief.", 1),
        (("three colours", "Which? In JSON?", "any"), "", 0),
    ],
)
def test_where_nobody_asks_for_json_the_system_does(target: str, texts: tuple[str, ...], system: str, place: int) -> None:
    messages, losses = encode(target, texts, system=system)
    assert messages[place] == TARGETS[target][1]
    assert len(messages) == len(texts) + bool(system) + 1
    assert losses == ["response_format converted"]


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize(
    ("texts", "system", "mime_type"),
    [
        (("three colours as Json",), "", "application/json"),
        (("three colours",), "You speak JSON.", "application/json"),
        (("three colours",), "", "text/plain"),
    ],
)
def test_nothing_is_added_to_what_says_it_or_does_not_want_it(target: str, texts: tuple[str, ...], system: str, mime_type: str) -> None:
    messages, losses = encode(target, texts, system=system, mime_type=mime_type)
    assert TARGETS[target][1] not in messages
    assert losses == []


LIST = {"type": "array", "items": {"type": "string"}}


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize(
    ("schema", "model", "in_words"),
    [
        (LIST, "gpt-4.1", True),
        (LIST, "openai/o4-mini", True),
        ({"anyOf": [{"type": "object"}, LIST]}, "gpt-5", True),
        (LIST, "gpt-oss-120b", False),
        (LIST, "llama-3", False),
        ({"type": "object", "properties": {"a": LIST}}, "gpt-4.1", False),
    ],
)
def test_a_schema_that_openai_refuses_is_told_in_words(target: str, schema: dict[str, Any], model: str, in_words: bool) -> None:
    generation = {"responseMimeType": "application/json", "responseJsonSchema": schema}
    body = {"contents": [{"role": "user", "parts": [{"text": "three colours"}]}], "generationConfig": generation}
    encoded = DIALECTS[target].encode_request(GEMINI.decode_request(json.dumps(body).encode(), Peek(model="m")), model)
    found = json.loads(encoded.body)
    asked = found.get("response_format") or found.get("text")
    assert (asked is None) is in_words
    first = json.dumps(found[TARGETS[target][0]][0])
    assert (json.dumps(json.dumps(schema, separators=(",", ":")))[1:-1] in first) is in_words
    assert [f"{loss.field} {loss.action}" for loss in encoded.losses] == (["response_format converted"] if in_words else [])


CALL = {"id": "a", "type": "function", "function": {"name": "f", "arguments": "{}"}}
CALLED = [{"role": "assistant", "tool_calls": [CALL]}, {"role": "tool", "tool_call_id": "a", "content": "sun"}]
OBJECT = {"type": "object", "properties": {"a": LIST}}
BY_SCHEMA = {"type": "json_schema", "json_schema": {"name": "a", "schema": OBJECT}}
TOOLS = {"tools": [{"type": "function", "function": {"name": "f"}}]}


@pytest.mark.parametrize(
    ("model", "said", "tools", "in_words"),
    [
        ("gemini-2.5-flash", [], TOOLS, True),
        ("google/gemini-2.0-flash-001", [], TOOLS, True),
        ("gemini-2.5-pro", CALLED, {}, True),
        ("gemini-2.5-pro", CALLED, TOOLS, True),
        ("gemini-2.5-pro", [], {}, False),
        ("gemini-3-flash-preview", CALLED, TOOLS, False),
        ("gemini-flash-latest", CALLED, TOOLS, False),
        ("my-tuned-model", CALLED, TOOLS, False),
    ],
)
@pytest.mark.parametrize("form", [BY_SCHEMA, {"type": "json_object"}])
def test_what_older_gemini_takes_no_calls_with_is_told_in_words(
    model: str, said: list[Any], tools: dict[str, Any], in_words: bool, form: dict[str, Any]
) -> None:
    chat = DIALECTS["openai_chat"]
    body = {"model": model, "messages": [{"role": "user", "content": "colours as JSON"}, *said], "response_format": form, **tools}
    encoded = GEMINI.encode_request(chat.decode_request(json.dumps(body).encode(), Peek(model=model)), model)
    found = json.loads(encoded.body)
    assert ("responseMimeType" not in found.get("generationConfig", {})) is in_words
    assert ("responseSchema" in found.get("generationConfig", {})) is (form is BY_SCHEMA and not in_words)
    told = "".join(part["text"] for part in found.get("systemInstruction", {"parts": []})["parts"])
    schema = json.dumps(OBJECT, separators=(",", ":"))
    assert (told == JSON_ONLY or told.endswith(schema)) is in_words
    assert told.endswith(schema) is (in_words and form is BY_SCHEMA)
    assert [f"{loss.field} {loss.action}" for loss in encoded.losses] == (["response_format converted"] if in_words else [])


def test_a_client_of_the_same_dialect_asks_for_itself() -> None:
    body = {"model": "m", "messages": [{"role": "user", "content": "x"}], "response_format": {"type": "json_object"}}
    chat = DIALECTS["openai_chat"]
    assert json.loads(chat.encode_request(chat.decode_request(json.dumps(body).encode(), Peek(model="m")), "m").body) == body
