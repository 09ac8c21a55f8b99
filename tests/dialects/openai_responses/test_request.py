"""Requests: what is checked, and what of this dialect means something in others."""

from __future__ import annotations

import json
from typing import Any

import pytest

from fkproxy.dialects import DIALECTS
from fkproxy.dialects.base import UNREADABLE_REASONING, Peek
from fkproxy.dialects.envelope import close_envelope
from fkproxy.model.errors import InvalidRequest, Unrepresentable
from fkproxy.model.parts import Media, Reasoning, Seal
from fkproxy.model.request import ChatRequest, Loss, ReasoningConfig

RESPONSES = DIALECTS["openai_responses"]
USER = {"role": "user", "content": "x"}
CALLED = {"functionCall": {"name": "f", "args": {}}}
ANSWERED = {"role": "user", "parts": [{"functionResponse": {"name": "f", "response": {"a": 1}}}]}


def decoded(**fields: Any) -> ChatRequest:
    body = json.dumps({"model": "m", "input": "x", **fields}).encode()
    return RESPONSES.decode_request(body, RESPONSES.peek(body, "", ""))


def into(dialect: str, request: ChatRequest, model: str = "m") -> Any:
    return json.loads(DIALECTS[dialect].encode_request(request, model).body)


@pytest.mark.parametrize(
    ("fields", "path"),
    [
        ({"input": []}, "input"),
        ({"input": 1}, "input"),
        ({"input": [1]}, "input[0]"),
        ({"input": [{"role": "nobody", "content": "x"}]}, "input[0].role"),
        ({"input": [{"role": "user"}]}, "input[0].content"),
        ({"input": [{"role": "user", "content": [{"type": "input_image"}]}]}, "input[0].content[0].image_url"),
        ({"input": [{"role": "user", "content": [{"type": "input_image", "image_url": "ftp://x"}]}]}, "input[0].content[0].image_url"),
        ({"input": [{"role": "user", "content": [{"type": "input_file"}]}]}, "input[0].content[0].file_data"),
        ({"input": [{"type": "function_call", "name": "f"}]}, "input[0].call_id"),
        ({"input": [{"type": "image_generation_call", "result": "!"}]}, "input[0].result"),
        ({"input": [{"type": "function_call_output", "call_id": "1"}]}, "input[0].output"),
        ({"input": [{"type": "tool_search_output", "call_id": "1", "tools": [{}]}]}, "input[0].tools[0].type"),
        ({"input": [{"type": "configuration_update", "reasoning": {"effort": "huge"}}]}, "input[0].reasoning.effort"),
        ({"input": [{"type": "additional_tools", "tools": [{"type": "function"}]}]}, "input[0].tools[0].name"),
        ({"tools": [{"name": "f"}]}, "tools[0].type"),
        ({"tools": [{"type": "function"}]}, "tools[0].name"),
        ({"tool_choice": "any"}, "tool_choice"),
        ({"text": {"format": {"type": "xml"}}}, "text.format.type"),
        ({"reasoning": {"effort": "huge"}}, "reasoning.effort"),
        ({"temperature": 3}, "temperature"),
        ({"max_output_tokens": 0}, "max_output_tokens"),
    ],
)
def test_what_is_wrong_is_named(fields: dict[str, Any], path: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        decoded(**fields)
    assert caught.value.param == path


@pytest.mark.parametrize(
    ("body", "path"),
    [
        (b'{"input": "x"}', "model"),
        (b'{"model": ""}', "model"),
        (b'{"model": 1}', "model"),
        (b"[]", None),
        (b'{"model": "m", "stream": 1}', "stream"),
    ],
)
def test_routing_needs_a_model(body: bytes, path: str | None) -> None:
    with pytest.raises(InvalidRequest) as caught:
        RESPONSES.peek(body, "", "")
    assert caught.value.param == path


def test_only_the_model_changes_on_the_way_to_the_same_dialect() -> None:
    body = b'{"model": "a",  "input": "\\u00e9", "n": 1.0}'
    asked = RESPONSES.peek(body, "", "")
    assert RESPONSES.forward_request(body, asked, "a") is body
    assert json.loads(RESPONSES.forward_request(body, asked, "b")) == {**json.loads(body), "model": "b"}


def test_what_the_model_said_is_one_message_and_parallel_calls_stay_together() -> None:
    calls = [{"type": "function_call", "call_id": str(n), "name": "f", "arguments": "{}"} for n in (1, 2)]
    results = [{"type": "function_call_output", "call_id": str(n), "output": "ok"} for n in (2, 1)]
    request = decoded(input=[USER, {"type": "reasoning", "summary": []}, *calls, *results])
    assert [message.role for message in request.messages] == ["user", "assistant", "tool", "tool"]
    chat = into("openai_chat", request)["messages"]
    assert [len(message.get("tool_calls", ())) for message in chat] == [0, 2, 0, 0]


def test_a_custom_tool_is_a_function_with_one_string_elsewhere() -> None:
    grammar = {"type": "grammar", "syntax": "lark", "definition": "start: /.+/"}
    call = {"type": "custom_tool_call", "call_id": "1", "name": "run", "input": 'print("hi")'}
    request = decoded(
        input=[USER, call, {"type": "custom_tool_call_output", "call_id": "1", "output": "hi"}],
        tools=[{"type": "custom", "name": "run", "description": "Runs it.", "format": grammar}],
    )
    chat = into("openai_chat", request)
    function = chat["tools"][0]["function"]
    assert function["parameters"]["required"] == ["input"]
    assert "start: /.+/" in function["description"]
    assert json.loads(chat["messages"][1]["tool_calls"][0]["function"]["arguments"]) == {"input": 'print("hi")'}


def test_a_namespace_becomes_part_of_the_names() -> None:
    tool = {"type": "function", "name": "close", "parameters": {"type": "object"}}
    request = decoded(tools=[{"type": "namespace", "name": "agents", "tools": [tool]}])
    assert into("openai_chat", request)["tools"][0]["function"]["name"] == "agents__close"


def more_tools(*tools: dict[str, Any]) -> dict[str, Any]:
    """As the Codex CLI has them for its vendor's own models, in front of all messages."""
    return {"type": "additional_tools", "id": "at_1", "role": "developer", "tools": list(tools)}


@pytest.mark.parametrize("dialect", ["openai_chat", "gemini", "anthropic"])
@pytest.mark.parametrize("at", [0, 1, 2, 3, 4])
def test_tools_that_an_item_makes_known_are_those_of_the_request_and_nobody_says_them(dialect: str, at: int) -> None:
    call = {"type": "function_call", "call_id": "1", "name": "f", "arguments": "{}"}
    items = [USER, {"role": "assistant", "content": "y"}, call, {"type": "function_call_output", "call_id": "1", "output": "z"}]
    function = {"type": "function", "name": "f", "parameters": {"type": "object"}}
    items.insert(at, more_tools({"type": "namespace", "name": "functions", "description": "", "tools": [function]}))
    request = decoded(input=items)
    plain = decoded(input=[item for item in items if item.get("type") != "additional_tools"], tools=[function])
    assert into(dialect, request) == into(dialect, plain)
    assert into("openai_responses", request)["input"] == items
    assert "tools" not in into("openai_responses", request)


def test_of_tools_with_one_name_the_one_that_is_made_known_last_is_meant() -> None:
    old, new = ({"type": "function", "name": "f", "description": text} for text in ("old", "new"))
    request = decoded(input=[more_tools(old, {"type": "custom", "name": "run"}), USER, more_tools(new)], tools=[{"type": "web_search"}])
    assert [(tool.name, tool.description) for tool in request.tools] == [("web_search", None), ("f", "new"), ("run", None)]


def test_tools_may_be_made_known_to_a_conversation_that_the_vendor_keeps() -> None:
    items = [more_tools({"type": "function", "name": "f"})]
    assert into("openai_responses", decoded(input=items, previous_response_id="resp_1"))["input"] == items


SEARCH: dict[str, Any] = {
    "type": "tool_search",
    "execution": "client",
    "description": "Finds tools.",
    "parameters": {"type": "object", "properties": {"query": {"type": "string"}}},
}
"""As the Codex CLI offers it in place of its MCP servers' tools."""
SEARCHED: dict[str, Any] = {"type": "tool_search_call", "call_id": "1", "execution": "client", "arguments": {"query": "birds"}}
DEFERRED: dict[str, Any] = {"type": "function", "name": "f", "defer_loading": True, "parameters": {"type": "object"}}
FOUND: dict[str, Any] = {
    "type": "tool_search_output",
    "call_id": "1",
    "execution": "client",
    "tools": [{"type": "namespace", "name": "birds", "description": "", "tools": [DEFERRED]}, {**DEFERRED, "name": "g"}],
}


@pytest.mark.parametrize("dialect", ["openai_chat", "gemini", "anthropic"])
def test_a_search_for_tools_that_the_client_runs_is_a_function_and_what_it_finds_are_tools(dialect: str) -> None:
    items = [USER, SEARCHED, FOUND]
    request = decoded(input=items, tools=[SEARCH])
    functions = [{**DEFERRED, "name": name} for name in ("birds__f", "g")]
    plain = decoded(
        input=[
            USER,
            {"type": "function_call", "call_id": "1", "name": "tool_search", "arguments": '{"query":"birds"}'},
            {"type": "function_call_output", "call_id": "1", "output": '{"tools":["birds__f","g"]}'},
        ],
        tools=[{**SEARCH, "type": "function", "name": "tool_search"}, *functions],
    )
    assert into("openai_responses", request) == {"model": "m", "input": items, "tools": [SEARCH]}
    assert into(dialect, request) == into(dialect, plain)


def test_the_call_of_a_search_may_be_no_json() -> None:
    request = decoded(input=[USER, {**SEARCHED, "arguments": '{"query'}, {**FOUND, "tools": []}], tools=[SEARCH])
    assert into("openai_chat", request)["messages"][1]["tool_calls"][0]["function"]["arguments"] == '{"query'
    assert into("gemini", request)["contents"][1]["parts"][0]["functionCall"]["name"] == "tool_search"
    assert into("anthropic", request)["messages"][1]["content"][0]["name"] == "tool_search"


def test_a_search_for_tools_may_find_none_and_be_the_tool_that_is_chosen() -> None:
    request = decoded(input=[USER, SEARCHED, {**FOUND, "tools": []}], tools=[SEARCH], tool_choice={"type": "tool_search"})
    told = into("openai_chat", request)
    assert (told["messages"][-1]["content"], told["tool_choice"]["function"]["name"]) == ('{"tools":[]}', "tool_search")


@pytest.mark.parametrize("at", [1, 2, 4])
def test_what_the_vendor_searched_for_itself_is_said_to_nobody_and_its_tools_are_known(at: int) -> None:
    run = [{**item, "execution": "server", "call_id": None} for item in (SEARCHED, FOUND)]
    items = [USER, {"role": "assistant", "content": "y"}, {"type": "function_call", "call_id": "2", "name": "g", "arguments": "{}"}]
    items += [{"type": "function_call_output", "call_id": "2", "output": "z"}]
    request = decoded(input=[*items[:at], *run, *items[at:]], tools=[{"type": "tool_search"}])
    assert [tool.name for tool in request.tools] == ["tool_search", "birds__f", "g"]
    told = into("openai_chat", request)
    assert [each["function"]["name"] for each in told["tools"]] == ["birds__f", "g"]
    assert [message["role"] for message in told["messages"] if message.get("content") or "tool_calls" in message][-1] == "tool"
    assert into("openai_responses", request)["input"] == [*items[:at], *run, *items[at:]]


def update(**settings: Any) -> dict[str, Any]:
    return {"type": "configuration_update", "id": "cu_1", **settings}


@pytest.mark.parametrize("dialect", ["openai_chat", "gemini", "anthropic"])
@pytest.mark.parametrize("at", [0, 1, 2])
def test_settings_that_an_item_changes_are_those_of_the_request_and_nobody_says_it(dialect: str, at: int) -> None:
    schema = {"type": "json_schema", "name": "a", "schema": {"type": "object"}}
    items = [USER, {"role": "assistant", "content": "y"}]
    items.insert(at, update(reasoning={"effort": "high"}))
    items += [USER, update(text={"format": schema}), update(reasoning={"effort": "low"}), update(reasoning={"effort": None})]
    request = decoded(input=items, reasoning={"effort": "medium"}, text={"format": {"type": "text"}})
    said = [item for item in items if item.get("type") != "configuration_update"]
    plain = decoded(input=said, reasoning={"effort": "low"}, text={"format": schema})
    assert into(dialect, request, FOREIGN[dialect]) == into(dialect, plain, FOREIGN[dialect])
    assert into("openai_responses", request)["input"] == items
    assert into("openai_responses", request)["reasoning"] == {"effort": "medium"}
    assert decoded(input=items).reasoning == plain.reasoning


def test_the_effort_that_an_item_asks_for_is_what_is_asked_and_gives_way_to_the_gateways() -> None:
    both = update(reasoning={"effort": "high"}, text={"format": {"type": "text"}})
    items = [update(reasoning={"effort": "max"}, text=None), USER, both, {"role": "user", "content": '"configuration_update"'}]
    items += [update(reasoning={})]
    body = json.dumps({"model": "m", "input": items, "reasoning": {"effort": "low", "summary": "auto"}}).encode()
    assert RESPONSES.reasoning_of(body) == "effort high"
    alone = json.dumps({"model": "m", "input": items}).encode()
    assert (RESPONSES.peek(alone, "", "").may_think, RESPONSES.reasoning_of(alone)) == (True, "effort high")
    applied = RESPONSES.apply_reasoning(body, ReasoningConfig(effort="minimal"), "m").body
    assert RESPONSES.reasoning_of(applied) == "effort minimal"
    assert json.loads(applied)["input"] == [USER, update(text={"format": {"type": "text"}}), items[3]]
    assert RESPONSES.reasoning_of(json.dumps({"input": '"configuration_update" "effort"'}).encode()) is None
    assert RESPONSES.reasoning_of(b'{"input": [{"type": "configuration_update", "reasoning": {"effort": 1}}]}') == UNREADABLE_REASONING


def test_a_tool_that_only_the_vendor_has_may_be_left_out_and_is_told() -> None:
    encoded = DIALECTS["gemini"].encode_request(decoded(tools=[{"type": "web_search"}]), "gemini-2.5-pro")
    assert "tools" not in json.loads(encoded.body)
    assert [loss.field for loss in encoded.losses] == ["web_search"]


@pytest.mark.parametrize("dialect", ["openai_chat", "gemini", "anthropic"])
def test_where_no_tool_is_left_there_is_no_choice_among_them(dialect: str) -> None:
    request = decoded(tools=[{"type": "web_search"}], tool_choice="auto", parallel_tool_calls=False)
    assert not {"tools", "tool_choice", "parallel_tool_calls", "toolConfig"} & set(into(dialect, request))


@pytest.mark.parametrize("field", ["previous_response_id", "conversation", "background"])
def test_what_only_the_vendor_keeps_is_refused_elsewhere(field: str) -> None:
    request = decoded(**{field: True if field == "background" else "id_1"}, stream=True)
    for dialect in ("openai_chat", "gemini", "anthropic"):
        with pytest.raises(Unrepresentable) as caught:
            DIALECTS[dialect].encode_request(request, "m")
        assert caught.value.param == field


@pytest.mark.parametrize("field", ["background", "store", "previous_response_id"])
def test_what_is_off_is_no_loss(field: str) -> None:
    request = decoded(**{field: None if field == "previous_response_id" else False})
    assert DIALECTS["gemini"].encode_request(request, "gemini-2.5-pro").losses == ()


def test_a_thought_goes_back_to_the_vendor_that_sealed_it_and_to_nobody_else() -> None:
    sealed = close_envelope(Seal(dialect="anthropic", data="c2ln"), "openai_responses")
    thought = {"type": "reasoning", "id": "rs_1", "summary": [{"type": "summary_text", "text": "t"}], "encrypted_content": sealed}
    request = decoded(input=[USER, thought, {"role": "assistant", "content": "y"}, USER], reasoning={"effort": "high"})
    (part,) = [part for message in request.messages for part in message.parts if isinstance(part, Reasoning)]
    assert part == Reasoning(text="t", seal=Seal(dialect="anthropic", data="c2ln"))
    blocks = into("anthropic", request, "claude-sonnet-4-5")["messages"][1]["content"]
    assert blocks[0] == {"type": "thinking", "thinking": "t", "signature": "c2ln"}
    for dialect in ("openai_chat", "gemini"):
        assert "c2ln" not in json.dumps(into(dialect, request))


def test_thoughts_come_back_without_ids() -> None:
    messages: list[Any] = [USER]
    for seal in ("gAAA1", "gAAA2"):
        signature = close_envelope(Seal(dialect="openai_responses", data=seal), "anthropic")
        thought = {"type": "thinking", "thinking": f"of {seal}", "signature": signature}
        messages += [{"role": "assistant", "content": [thought, {"type": "text", "text": "y"}]}, USER]
    body = json.dumps({"model": "m", "max_tokens": 99, "messages": messages}).encode()
    request = DIALECTS["anthropic"].decode_request(body, Peek(model="m"))
    assert [item for item in into("openai_responses", request, "gpt-5")["input"] if item["type"] == "reasoning"] == [
        {"type": "reasoning", "summary": [{"type": "summary_text", "text": f"of {seal}"}], "encrypted_content": seal}
        for seal in ("gAAA1", "gAAA2")
    ]


@pytest.mark.parametrize("said", [[], [{"role": "assistant", "content": "found"}]])
def test_a_search_of_an_earlier_turn_is_left_out_elsewhere_and_named(said: list[Any]) -> None:
    search = {"type": "web_search_call", "id": "ws_1", "status": "completed", "action": {"type": "search", "query": "q"}}
    request = decoded(input=[USER, search, *said, USER])
    chat = DIALECTS["openai_chat"].encode_request(request, "m")
    assert json.loads(chat.body)["messages"] == [USER, *said, USER]
    assert chat.losses == (Loss(field="messages[].*"),)
    assert into("openai_responses", request)["input"] == [USER, search, *said, USER]


@pytest.mark.parametrize(
    ("given", "expected", "losses"),
    [
        ({"effort": "low"}, ReasoningConfig(effort="low"), ()),
        ({"summary": "auto"}, ReasoningConfig(include_thoughts=True), ()),
        ({"generate_summary": "concise"}, ReasoningConfig(include_thoughts=True), ()),
        ({"effort": "high", "summary": "none"}, ReasoningConfig(effort="high"), ()),
        ({"effort": None, "summary": None}, None, ()),
        ({"effort": "high", "mode": "pro"}, ReasoningConfig(effort="high"), (Loss(field="reasoning.*", from_client=True),)),
        ({"context": "current_turn"}, None, (Loss(field="reasoning.*", from_client=True),)),
    ],
)
def test_what_is_said_about_reasoning(given: dict[str, Any], expected: ReasoningConfig | None, losses: tuple[Loss, ...]) -> None:
    request = decoded(input="x", reasoning=given)
    assert request.reasoning == expected
    assert DIALECTS["openai_chat"].encode_request(request, "m").losses == losses
    assert into("openai_responses", request)["reasoning"] == given


def test_reasoning_is_asked_for_encrypted_and_nothing_is_stored() -> None:
    chat = DIALECTS["openai_chat"]
    body = json.dumps({"model": "m", "messages": [USER], "reasoning_effort": "high", "temperature": 0.5, "max_tokens": 5}).encode()
    request = chat.decode_request(body, Peek(model="m"))
    thinking = into("openai_responses", request, "gpt-5")
    assert thinking["store"] is False
    assert thinking["include"] == ["reasoning.encrypted_content"]
    assert thinking["reasoning"] == {"effort": "high", "summary": "auto"}
    assert "temperature" not in thinking
    assert thinking["max_output_tokens"] == 16
    plain = into("openai_responses", request, "gpt-4.1")
    assert "include" not in plain
    assert "reasoning" not in plain
    assert (plain["temperature"], plain["max_output_tokens"]) == (0.5, 16)


@pytest.mark.parametrize(("fields", "param"), [({"n": 2}, "n"), ({"stop": ["END"]}, "stop")])
def test_what_the_dialect_cannot_say_is_refused(fields: dict[str, Any], param: str) -> None:
    body = json.dumps({"model": "m", "messages": [USER], **fields}).encode()
    request = DIALECTS["openai_chat"].decode_request(body, Peek(model="m"))
    with pytest.raises(Unrepresentable) as caught:
        RESPONSES.encode_request(request, "gpt-5")
    assert caught.value.param == param


FUNCTION = {"type": "function", "name": "f", "parameters": {"type": "object", "properties": {}}}
FOREIGN = {"openai_chat": "gpt-4.1", "anthropic": "claude-sonnet-4-5", "gemini": "gemini-2.5-pro"}


@pytest.mark.parametrize("tools", [[], [{"type": "web_search"}]])
def test_without_tools_nothing_is_said_of_their_choice(tools: list[Any]) -> None:
    request = decoded(tools=tools, tool_choice="auto", parallel_tool_calls=False)
    for dialect, model in FOREIGN.items():
        body = into(dialect, request, model)
        assert not body.keys() & {"tool_choice", "parallel_tool_calls", "toolConfig"}


@pytest.mark.parametrize(
    ("tools", "choice"),
    [
        ([FUNCTION, {"type": "web_search"}], {"type": "web_search"}),
        ([{"type": "web_search"}], "required"),
        ([FUNCTION, {"type": "web_search"}], {"type": "allowed_tools", "mode": "required", "tools": [{"type": "web_search"}]}),
    ],
)
def test_a_tool_that_must_be_used_and_is_left_out_is_refused(tools: list[Any], choice: Any) -> None:
    request = decoded(tools=tools, tool_choice=choice)
    for dialect, model in FOREIGN.items():
        with pytest.raises(Unrepresentable) as caught:
            DIALECTS[dialect].encode_request(request, model)
        assert caught.value.param == "tool_choice"


@pytest.mark.parametrize(
    ("allowed", "choice"),
    [
        ([{"type": "web_search"}], "none"),
        (
            [{"type": "web_search"}, FUNCTION],
            {"type": "allowed_tools", "allowed_tools": {"mode": "auto", "tools": [{"type": "function", "function": {"name": "f"}}]}},
        ),
    ],
)
def test_of_the_tools_that_are_allowed_those_that_go_along_are_left(allowed: list[Any], choice: Any) -> None:
    tools = [FUNCTION, {"type": "function", "name": "g"}, {"type": "web_search"}]
    request = decoded(tools=tools, tool_choice={"type": "allowed_tools", "mode": "auto", "tools": allowed})
    assert into("openai_chat", request)["tool_choice"] == choice


def test_an_allowed_tool_of_a_namespace_has_its_joined_name() -> None:
    allowed = {"type": "allowed_tools", "mode": "required", "tools": [{"type": "function", "namespace": "n", "name": "f"}]}
    request = decoded(tools=[{"type": "namespace", "name": "n", "tools": [FUNCTION]}], tool_choice=allowed)
    assert into("openai_chat", request)["tool_choice"] == {"type": "function", "function": {"name": "n__f"}}


@pytest.mark.parametrize(
    ("fields", "chat", "gemini"),
    [
        ({"top_logprobs": 3}, {"logprobs": True, "top_logprobs": 3}, {"responseLogprobs": True, "logprobs": 3}),
        ({"include": ["message.output_text.logprobs"]}, {"logprobs": True}, {"responseLogprobs": True}),
        ({"top_logprobs": 0}, {}, {}),
    ],
)
def test_log_probabilities_are_asked_for_in_full(fields: dict[str, Any], chat: dict[str, Any], gemini: dict[str, Any]) -> None:
    request = decoded(**fields)
    assert {name: value for name, value in into("openai_chat", request).items() if "logprobs" in name} == chat
    config = into("gemini", request, "gemini-2.5-pro").get("generationConfig", {})
    assert config == gemini
    assert into("openai_responses", request) == {"model": "m", "input": "x", **fields}


def test_thoughts_of_another_vendors_model_do_not_go_to_this_one() -> None:
    said = {"type": "message", "role": "assistant", "content": "y"}
    foreign = close_envelope(Seal(dialect="anthropic", data="c2ln"), "openai_responses")
    thoughts = [
        {"type": "reasoning", "id": "rs_0", "summary": [], "encrypted_content": foreign},
        {"type": "reasoning", "id": "rs_8f3a_0", "summary": [{"type": "summary_text", "text": "t"}]},
    ]
    kept = [
        {"type": "reasoning", "id": "rs_68af", "summary": []},
        {"type": "reasoning", "id": "rs_8f3a_0", "summary": [], "encrypted_content": "gAAAA"},
        {"type": "item_reference", "id": "rs_68af"},
        said,
        USER,
    ]
    body = json.dumps({"model": "m", "input": [*thoughts, *kept], "n": 1.0}).encode()
    asked = RESPONSES.peek(body, "", "")
    for model in ("m", "other"):
        assert json.loads(RESPONSES.forward_request(body, asked, model)) == {"model": model, "input": kept, "n": 1.0}


def test_items_that_nobody_can_read_are_refused() -> None:
    sealed = b'{"model": "m", "input": [{"type": "compaction", "encrypted_content": "fkproxy1.", "a": "\xff"}]}'
    changed = b'{"model": "m", "input": [{"type": "configuration_update", "reasoning": {"effort": "low"}, "a": "\xff"}]}'
    with pytest.raises(InvalidRequest):
        RESPONSES.forward_request(sealed, RESPONSES.peek(sealed, "", ""), "m")
    with pytest.raises(InvalidRequest):
        RESPONSES.apply_reasoning(changed, ReasoningConfig(effort="minimal"), "m")
    assert RESPONSES.reasoning_of(changed) == UNREADABLE_REASONING


def test_words_of_an_envelope_in_a_text_are_a_text() -> None:
    body = json.dumps({"model": "m", "input": '"encrypted_content": "fkproxy1."', "a": {"encrypted_content": "fkproxy1."}}).encode()
    assert json.loads(RESPONSES.forward_request(body, RESPONSES.peek(body, "", ""), "m")) == json.loads(body)


@pytest.mark.parametrize(
    ("named", "mime_type"),
    [
        ({}, "application/pdf"),
        ({"filename": "a.PDF"}, "application/pdf"),
        ({"filename": "a.txt"}, "text/plain"),
        ({"filename": "a.??"}, None),
    ],
)
def test_a_file_without_its_type_is_of_the_type_that_its_name_says(named: dict[str, str], mime_type: str | None) -> None:
    request = decoded(input=[{"role": "user", "content": [{"type": "input_file", "file_data": "aGVsbG8=", **named}]}])
    (part,) = request.messages[0].parts
    assert isinstance(part, Media)
    assert part.mime_type == mime_type


@pytest.mark.parametrize(("asked", "losses"), [(1, [("max_tokens", "converted")]), (16, []), (99, [])])
def test_a_limit_that_is_raised_is_told(asked: int, losses: list[tuple[str, str]]) -> None:
    body = json.dumps({"model": "m", "messages": [USER], "max_tokens": asked}).encode()
    encoded = RESPONSES.encode_request(DIALECTS["openai_chat"].decode_request(body, Peek(model="m")), "gpt-5")
    assert json.loads(encoded.body)["max_output_tokens"] == max(16, asked)
    assert [(loss.field, loss.action) for loss in encoded.losses] == losses


def test_media_that_the_model_made_are_in_the_users_hands() -> None:
    made = [{"text": "here"}, {"inlineData": {"mimeType": "image/png", "data": "aGk="}, "thoughtSignature": "c2ln"}, CALLED]
    contents = [{"role": "user", "parts": [{"text": "x"}]}, {"role": "model", "parts": made}, ANSWERED]
    request = DIALECTS["gemini"].decode_request(json.dumps({"contents": contents}).encode(), Peek(model="m"))
    found = RESPONSES.encode_request(request, "gpt-5")
    items = json.loads(found.body)["input"]
    kinds = ["message", "message", "function_call", "message", "function_call_output"]
    assert [item["type"] for item in items] == kinds
    assert (items[3]["role"], items[3]["content"]) == (
        "user",
        [
            {"type": "input_text", "text": "Media in the answer:"},
            {"type": "input_image", "image_url": "data:image/png;base64,aGk=", "detail": "auto"},
        ],
    )
    assert [f"{loss.field} {loss.action}" for loss in found.losses] == ["seal dropped", "messages[].media converted"]


def test_sounds_that_the_model_made_are_left_out() -> None:
    contents = [{"role": "model", "parts": [{"inlineData": {"mimeType": "audio/wav", "data": "aGk="}}]}, {"parts": [{"text": "x"}]}]
    request = DIALECTS["gemini"].decode_request(json.dumps({"contents": contents}).encode(), Peek(model="m"))
    found = RESPONSES.encode_request(request, "gpt-5")
    assert [item["role"] for item in json.loads(found.body)["input"]] == ["user"]
    assert [f"{loss.field} {loss.action}" for loss in found.losses] == ["media dropped"]
