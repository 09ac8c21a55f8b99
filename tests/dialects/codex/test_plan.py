"""A request, as the child is told it."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from openai.types.responses import ResponseInputItemParam
from pydantic import TypeAdapter

from fkproxy.dialects import DIALECTS, UPSTREAM_DIALECTS
from fkproxy.dialects.codex.plan import Plan, reasoning_of
from fkproxy.model.errors import Unrepresentable
from fkproxy.model.request import Loss
from tests.dialects.golden import REQUESTS, Case

CODEX = UPSTREAM_DIALECTS["codex"]
ITEM: TypeAdapter[Any] = TypeAdapter(ResponseInputItemParam)
PIXEL = "data:image/png;base64,iVBORw0KGgo="
DEEP = json.loads('{"a":' * 120 + "1" + "}" * 120)
SCHEMA = {"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"], "additionalProperties": False}
TOOL = {"type": "function", "function": {"name": "f", "description": "does f", "parameters": SCHEMA}}
ASK = {"role": "user", "content": "hi"}

REFUSED = {
    "anthropic": {
        "citations",
        "forced_tool",
        "image_by_file",
        "server_tools",
        "server_tools_sent_back",
        "stop_sequence",
    }
    | {"document_by_address", "document_pdf", "images", "tool_use_streamed"},
    "gemini": {"audio", "file_by_address", "parallel_function_calls", "sampling", "vendor_tools", "video"},
    "openai_chat": {"audio_and_file", "file_by_id", "image_by_address", "parallel_tool_calls_streamed", "sampling", "vendor_tool"},
    "openai_responses": {
        "compaction_item",
        "file_input",
        "function_calls_streamed",
        "function_results",
        "image_input",
        "previous_response",
    },
}
"""Captured requests that mean something the child cannot be told."""


def encoded(dialect: str, body: dict[str, Any], model: str = "gpt-5") -> tuple[Plan, list[Loss]]:
    data = json.dumps(body).encode()
    codec = DIALECTS[dialect]
    result = CODEX.encode_request(codec.decode_request(data, codec.peek(data, "m:generateContent", "")), model)
    return msgspec.json.decode(result.body, type=Plan), list(result.losses)


def chat(*messages: Any, model: str = "gpt-5", **fields: Any) -> tuple[Plan, list[Loss]]:
    return encoded("openai_chat", {"model": "m", "messages": list(messages) or [ASK], **fields}, model)


def items(plan: Plan) -> list[Any]:
    return [json.loads(bytes(item)) for item in plan.items]


def call(call_id: str, arguments: str = "{}", name: str = "f") -> Any:
    return {"id": call_id, "type": "function", "function": {"name": name, "arguments": arguments}}


def called(*call_ids: str, text: str | None = None) -> Any:
    return {"role": "assistant", "content": text, "tool_calls": [call(call_id) for call_id in call_ids]}


def result(call_id: str, content: Any = "18C") -> Any:
    return {"role": "tool", "tool_call_id": call_id, "content": content}


@pytest.mark.parametrize("case", REQUESTS, ids=repr)
def test_every_captured_request_is_told_or_refused(case: Case) -> None:
    assert case.request is not None
    request = case.dialect.decode_request(case.request, case.peek)
    if case.path.name in REFUSED[case.dialect.name]:
        with pytest.raises(Unrepresentable, match="a codex upstream"):
            CODEX.encode_request(request, "gpt-5")
        return
    result = CODEX.encode_request(request, "gpt-5")
    plan = msgspec.json.decode(result.body, type=Plan)
    for item in items(plan):
        # What the model said itself, as it comes back to the vendor from elsewhere, has more fields than the child wants.
        said = item.get("role") == "assistant"
        ITEM.validate_python({**item, "content": item["content"][0]["text"]} if said else item)
    assert plan.model == "gpt-5"
    last = [item["call_id"] for item in items(plan) if item["type"] == "function_call_output"]
    assert [answer.call_id for answer in plan.answers] in ([], last[len(last) - len(plan.answers) :])
    assert CODEX.encode_request(request, "gpt-5") == result


# --- what is told


@pytest.mark.parametrize(
    ("dialect", "body"),
    [
        ("openai_chat", {"model": "m", "messages": [{"role": "system", "content": "Be brief."}, ASK]}),
        ("openai_chat", {"model": "m", "messages": [{"role": "developer", "content": "Be brief."}, ASK]}),
        ("openai_responses", {"model": "m", "instructions": "Be brief.", "input": "hi"}),
        ("anthropic", {"model": "m", "max_tokens": 100, "system": "Be brief.", "messages": [ASK]}),
        ("gemini", {"systemInstruction": {"parts": [{"text": "Be brief."}]}, "contents": [{"role": "user", "parts": [{"text": "hi"}]}]}),
    ],
)
def test_the_system_becomes_instructions_and_the_rest_history(dialect: str, body: dict[str, Any]) -> None:
    plan, _ = encoded(dialect, body)
    assert plan.instructions == "Be brief."
    assert items(plan) == [{"type": "message", "role": "user", "content": [{"type": "input_text", "text": "hi"}]}]


def test_where_nobody_but_the_system_says_anything_the_user_says_it() -> None:
    plan, losses = chat({"role": "system", "content": "Say hi."}, {"role": "system", "content": "Be brief."})
    said = [{"type": "message", "role": "user", "content": [{"type": "input_text", "text": "Say hi.\n\nBe brief."}]}]
    assert (plan.instructions, items(plan), losses) == ("", said, [])


def test_what_the_system_says_later_stays_where_it_is() -> None:
    first = [{"role": "system", "content": "One."}, {"role": "developer", "content": "Two."}]
    plan, _ = chat(*first, ASK, {"role": "system", "content": "Three."})
    assert plan.instructions == "One.\n\nTwo."
    assert [item["role"] for item in items(plan)] == ["user", "developer"]


def test_a_picture_that_the_system_shows_is_not_lost() -> None:
    shown = {"role": "system", "content": [{"type": "text", "text": "Our logo."}, {"type": "image_url", "image_url": {"url": PIXEL}}]}
    plan, _ = chat({"role": "system", "content": "Be brief."}, shown, ASK)
    assert plan.instructions == "Be brief."
    assert [item["role"] for item in items(plan)] == ["developer", "user"]
    assert [part["type"] for part in items(plan)[0]["content"]] == ["input_text", "input_image"]


def test_nothing_is_flattened_into_text() -> None:
    picture = {"type": "image_url", "image_url": {"url": PIXEL, "detail": "low"}}
    plan, losses = chat(
        {"role": "user", "content": [{"type": "text", "text": "look"}, picture]},
        {"role": "assistant", "content": "Let me see.", "tool_calls": [call("c1", '{"a": 1}')]},
        result("c1"),
        {"role": "assistant", "content": "It is warm."},
        {"role": "user", "content": "thanks"},
        tools=[TOOL],
    )
    assert items(plan) == [
        {
            "type": "message",
            "role": "user",
            "content": [
                {"type": "input_text", "text": "look"},
                {"type": "input_image", "image_url": PIXEL, "detail": "low"},
            ],
        },
        {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "Let me see."}]},
        {"type": "function_call", "call_id": "c1", "name": "f", "arguments": '{"a": 1}'},
        {"type": "function_call_output", "call_id": "c1", "output": "18C"},
        {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "It is warm."}]},
        {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "thanks"}]},
    ]
    assert [(tool.name, tool.description, tool.input_schema, tool.type) for tool in plan.tools] == [("f", "does f", SCHEMA, "function")]
    assert losses == []


def test_the_childs_own_model_and_how_much_it_thinks_may_stand_in_the_name() -> None:
    assert [(plan.model, plan.effort) for plan, _ in (chat(model="default(high)"), chat(model="default"), chat(model="gpt-5"))] == [
        ("default", "high"),
        ("default", None),
        ("gpt-5", None),
    ]
    assert chat(model="gpt-5(high)", reasoning_effort="low")[0].effort == "low"
    assert chat(model="gpt-5(best)")[0].model == "gpt-5(best)"


@pytest.mark.parametrize(
    ("dialect", "fields", "effort", "summary", "losses"),
    [
        ("openai_chat", {"reasoning_effort": "minimal"}, "minimal", "auto", []),
        ("openai_chat", {"reasoning_effort": "none"}, "none", "none", []),
        ("openai_chat", {}, None, "none", []),
        ("openai_responses", {"reasoning": {"effort": "high", "summary": "auto"}}, "high", "auto", []),
        ("openai_responses", {"reasoning": {"effort": "xhigh"}}, "xhigh", None, []),
        (
            "anthropic",
            {"max_tokens": 9000, "thinking": {"type": "enabled", "budget_tokens": 8000}},
            "medium",
            "auto",
            ["max_tokens", "reasoning.budget_tokens"],
        ),
        ("gemini", {"generationConfig": {"thinkingConfig": {"thinkingBudget": 0}}}, "none", "none", ["reasoning.budget_tokens"]),
    ],
)
def test_how_much_to_think(dialect: str, fields: dict[str, Any], effort: str | None, summary: str | None, losses: list[str]) -> None:
    said = {
        "openai_responses": {"model": "m", "input": "hi"},
        "gemini": {"contents": [{"role": "user", "parts": [{"text": "hi"}]}]},
    }.get(dialect, {"model": "m", "messages": [ASK]})
    plan, lost = encoded(dialect, {**said, **fields})
    assert plan.effort == effort
    assert summary is None or plan.summary == summary
    assert [loss.field for loss in lost] == losses
    assert reasoning_of(msgspec.json.encode(plan)) == (f"effort {effort}" if effort else None)


# --- answers in JSON, the choice of tools


def test_a_schema_is_the_childs_own_affair() -> None:
    plan, losses = chat(response_format={"type": "json_schema", "json_schema": {"name": "x", "strict": True, "schema": SCHEMA}})
    assert (plan.output_schema, plan.instructions, losses) == (SCHEMA, "", [])
    plan, losses = chat(response_format={"type": "json_schema", "json_schema": {"name": "x", "schema": SCHEMA}})
    assert plan.output_schema == SCHEMA
    assert losses == [Loss(field="response_format.strict", action="converted")]


def test_any_json_is_asked_for_in_words_and_that_is_told() -> None:
    plan, losses = chat({"role": "system", "content": "Be brief."}, ASK, response_format={"type": "json_object"})
    assert plan.output_schema is None
    assert plan.instructions.startswith("Be brief.\n\n")
    assert "JSON" in plan.instructions
    assert losses == [Loss(field="response_format", action="converted")]
    assert chat(response_format={"type": "text"}) == chat()


@pytest.mark.parametrize(
    ("choice", "names"),
    [
        (None, ["f", "g"]),
        ("auto", ["f", "g"]),
        ("none", []),
        ({"type": "allowed_tools", "allowed_tools": {"mode": "auto", "tools": [{"type": "function", "function": {"name": "g"}}]}}, ["g"]),
    ],
)
def test_the_choice_of_tools_is_what_is_offered(choice: Any, names: list[str]) -> None:
    tools = [TOOL, {"type": "function", "function": {"name": "g"}}]
    plan, losses = chat(tools=tools, **({"tool_choice": choice} if choice is not None else {}))
    assert [tool.name for tool in plan.tools] == names
    assert losses == []


@pytest.mark.parametrize(
    "fields",
    [
        {"tool_choice": "required", "tools": [TOOL]},
        {"tool_choice": {"type": "function", "function": {"name": "f"}}, "tools": [TOOL]},
        {
            "tool_choice": {"type": "allowed_tools", "allowed_tools": {"mode": "required", "tools": [TOOL]}},
            "tools": [TOOL, {"type": "function", "function": {"name": "g"}}],
        },
        {"n": 2},
        {"stop": ["x"]},
        {"response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": {"default": DEEP}}}},
        {"messages": [{"role": "user", "content": [{"type": "file", "file": {"file_id": "file-1"}}]}]},
    ],
)
def test_what_the_child_cannot_be_made_to_do_is_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(Unrepresentable, match="a codex upstream") as caught:
        chat(**fields)
    assert caught.value.status == 400


@pytest.mark.parametrize(
    ("fields", "losses"),
    [
        ({"max_tokens": 5}, ["max_tokens"]),
        ({"max_completion_tokens": 500}, ["max_tokens"]),
        ({"temperature": 0.2, "top_p": 0.5}, ["temperature", "top_p"]),
        ({"temperature": 1, "top_p": 1}, []),
        ({"parallel_tool_calls": False, "tools": [TOOL]}, []),
        ({"user": "u"}, ["user"]),
        ({"seed": 1, "presence_penalty": 0.5}, ["seed", "presence_penalty"]),
        ({"tools": [{"type": "function", "function": {"name": "f", "strict": True}}]}, ["tools[].strict"]),
        ({"n": 1}, []),
    ],
)
def test_what_is_left_out_is_told(fields: dict[str, Any], losses: list[str]) -> None:
    _, lost = chat(**fields)
    assert sorted(loss.field for loss in lost) == sorted(losses)


def test_who_wants_a_warm_cache_and_no_answer_gets_none() -> None:
    with pytest.raises(Unrepresentable, match="max_tokens: 0"):
        encoded("anthropic", {"model": "m", "max_tokens": 0, "messages": [ASK]})


@pytest.mark.parametrize(("said", "one"), [({}, False), ({"parallel_tool_calls": True}, False), ({"parallel_tool_calls": False}, True)])
def test_who_takes_one_tool_at_a_time_says_so(said: dict[str, Any], one: bool) -> None:
    plan, _ = chat(tools=[TOOL], **said)
    assert plan.one_tool_at_a_time is one


def test_tools_of_an_agents_servers_have_names_that_the_child_takes() -> None:
    name = "mcp__files__read"
    tools = [{"type": "function", "function": {"name": name}}]
    plan, _ = chat(ASK, {"role": "assistant", "tool_calls": [call("c1", name=name)]}, result("c1"), tools=tools)
    assert [tool.name for tool in plan.tools] == ["_mcp__files__read"]
    assert items(plan)[1]["name"] == "_mcp__files__read"


# --- rounds of tools


ROUND = (ASK, called("c1"), result("c1"))
PARALLEL = (ASK, called("c1", "c2", text="One moment."), result("c2"), result("c1"))


@pytest.mark.parametrize(
    ("messages", "answers", "asked"),
    [
        ((ASK,), [], None),
        (ROUND, ["c1"], 1),
        (PARALLEL, ["c2", "c1"], 1),
        ((*ROUND, called("c9"), result("c9")), ["c9"], 3),
        ((*ROUND, called("c9", text="And now."), result("c9")), ["c9"], 3),
        ((*PARALLEL, called("c8", "c9"), result("c8"), result("c9")), ["c8", "c9"], 6),
        ((ASK, {"role": "assistant", "content": "Hello."}, ASK, called("c1"), result("c1")), ["c1"], 3),
        ((*ROUND, ASK), [], None),
        ((*ROUND, {"role": "assistant", "content": "It is warm."}), [], None),
    ],
)
def test_results_at_the_end_are_answers_to_what_was_asked(messages: tuple[Any, ...], answers: list[str], asked: int | None) -> None:
    plan, _ = chat(*messages, tools=[TOOL])
    assert [answer.call_id for answer in plan.answers] == answers
    assert asked is None or plan.asked == asked
    before, _ = chat(*messages[: 1 if asked == 1 else len(messages)], tools=[TOOL])
    if asked == 1:
        assert plan.items[:asked] == before.items


def test_what_was_asked_begins_with_the_thought_before_it() -> None:
    thought = {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "x"}
    asked = {"type": "function_call", "call_id": "c1", "name": "f", "arguments": "{}"}
    answer = {"type": "function_call_output", "call_id": "c1", "output": "1"}
    body = {"model": "m", "input": [{"role": "user", "content": "x"}, thought, asked, answer], "tools": []}
    assert encoded("openai_responses", body)[0].asked == 1


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("18C", [{"type": "inputText", "text": "18C"}]),
        ("", [{"type": "inputText", "text": ""}]),
        (
            [{"type": "input_text", "text": "look"}, {"type": "input_image", "image_url": PIXEL}],
            [{"type": "inputText", "text": "look"}, {"type": "inputImage", "imageUrl": PIXEL}],
        ),
    ],
)
def test_answers_are_texts_and_images(content: Any, expected: Any) -> None:
    asked = {"type": "function_call", "call_id": "c1", "name": "f", "arguments": "{}"}
    answer = {"type": "function_call_output", "call_id": "c1", "output": content}
    plan, _ = encoded("openai_responses", {"model": "m", "input": [{"role": "user", "content": "x"}, asked, answer]})
    assert [answer.content_items for answer in plan.answers] == [expected]
    assert items(plan)[-1]["call_id"] == "c1"


@pytest.mark.parametrize(
    "part",
    [
        {"type": "input_image", "image_url": "https://h/x.png"},
        {"type": "input_file", "file_url": "https://h/x.pdf"},
        {"type": "input_file", "file_data": "data:application/pdf;base64,JVBERi0=", "filename": "a.pdf"},
    ],
)
def test_what_the_child_takes_nowhere_is_for_another_upstream(part: Any) -> None:
    asked = {"type": "function_call", "call_id": "c1", "name": "f", "arguments": "{}"}
    answer = {"type": "function_call_output", "call_id": "c1", "output": [{"type": "input_text", "text": "see"}, part]}
    for said in ([{"role": "user", "content": [part]}], [ASK, asked, answer]):
        with pytest.raises(Unrepresentable):
            encoded("openai_responses", {"model": "m", "input": said})


def test_a_tool_that_failed_says_so() -> None:
    asked = {"role": "assistant", "content": [{"type": "tool_use", "id": "t", "name": "f", "input": {}}]}
    failed = {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t", "is_error": True, "content": "no network"}]}
    plan, _ = encoded("anthropic", {"model": "m", "max_tokens": 1, "messages": [ASK, asked, failed]})
    (answer,) = plan.answers
    assert "failed" in answer.content_items[0]["text"]
    assert "no network" in answer.content_items[0]["text"]
