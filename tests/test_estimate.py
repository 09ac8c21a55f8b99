"""Tokens, roughly."""

from __future__ import annotations

import json

import pytest

from fkproxy.call import Call
from fkproxy.dialects import DIALECTS
from fkproxy.dialects.base import Operation, Peek
from fkproxy.estimate import estimate_tokens, expected_usage
from fkproxy.model.usage import Usage


def estimated(*messages: object, **fields: object) -> int:
    body = json.dumps({"model": "m", "messages": messages, **fields}).encode()
    return estimate_tokens(DIALECTS["openai_chat"].decode_request(body, Peek(model="m")))


def user(content: object) -> dict[str, object]:
    return {"role": "user", "content": content}


@pytest.mark.parametrize(("text", "tokens"), [("", 4), ("abcd", 5), ("abcde", 6), ("é" * 4, 6), ("x" * 4000, 1004)])
def test_four_bytes_of_text_are_a_token(text: str, tokens: int) -> None:
    assert estimated(user(text)) == tokens


def test_images_tools_calls_and_results_count_too() -> None:
    plain = estimated(user("x" * 8))
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}
    assert estimated(user([{"type": "text", "text": "x" * 8}, image])) == plain + 258
    tool = {"type": "function", "function": {"name": "f" * 100, "parameters": {"type": "object"}}}
    assert estimated(user("x" * 8), tools=[tool]) > plain + 25
    call = {
        "role": "assistant",
        "tool_calls": [{"id": "1", "type": "function", "function": {"name": "f", "arguments": '{"a": "%s"}' % ("x" * 400)}}],
    }
    result = {"role": "tool", "tool_call_id": "1", "content": "y" * 400}
    assert estimated(user("x" * 8), call, result) > plain + 200


ENCODED = "iVBORw0KGgo" + "A" * 999_989
MEDIA = [
    {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{ENCODED}"}},
    {"type": "input_audio", "input_audio": {"data": ENCODED, "format": "wav"}},
    {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": ENCODED}},
    {"inlineData": {"mimeType": "video/mp4", "data": ENCODED}},
]
TEXTS = [
    {"type": "text", "text": "x" * 1_000_000},
    {"type": "text", "text": f'<img src="data:image/png;base64,{ENCODED}">'},
    {"type": "file", "file": {"file_data": f"data:application/pdf;base64,JVBERi0{ENCODED}"}},
    {"functionResponse": {"response": {"data": "some words " * 100_000}}},
]


@pytest.mark.parametrize(
    ("part", "least", "most"), [*((part, 1600, 8000) for part in MEDIA), *((part, 250_000, 300_000) for part in TEXTS)]
)
def test_what_a_request_may_use_does_not_count_media_as_text(part: dict[str, object], least: int, most: int) -> None:
    for count in (1, 3):
        for body in (json.dumps([part] * count), json.dumps([part] * count, separators=(",", ":")).replace("/", "\\/")):
            expected = expected_usage(body.encode()).input_tokens
            assert expected is not None
            assert least * count <= expected <= most * count


@pytest.mark.parametrize(
    ("dialect", "fields", "tokens"),
    [
        ("openai_chat", {"n": 8, "max_tokens": 500}, 4000),
        ("openai_chat", {"n": 2}, 2048),
        ("openai_chat", {"n": 10**9, "max_completion_tokens": 10**9}, 128 * 8192),
        ("openai_chat", {"n": None, "max_tokens": 500, "tools": [{"n": 8, "candidateCount": 8}]}, 500),
        ("gemini", {"generationConfig": {"candidateCount": 8, "maxOutputTokens": 500}}, 4000),
        ("gemini", {"generation_config": {"candidate_count": 2}}, 2048),
        ("gemini", {"generationConfig": {"candidateCount": 0}}, 1024),
    ],
)
def test_a_call_for_several_answers_may_use_as_much_for_each(dialect: str, fields: dict[str, object], tokens: int) -> None:
    target = "models/m:generateContent" if dialect == "gemini" else ""
    call = Call(request_id="c", dialect=DIALECTS[dialect], method="POST", route="chat", target=target)
    call.body = json.dumps({"model": "m", **fields}).encode()
    call.peek = call.dialect.peek(call.body, target, "")
    assert call.expected_usage.output_tokens == tokens
    assert call.expected_tokens == tokens + len(call.body) // 4


@pytest.mark.parametrize("operation", ["embeddings", "count_tokens"])
def test_what_is_no_chat_makes_no_tokens(operation: Operation) -> None:
    call = Call("c", DIALECTS["openai_chat"], "POST", "r", operation=operation)
    call.body = b'{"model": "m", "input": "How many?"}'
    assert call.expected_usage == Usage(input_tokens=len(call.body) // 4, output_tokens=0)


def test_a_medium_that_does_not_end_and_many_of_them_are_bounded() -> None:
    assert expected_usage(f'{{"data":"{ENCODED}'.encode()).input_tokens == 1600 + 1_000_009 // 256
    small = b'"data":"' + b"A" * 2000 + b'",'
    assert expected_usage(small * 1000).input_tokens >= 900 * len(small) // 4


@pytest.mark.parametrize("text_bytes", range(0, 20_000, 1000))
def test_a_medium_is_found_wherever_it_stands_between_words(text_bytes: int) -> None:
    words = ("a few words " * 2000)[:text_bytes]
    part = {"text": words, "inlineData": {"mimeType": "image/png", "data": "A" * 10_000}, "more": words}
    expected = expected_usage(json.dumps(part).encode()).input_tokens
    assert expected is not None
    assert expected < text_bytes * 2 / 4 + 10_000 / 4
