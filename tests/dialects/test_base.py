"""What is seen on the way to the model's name is what a look at the whole body would find."""

from __future__ import annotations

import json
from typing import Any

import pytest

from fkproxy.dialects import DIALECTS
from fkproxy.estimate import expected_usage
from tests.dialects.golden import CASES, Case

BODIES = [case for case in CASES if case.request is not None and case.capture.get("operation", "chat") == "chat"]
SYSTEM: dict[str, Any] = {"role": "system", "content": "be kind, €😀"}
USER: dict[str, Any] = {"role": "user", "content": "what is in 'role: user'?"}


def told(dialect: str, body: bytes) -> tuple[bytes | None, bytes | None]:
    """(the conversation by what was seen, by a look of its own)"""
    codec = DIALECTS[dialect]
    seen = codec.peek(body, "m:generateContent", "").seen
    assert dialect == "gemini" or seen.fields is not None
    return codec.conversation.read(None, body, seen.fields), codec.conversation.read(None, body)


@pytest.mark.parametrize("case", BODIES, ids=repr)
def test_captures(case: Case) -> None:
    assert case.request is not None
    seen = case.peek.seen
    by_itself = case.dialect.conversation.read(None, case.request)
    assert case.dialect.conversation.read(None, case.request, seen.fields) == by_itself is not None
    assert expected_usage(case.request, seen.max_output_tokens) == expected_usage(case.request)


@pytest.mark.parametrize("dialect", ["openai_chat", "anthropic", "openai_responses"])
@pytest.mark.parametrize(
    "messages",
    [
        [],
        "hello",
        5,
        None,
        {"role": "user"},
        [USER],
        [SYSTEM],
        [SYSTEM, USER, USER],
        [5, None, "x", [USER], {"role": 5}, {"role": None}, {}, USER],
        [{"role": "assistant", "content": [{"role": "user"}]}, USER],
        [{**SYSTEM, "content": "x" * 100_000}, USER, USER],
        [{**SYSTEM, "content": "€" * 10_000}, USER],
    ],
)
@pytest.mark.parametrize("indent", [None, 2])
def test_odd_messages(dialect: str, messages: Any, indent: int | None) -> None:
    name = "input" if dialect == "openai_responses" else "messages"
    seen, alone = told(dialect, json.dumps({"model": "m", name: messages}, indent=indent, ensure_ascii=False).encode())
    assert seen == alone
    assert (seen is None) == (messages == [])


@pytest.mark.parametrize("tail", ["", ", ", "\n"])
def test_what_follows_the_first_words_of_the_user_does_not_matter(tail: str) -> None:
    def key(*more: dict[str, Any], before: dict[str, Any] = SYSTEM) -> bytes | None:
        body = json.dumps({"model": "m", "messages": [before, USER, *more]}).encode()
        return told("openai_chat", body)[0]

    long = {**SYSTEM, "content": "y" * 40_000 + tail}
    for first in (SYSTEM, long):
        assert key(before=first) == key({"role": "assistant", "content": "z" * 200_000}, USER, before=first)
    assert key(before=long) != key()
    assert key(before={**long, "content": long["content"] + "."}) != key(before=long)


def test_text_that_is_not_unicode_and_numbers_without_end_do_no_harm() -> None:
    odd = b'{"model":"m","messages":[{"role":"system","content":%s},{"role":"user","content":"x"}]}'
    for content in (b'"\xff\xfe"', b"1" * 10_000, b'"' + b"\\u0000" * 10_000 + b'"', b"[" * 90 + b"]" * 90):
        seen, alone = told("openai_chat", odd % content)
        assert seen == alone is not None


@pytest.mark.parametrize("value", [None, True, -1, 0, 1.5, "7", [7], {"a": 7}])
def test_a_limit_that_is_none(value: Any) -> None:
    for dialect, field in (("openai_chat", "max_tokens"), ("anthropic", "max_tokens"), ("openai_responses", "max_output_tokens")):
        assert DIALECTS[dialect].peek(json.dumps({"model": "m", field: value}).encode(), "", "").seen.max_output_tokens == 0


def test_limits() -> None:
    def limit(dialect: str, **fields: Any) -> int | None:
        return DIALECTS[dialect].peek(json.dumps({"model": "m", **fields}).encode(), "m:generateContent", "").seen.max_output_tokens

    assert limit("openai_chat", max_tokens=5) == 5
    assert limit("openai_chat", max_tokens=5, max_completion_tokens=7) == 7
    assert limit("anthropic", max_tokens=10**12) == 10**12
    assert limit("openai_responses", max_output_tokens=9) == 9
    assert limit("openai_responses", tools=[{"max_output_tokens": 9}]) == 0
    assert limit("gemini", generationConfig={"maxOutputTokens": 9}) is None, "it has to be looked for"


def test_a_stream_does_not_keep_what_was_seen() -> None:
    peek = DIALECTS["openai_chat"].peek(b'{"model":"m","messages":[]}', "", "")
    peek.seen.forget()
    assert peek.seen.fields is None
