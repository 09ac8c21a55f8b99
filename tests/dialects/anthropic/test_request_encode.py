"""Requests of another dialect on their way to Anthropic: what it insists on and others do not."""

from __future__ import annotations

import json
import sys
from typing import Any

import pytest

from fkproxy.dialects import DIALECTS
from fkproxy.model.errors import Unrepresentable
from fkproxy.model.parts import Media, Message, Reasoning, Seal, Text, ToolCall, ToolResult
from fkproxy.model.request import ChatRequest, OutputFormat, ReasoningConfig, Sampling, Tool, ToolChoice

MESSAGES = DIALECTS["anthropic"]
BUDGETED, ADAPTIVE, LATEST = "claude-sonnet-4-5", "claude-opus-4-6", "claude-opus-5-5"
USER = Message(role="user", parts=(Text(text="hello"),))
TOOL = Tool(name="f", parameters={"type": "object", "properties": {}})
PNG, PDF = "aGk=", "JVBERg=="


def encode(*messages: Message, model: str = BUDGETED, **fields: Any) -> tuple[Any, list[str]]:
    """(body, losses)."""
    encoded = MESSAGES.encode_request(ChatRequest(dialect="openai_chat", model="m", messages=messages or (USER,), **fields), model)
    return json.loads(encoded.body), [f"{loss.field} {loss.action}" for loss in encoded.losses]


def said(role: Any, *parts: Any) -> Message:
    return Message(role=role, parts=tuple(Text(text=part) if isinstance(part, str) else part for part in parts))


def call(call_id: str, name: str = "f", arguments: str = "{}", **more: Any) -> ToolCall:
    return ToolCall(id=call_id, name=name, arguments=arguments, **more)


def result(call_id: str, *parts: Any, **more: Any) -> Message:
    texts = tuple(Text(text=part) if isinstance(part, str) else part for part in parts)
    return Message(role="tool", parts=(ToolResult(call_id=call_id, parts=texts, **more),))


def turns(*messages: Message, **fields: Any) -> Any:
    """The turns as (role, short words for the blocks)."""
    body, _ = encode(*messages, **fields)
    return [(turn["role"], [short(block) for block in turn["content"]]) for turn in body["messages"]]


def short(block: dict[str, Any]) -> str:
    match block["type"]:
        case "text":
            return str(block["text"])
        case "tool_use":
            return f"call {block['id']}"
        case "tool_result":
            return f"result {block['tool_use_id']}"
        case kind:
            return str(kind)


# --- turns


def test_system_messages_in_front_are_the_system_prompt() -> None:
    body, losses = encode(said("system", "a"), said("system", "b"), USER)
    assert body["system"] == [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]
    assert [turn["role"] for turn in body["messages"]] == ["user"]
    assert losses == []


def test_a_later_one_keeps_its_place_as_the_users_word() -> None:
    body, losses = encode(USER, said("assistant", "hi"), said("system", "be brief"), said("user", "more"))
    assert "system" not in body
    assert [turn["role"] for turn in body["messages"]] == ["user", "assistant", "user"]
    assert losses == ["messages[].role converted"]


def test_nothing_but_a_system_message_is_what_the_user_says() -> None:
    assert turns(said("system", "a")) == [("user", ["a"])]
    assert encode(said("system", "a"))[1] == ["messages[].role converted"]


def test_who_says_nothing_but_blanks_is_told_that_something_else_was_said() -> None:
    body, losses = encode(said("user", " "))
    assert body["messages"] == [{"role": "user", "content": [{"type": "text", "text": "(begin)"}]}]
    assert losses == ["messages[].content converted"]


def test_turns_of_one_role_are_one_and_no_text_is_empty() -> None:
    assert turns(said("user", "a", ""), said("user", "b"), said("assistant", ""), said("user", "c")) == [("user", ["a", "b", "c"])]


def test_text_of_blanks_only_is_left_out() -> None:
    history = (said("user", " ", "a"), said("assistant", "\n\n", call("x")), result("x", " "), said("assistant", "\t"), said("user", "\n"))
    assert turns(*history) == [("user", ["a"]), ("assistant", ["call x"]), ("user", ["result x"])]
    body, _ = encode(said("system", " "), *history)
    assert "system" not in body
    assert body["messages"][-1]["content"] == [{"type": "tool_result", "tool_use_id": "x"}]


def test_a_structured_result_of_blanks_only_is_left_out() -> None:
    image = Media(kind="image", mime_type="image/png", data=PNG)
    body, _ = encode(USER, said("assistant", call("x")), result("x", image, structured=""))
    assert [block["type"] for block in body["messages"][-1]["content"][0]["content"]] == ["image"]


def test_the_user_speaks_first() -> None:
    assert turns(said("assistant", "hi"), USER) == [("user", ["(begin)"]), ("assistant", ["hi"]), ("user", ["hello"])]
    assert encode(said("assistant", "hi"), USER)[1] == ["messages[].role converted"]


@pytest.mark.parametrize(
    ("model", "reasoning", "expected"),
    [
        (BUDGETED, None, [("user", ["hello"]), ("assistant", ["The answer is"])]),
        (BUDGETED, "high", [("user", ["hello"]), ("assistant", ["The answer is  "]), ("user", ["(continue)"])]),
        (ADAPTIVE, None, [("user", ["hello"]), ("assistant", ["The answer is  "]), ("user", ["(continue)"])]),
    ],
)
def test_the_assistant_has_the_last_word_only_where_the_model_goes_on_with_it(model: str, reasoning: Any, expected: Any) -> None:
    config = ReasoningConfig(effort=reasoning) if reasoning else None
    assert turns(USER, said("assistant", "The answer is  "), model=model, reasoning=config) == expected


def test_results_stand_first_and_in_the_order_of_the_calls() -> None:
    history = (USER, said("assistant", "wait", call("a"), call("b")), result("b", "2"), said("user", "now?"), result("a", "1"))
    assert turns(*history)[-1] == ("user", ["result a", "result b", "now?"])


def test_a_result_that_the_model_did_not_wait_for_stands_behind_its_call() -> None:
    history = (USER, said("assistant", call("a"), call("b")), result("a", "1"), said("assistant", "One is there."), result("b", "2"), USER)
    body, losses = encode(*history)
    assert body["messages"][2]["content"] == [{"type": "tool_result", "tool_use_id": name, "content": text} for name, text in ("a1", "b2")]
    assert [turn["role"] for turn in body["messages"]] == ["user", "assistant", "user", "assistant", "user"]
    assert losses == []


def test_ids_are_cleaned_and_made_unique_on_both_sides_of_a_pair() -> None:
    first = (said("assistant", call("call:1"), call("call.1")), result("call:1", "x"), result("call.1", "y"))
    second = (said("assistant", call("call:1")), result("call:1", "z"))
    body, losses = encode(USER, *first, *second)
    ids = [block["id"] for turn in body["messages"] for block in turn["content"] if block["type"] == "tool_use"]
    results = {
        block["tool_use_id"]: block["content"] for turn in body["messages"] for block in turn["content"] if block["type"] == "tool_result"
    }
    assert ids == ["call_1", "call_1_2", "call_1_3"]
    assert results == {"call_1": "x", "call_1_2": "y", "call_1_3": "z"}
    assert losses == []


@pytest.mark.parametrize("same", [True, False])
def test_many_calls_in_one_turn_take_time_in_proportion(same: bool) -> None:
    """Time is lines of the program that are gone through, and ids that are compared."""
    steps = 0

    class Id(str):
        __slots__ = ()
        __hash__ = str.__hash__

        def __eq__(self, other: object) -> bool:
            return str.__eq__(self, other) is True

    def line(*_: Any) -> Any:
        nonlocal steps
        steps += 1
        return line

    def spent(count: int) -> int:
        nonlocal steps
        ids = [Id("x" if same else f"c{index}") for index in range(count)]
        history = (USER, said("assistant", *(call(each) for each in ids)), *(result(each, "1") for each in reversed(ids)))
        request = ChatRequest(dialect="openai_chat", model="m", messages=history, tools=(TOOL,))
        steps = 0
        sys.settrace(line)
        try:
            MESSAGES.encode_request(request, BUDGETED)
        finally:
            sys.settrace(None)
        return steps

    few, many = spent(250), spent(2_000)
    assert few < many < 8 * few * 1.1


def test_a_longer_conversation_begins_with_the_bytes_of_the_shorter_one() -> None:
    history = [said("system", "s"), USER, said("assistant", call("a:b")), result("a:b", "1"), said("assistant", "done"), said("user", "ok")]
    short_body = MESSAGES.encode_request(ChatRequest(dialect="gemini", model="m", messages=tuple(history), tools=(TOOL,)), ADAPTIVE).body
    history += [said("assistant", call("a:b")), result("a:b", "2")]
    long_body = MESSAGES.encode_request(ChatRequest(dialect="gemini", model="m", messages=tuple(history), tools=(TOOL,)), ADAPTIVE).body
    assert long_body.startswith(short_body.removesuffix(b"]}"))


def test_a_call_without_a_result_gets_one_that_says_so() -> None:
    body, losses = encode(USER, said("assistant", call("a"), call("b")), result("a", "1"))
    missing = body["messages"][-1]["content"][1]
    assert missing == {"type": "tool_result", "tool_use_id": "b", "content": "No result.", "is_error": True}
    assert losses == ["tool_calls[] converted"]
    assert turns(USER, said("assistant", call("a")))[-1] == ("user", ["result a"])


def test_a_result_without_a_call_is_the_users_word() -> None:
    body, losses = encode(USER, result("gone", "7"))
    assert [block["text"] for block in body["messages"][0]["content"]] == ["Result of the tool call gone:", "7", "hello"]
    assert losses == ["tool_result converted"]


# --- parts


def test_a_result_in_every_form() -> None:
    calls = said("assistant", *(call(str(index)) for index in range(5)))
    image = Media(kind="image", mime_type="image/png", data=PNG)
    answers = (
        result("0", "text"),
        result("1"),
        result("2", structured={"a": 1}),
        result("3", "see", image),
        result("4", "bad", is_error=True),
    )
    body, _ = encode(USER, calls, *answers)
    found = [block.get("content") for block in body["messages"][-1]["content"]]
    shown = [{"type": "text", "text": "see"}, {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PNG}}]
    assert found == ["text", None, '{"a":1}', shown, "bad"]
    assert body["messages"][-1]["content"][4]["is_error"] is True


def test_a_result_with_media_is_not_called_an_error() -> None:
    image = Media(kind="image", mime_type="image/png", data=PNG)
    body, losses = encode(USER, said("assistant", call("a")), result("a", image, structured={"error": "no"}, is_error=True), tools=(TOOL,))
    (block,) = body["messages"][-1]["content"]
    assert "is_error" not in block
    assert block["content"][0] == {"type": "text", "text": '{"error":"no"}'}
    assert losses == ["tool_result.is_error dropped"]


def test_a_seal_goes_to_its_own_vendor_only() -> None:
    own, foreign = Seal(dialect="anthropic", data="S"), Seal(dialect="gemini", data="G")
    thoughts = (Reasoning(text="a", seal=own), Reasoning(redacted=True, seal=own), Reasoning(text="b", seal=foreign), Reasoning(text="c"))
    history = (USER, said("assistant", *thoughts, call("x", seal=foreign)), result("x", "1"))
    body, losses = encode(*history, reasoning=ReasoningConfig(effort="high"))
    assert body["messages"][1]["content"][:-1] == [
        {"type": "thinking", "thinking": "a", "signature": "S"},
        {"type": "redacted_thinking", "data": "S"},
    ]
    assert "G" not in json.dumps(body["messages"])
    assert losses == ["seal dropped", "reasoning dropped"]


@pytest.mark.parametrize(
    ("media", "expected"),
    [
        (
            Media(kind="image", mime_type="image/jpg", data="/9g="),
            {"type": "image", "source": {"type": "base64", "media_type": "image/jpeg", "data": "/9g="}},
        ),
        (Media(kind="image", url="https://x/y"), {"type": "image", "source": {"type": "url", "url": "https://x/y"}}),
        (
            Media(kind="file", mime_type="application/pdf", data=PDF, name="a.pdf"),
            {"type": "document", "source": {"type": "base64", "media_type": "application/pdf", "data": PDF}, "title": "a.pdf"},
        ),
        (
            Media(kind="file", mime_type="text/csv", data="aGk="),
            {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "hi"}},
        ),
        (Media(kind="file", url="https://x/y.pdf"), {"type": "document", "source": {"type": "url", "url": "https://x/y.pdf"}}),
    ],
)
def test_media(media: Media, expected: dict[str, Any]) -> None:
    body, _ = encode(said("user", media))
    assert body["messages"][0]["content"] == [expected]


@pytest.mark.parametrize(
    ("media", "what"),
    [
        (Media(kind="image", mime_type="image/bmp", data=PNG), "an image of type image/bmp"),
        (Media(kind="image", url="gs://bucket/x"), "a file by an address that is not on the web"),
        (Media(kind="file", mime_type="application/zip", data=PDF), "a file of type application/zip"),
        (Media(kind="file", file_id="file-1"), "a file by its id"),
        (Media(kind="audio", mime_type="audio/wav", data=PDF), "audio"),
        (Media(kind="video", url="https://x/y.mp4"), "a video"),
    ],
)
def test_media_that_cannot_be_said(media: Media, what: str) -> None:
    with pytest.raises(Unrepresentable) as caught:
        encode(said("user", media))
    assert caught.value.param == what


def test_arguments_that_are_no_object_are_kept_in_one() -> None:
    body, losses = encode(USER, said("assistant", call("a", arguments="{oops")), result("a", "1"))
    assert body["messages"][1]["content"][0]["input"] == {"arguments": "{oops"}
    assert losses == ["tool_calls[].arguments converted"]


def test_what_a_model_has_drawn_is_handed_to_the_next_by_the_user() -> None:
    image = Media(kind="image", mime_type="image/png", data=PNG)
    history = (USER, said("assistant", "look", image, call("x")), result("x", "1"), said("assistant", image), said("user", "nice"))
    assert turns(*history) == [
        ("user", ["hello"]),
        ("assistant", ["look", "call x"]),
        ("user", ["result x", "Media in the answer:", "image", "Media in the answer:", "image", "nice"]),
    ]
    assert encode(*history)[1] == ["messages[].media converted"]


def test_no_turn_ends_with_a_thought() -> None:
    thought = Reasoning(text="t", seal=Seal(dialect="anthropic", data="S"))
    redacted = Reasoning(redacted=True, seal=Seal(dialect="anthropic", data="R"))
    history = (USER, said("assistant", thought), said("user", "go on"), said("assistant", thought, "yes", redacted), said("user", "more"))
    body, losses = encode(*history, reasoning=ReasoningConfig(budget_tokens=2048))
    kinds = [(turn["role"], [block["type"] for block in turn["content"]]) for turn in body["messages"]]
    assert kinds == [("user", ["text", "text"]), ("assistant", ["thinking", "text"]), ("user", ["text"])]
    assert losses == ["reasoning dropped"]
    assert encode(said("assistant", thought), said("user", "hello"))[0]["messages"][0]["role"] == "user"


# --- the rest of the body


@pytest.mark.parametrize(
    ("model", "sampling", "expected", "lost"),
    [
        (BUDGETED, Sampling(temperature=1.7), {"temperature": 1.0}, ["temperature converted"]),
        (BUDGETED, Sampling(temperature=0.5, top_p=0.9, top_k=5), {"temperature": 0.5, "top_k": 5}, ["top_p dropped"]),
        ("claude-sonnet-4-0", Sampling(temperature=0.5, top_p=0.9), {"temperature": 0.5, "top_p": 0.9}, []),
        (LATEST, Sampling(temperature=0.5, top_k=3), {}, ["temperature dropped", "top_k dropped"]),
        (LATEST, Sampling(temperature=1, top_p=1.0), {}, []),
        (LATEST, Sampling(top_k=1), {}, ["top_k dropped"]),
        (BUDGETED, Sampling(seed=0, logit_bias={"1": 1}, logprobs=True), {}, ["seed dropped", "logprobs dropped", "logit_bias dropped"]),
        (BUDGETED, Sampling(choices=1, presence_penalty=0.0, logprobs=False), {}, []),
        (BUDGETED, Sampling(stop=("\n", "END")), {"stop_sequences": ["END"]}, ["stop dropped"]),
    ],
)
def test_sampling(model: str, sampling: Sampling, expected: dict[str, Any], lost: list[str]) -> None:
    body, losses = encode(model=model, sampling=sampling)
    assert {name: value for name, value in body.items() if name not in ("model", "messages", "max_tokens")} == expected
    assert losses == lost


@pytest.mark.parametrize(
    ("model", "given", "expected", "lost"),
    [
        (BUDGETED, None, 32_000, []),
        (BUDGETED, 100, 100, []),
        (BUDGETED, 200_000, 64_000, ["max_tokens converted"]),
        ("claude-3-opus-20240229", None, 4_096, []),
        ("another-vendors-model", None, 8_192, []),
        ("another-vendors-model", 200_000, 200_000, []),
    ],
)
def test_the_length_of_an_answer_is_always_said(model: str, given: int | None, expected: int, lost: list[str]) -> None:
    body, losses = encode(model=model, sampling=Sampling(max_output_tokens=given))
    assert (body["max_tokens"], losses) == (expected, lost)


def test_several_answers_are_refused() -> None:
    with pytest.raises(Unrepresentable) as caught:
        encode(sampling=Sampling(choices=2))
    assert caught.value.param == "n"


@pytest.mark.parametrize(
    ("choice", "parallel", "model", "expected", "names", "lost"),
    [
        (None, None, BUDGETED, None, ["f", "g", "h"], []),
        (None, False, BUDGETED, {"type": "auto", "disable_parallel_tool_use": True}, ["f", "g", "h"], []),
        (ToolChoice(mode="none"), False, BUDGETED, {"type": "none"}, ["f", "g", "h"], []),
        (ToolChoice(mode="required"), None, BUDGETED, {"type": "any"}, ["f", "g", "h"], []),
        (
            ToolChoice(mode="required", names=("g",)),
            False,
            BUDGETED,
            {"type": "tool", "name": "g", "disable_parallel_tool_use": True},
            ["f", "g", "h"],
            [],
        ),
        (ToolChoice(mode="required", names=("g", "h")), None, BUDGETED, {"type": "any"}, ["g", "h"], []),
        (ToolChoice(mode="auto", names=("h",)), None, BUDGETED, {"type": "auto"}, ["h"], []),
        (ToolChoice(mode="required"), None, LATEST, {"type": "auto"}, ["f", "g", "h"], ["tool_choice converted"]),
    ],
)
def test_the_choice_of_tools(choice: Any, parallel: Any, model: str, expected: Any, names: list[str], lost: list[str]) -> None:
    tools = tuple(Tool(name=name, parameters={"type": "object"}) for name in "fgh")
    body, losses = encode(tools=tools, tool_choice=choice, parallel_tool_calls=parallel, model=model)
    assert body.get("tool_choice") == expected
    assert [tool["name"] for tool in body["tools"]] == names
    assert losses == lost


def test_without_tools_there_is_no_choice() -> None:
    body, _ = encode(tool_choice=ToolChoice(mode="auto"), parallel_tool_calls=False)
    assert "tool_choice" not in body


def test_nor_where_all_tools_are_another_vendors() -> None:
    search = Tool(name="web_search", kind="web_search", optional=True)
    body, losses = encode(tools=(search,), tool_choice=ToolChoice(mode="auto"))
    assert ("tools" in body, "tool_choice" in body) == (False, False)
    assert losses == ["web_search dropped"]


def test_tools_that_were_called_are_declared_and_not_called_again() -> None:
    history = (USER, said("assistant", call("a", "f"), call("b", "g_h"), call("c", "f")), *(result(each, "1") for each in "abc"))
    body, losses = encode(*history)
    assert body["tools"] == [{"name": name, "input_schema": {"type": "object", "properties": {}}} for name in ("f", "g_h")]
    assert body["tool_choice"] == {"type": "none"}
    assert losses == []


def test_strict_tools_as_many_as_there_may_be() -> None:
    def strict(count: int, model: str = BUDGETED) -> tuple[Any, list[str]]:
        return encode(
            tools=tuple(Tool(name=f"f{index}", parameters={"type": "object"}, strict=True) for index in range(count)), model=model
        )

    body, losses = strict(20)
    assert body["tools"][0] == {"name": "f0", "input_schema": {"type": "object", "additionalProperties": False}, "strict": True}
    assert losses == []
    for body, losses in (strict(21), strict(1, "claude-sonnet-4-0")):
        assert body["tools"][0] == {"name": "f0", "input_schema": {"type": "object"}}
        assert losses == ["tools[].strict dropped"]


def test_what_an_answer_must_look_like() -> None:
    schema = {"type": "object", "properties": {"a": {"type": "integer", "minimum": 1}}}
    body, losses = encode(output=OutputFormat(kind="json_schema", schema_=schema, name="x", strict=True))
    assert body["output_config"]["format"]["schema"]["properties"]["a"] == {"type": "integer", "description": "(minimum: 1)"}
    assert body["output_config"]["format"]["schema"]["additionalProperties"] is False
    assert losses == []
    with pytest.raises(Unrepresentable):
        encode(output=OutputFormat(kind="json_schema", schema_=schema), model="claude-sonnet-4-0")
    body, losses = encode(said("system", "s"), USER, output=OutputFormat(kind="json"))
    assert [block["text"][:26] for block in body["system"]] == ["s", "Answer with a single JSON "]
    assert losses == ["response_format converted"]


def test_who_asks() -> None:
    assert encode(user="u1")[0]["metadata"] == {"user_id": "u1"}
    body, losses = encode(user="u" * 257)
    assert ("metadata" in body, losses) == (False, ["user dropped"])


# --- thinking beside the rest


@pytest.mark.parametrize(
    ("model", "thinks", "choice", "lost"),
    [
        (BUDGETED, False, "any", ["reasoning dropped"]),
        (ADAPTIVE, True, "any", []),
        ("claude-opus-5", True, "any", []),
        (LATEST, True, "auto", ["tool_choice converted"]),
        ("claude-mythos-preview", True, "auto", ["tool_choice converted"]),
    ],
)
def test_a_forced_tool_and_a_budget_to_think_exclude_each_other(model: str, thinks: bool, choice: str, lost: list[str]) -> None:
    body, losses = encode(tools=(TOOL,), tool_choice=ToolChoice(mode="required"), reasoning=ReasoningConfig(effort="high"), model=model)
    assert ("thinking" in body, body["tool_choice"], losses) == (thinks, {"type": choice}, lost)


def test_while_it_thinks_sampling_is_the_models_own() -> None:
    body, losses = encode(reasoning=ReasoningConfig(effort="low"), sampling=Sampling(temperature=0.2))
    assert body["thinking"] == {"type": "enabled", "budget_tokens": 1024}
    assert "temperature" not in body
    assert losses == ["temperature dropped"]


@pytest.mark.parametrize(
    ("model", "reasoning", "kept"),
    [
        (BUDGETED, None, False),
        (BUDGETED, "none", False),
        (BUDGETED, "high", True),
        (ADAPTIVE, None, False),
        ("claude-opus-5", None, True),
        ("claude-opus-5", "none", False),
        (LATEST, "none", True),
    ],
)
def test_who_does_not_think_gets_no_thoughts_back(model: str, reasoning: Any, kept: bool) -> None:
    thought = Reasoning(text="t", seal=Seal(dialect="anthropic", data="S"))
    config = ReasoningConfig(effort=reasoning) if reasoning else None
    body, losses = encode(USER, said("assistant", thought, call("a")), result("a", "1"), model=model, reasoning=config, tools=(TOOL,))
    assert [block["type"] for block in body["messages"][1]["content"]] == ["thinking", "tool_use"] if kept else ["tool_use"]
    assert ("reasoning dropped" in losses) is not kept


def test_without_the_thoughts_before_its_calls_a_model_with_a_budget_does_not_think() -> None:
    bare = (USER, said("assistant", call("a")), result("a", "1"))
    own = Reasoning(text="t", seal=Seal(dialect="anthropic", data="S"))
    kept = (USER, said("assistant", own, call("a")), result("a", "1"))
    reasoning = ReasoningConfig(budget_tokens=2048)
    assert "thinking" not in encode(*bare, reasoning=reasoning)[0]
    assert encode(*bare, reasoning=reasoning)[1] == ["reasoning dropped"]
    assert encode(*kept, reasoning=reasoning)[0]["thinking"]["budget_tokens"] == 2048
    assert encode(*bare, reasoning=reasoning, model=ADAPTIVE)[0]["thinking"]["type"] == "adaptive"
    assert encode(*bare, said("assistant", "done"), USER, reasoning=reasoning)[0]["thinking"]["budget_tokens"] == 2048
