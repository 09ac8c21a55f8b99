"""Marks of other dialects' clients at which the prompt is cached: Anthropic's own, where OpenRouter and LiteLLM have them."""

from __future__ import annotations

import json
from typing import Any

import pytest

from fkproxy.dialects import DIALECTS
from fkproxy.dialects.anthropic.caching import mark_last

MARK = {"type": "ephemeral", "ttl": "1h"}
MODEL = "claude-sonnet-4-5"
CALL = {"id": "call_1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
TOOL = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}, "cache_control": MARK}}


def encode(*messages: dict[str, Any], source: str = "openai_chat", target: str = "anthropic", **fields: Any) -> tuple[Any, list[str]]:
    """(body, losses)."""
    name = "messages" if source == "openai_chat" else "input"
    dialect, given = DIALECTS[source], json.dumps({"model": "m", name: messages, **fields}).encode()
    request = dialect.decode_request(given, dialect.peek(given, "", ""))
    encoded = DIALECTS[target].encode_request(request, MODEL)
    return json.loads(encoded.body), [loss.field for loss in encoded.losses]


def text(words: str, **more: Any) -> dict[str, Any]:
    return {"type": "text", "text": words, **more}


def test_a_part_and_a_whole_message_keep_their_marks() -> None:
    body, losses = encode(
        {"role": "system", "content": "s", "cache_control": MARK},
        {"role": "user", "content": [text("a", cache_control=MARK), text("b")]},
        {"role": "user", "content": [text("c"), text("d")], "cache_control": MARK},
    )
    assert losses == []
    assert body["system"] == [text("s", cache_control=MARK)]
    assert body["messages"] == [
        {"role": "user", "content": [text("a", cache_control=MARK), text("b"), text("c"), text("d", cache_control=MARK)]}
    ]


def test_calls_results_and_tools_keep_their_marks() -> None:
    result = {"role": "tool", "tool_call_id": "call_1"}
    body, losses = encode(
        {"role": "user", "content": "x"},
        {"role": "assistant", "content": None, "tool_calls": [CALL], "cache_control": MARK},
        {**result, "content": "r", "cache_control": MARK},
        tools=[TOOL],
    )
    assert losses == []
    assert body["tools"][0]["cache_control"] == body["messages"][1]["content"][0]["cache_control"] == MARK
    assert body["messages"][2]["content"] == [{"type": "tool_result", "tool_use_id": "call_1", "content": "r", "cache_control": MARK}]


def test_a_mark_inside_a_result_is_the_results() -> None:
    body, losses = encode(
        {"role": "user", "content": "x"},
        {"role": "assistant", "tool_calls": [CALL]},
        {"role": "tool", "tool_call_id": "call_1", "content": [text("q"), text("r", cache_control=MARK)]},
    )
    content = [text("q"), text("r")]
    assert losses == []
    assert body["messages"][2]["content"] == [{"type": "tool_result", "tool_use_id": "call_1", "content": content, "cache_control": MARK}]


def test_a_thought_takes_no_mark() -> None:
    thought = {"type": "thinking", "thinking": "t", "signature": "s"}
    blocks, thoughts = [text("a"), thought], [thought]
    for each in (blocks, thoughts):
        mark_last(each, {"cache_control": MARK})
    assert (blocks, thoughts) == ([text("a", cache_control=MARK), thought], [thought])


def test_of_more_marks_than_may_be_the_last_stay() -> None:
    messages = [{"role": "user", "content": [text(word, cache_control=MARK) for word in "abcde"]}]
    body, losses = encode({"role": "system", "content": "s", "cache_control": MARK}, *messages, tools=[TOOL])
    assert losses == ["cache_control"]
    assert "cache_control" not in body["tools"][0]
    assert body["system"] == [text("s")]
    assert body["messages"][0]["content"] == [text("a"), *(text(word, cache_control=MARK) for word in "bcde")]


def test_a_tool_keeps_the_mark_beside_its_function() -> None:
    tool = {"type": "function", "function": {"name": "f", "new": 1}, "cache_control": MARK, "newer": 2}
    user = {"role": "user", "content": "x"}
    body, losses = encode(user, tools=[tool])
    assert body["tools"][0]["cache_control"] == MARK
    assert losses == ["tools[].*"]
    assert encode(user, tools=[tool, TOOL], target="openai_chat")[0]["tools"] == [tool, TOOL]


@pytest.mark.parametrize("source", ["openai_chat", "openai_responses"])
def test_a_mark_of_the_request_is_the_last_blocks(source: str) -> None:
    said = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}, {"role": "user", "content": "c"}]
    body, losses = encode(*said, source=source, cache_control=MARK)
    assert losses == []
    assert [turn["content"] for turn in body["messages"]] == [[text("a")], [text("b")], [text("c", cache_control=MARK)]]
    assert "cache_control" not in body
    # What the user says in place of nobody is another one in the next turn.
    body, _ = encode(*said[:2], source=source, cache_control=MARK, reasoning={"effort": "high"})
    assert [turn["content"] for turn in body["messages"]] == [[text("a")], [text("b", cache_control=MARK)], [text("(continue)")]]


def test_others_are_not_given_the_mark_of_the_request() -> None:
    body, losses = encode({"role": "user", "content": "x"}, cache_control=MARK, target="gemini")
    assert losses == ["cache_control"]
    assert "cache_control" not in json.dumps(body)


def test_a_time_that_is_none_here_is_left_out() -> None:
    body, _ = encode({"role": "user", "content": "x", "cache_control": {"type": "ephemeral", "ttl": "3600s"}})
    assert body["messages"][0]["content"] == [text("x", cache_control={"type": "ephemeral"})]


def test_what_is_no_mark_is_left_out() -> None:
    body, losses = encode({"role": "user", "content": "x", "cache_control": None})
    assert (losses, body["messages"]) == ([], [{"role": "user", "content": [text("x")]}])


def test_responses_keep_their_marks_too() -> None:
    part = {"type": "input_text", "text": "x", "cache_control": MARK}
    body, losses = encode({"role": "user", "content": [part]}, source="openai_responses")
    assert (losses, body["messages"]) == ([], [{"role": "user", "content": [text("x", cache_control=MARK)]}])


def test_others_are_not_given_the_mark() -> None:
    for target in ("gemini", "openai_responses"):
        body, losses = encode({"role": "user", "content": [text("x", cache_control=MARK)]}, target=target)
        assert losses == ["messages[].content[].*"]
        assert "cache_control" not in json.dumps(body)
