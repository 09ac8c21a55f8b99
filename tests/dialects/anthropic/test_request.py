"""Messages requests: what is refused and how it is said, what becomes of them elsewhere, and the way to a server of the same dialect."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fkproxy.dialects import DIALECTS
from fkproxy.dialects.base import Peek
from fkproxy.model.errors import InvalidRequest, Unrepresentable
from fkproxy.model.parts import Media, Message, Opaque, Reasoning, Seal, Text, ToolCall, ToolResult
from fkproxy.model.request import Loss, ReasoningConfig, ToolChoice

MESSAGES = DIALECTS["anthropic"]
USER = [{"role": "user", "content": "hello"}]


def decode(**fields: Any) -> Any:
    body = json.dumps({"model": "m", "max_tokens": 100, "messages": USER, **fields}).encode()
    return MESSAGES.decode_request(body, MESSAGES.peek(body, "", ""))


def blocks(*content: dict[str, Any], role: str = "user") -> tuple[Message, ...]:
    messages: tuple[Message, ...] = decode(messages=[{"role": role, "content": list(content)}]).messages
    return messages


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({"model": "m"}, Peek(model="m", may_think=False)),
        ({"stream": True, "model": "m"}, Peek(model="m", stream=True, may_think=False)),
        ({"model": "m", "thinking": "no object"}, Peek(model="m")),
        ({"model": "m", "output_config": {"effort": "low"}}, Peek(model="m")),
    ],
)
def test_what_routing_needs(body: dict[str, Any], expected: Peek) -> None:
    assert MESSAGES.peek(json.dumps(body).encode(), "", "beta=true") == expected


@pytest.mark.parametrize(
    ("body", "path"),
    [(b"", None), (b"[]", None), (b'{"messages": []}', "model"), (b'{"model": ""}', "model"), (b'{"model": "m", "stream": 1}', "stream")],
)
def test_what_cannot_be_routed_is_refused(body: bytes, path: str | None) -> None:
    with pytest.raises(InvalidRequest) as caught:
        MESSAGES.peek(body, "", "")
    assert caught.value.param == path


@pytest.mark.parametrize(
    ("fields", "path"),
    [
        ({"messages": []}, "messages"),
        ({"messages": "hello"}, "messages"),
        ({"messages": [{"role": "tool", "content": "x"}]}, "messages[0].role"),
        ({"messages": [{"role": "user"}]}, "messages[0].content"),
        ({"messages": [{"role": "user", "content": 1}]}, "messages[0].content"),
        ({"messages": [{"role": "user", "content": [{"text": "x"}]}]}, "messages[0].content[0].type"),
        ({"messages": [{"role": "user", "content": [{"type": "image", "source": {"type": "url"}}]}]}, "messages[0].content[0].source.url"),
        ({"max_tokens": None}, "max_tokens"),
        ({"max_tokens": 1.5}, "max_tokens"),
        ({"temperature": 1.2}, "temperature"),
        ({"system": 1}, "system"),
        ({"thinking": {"type": "enabled"}}, "thinking.budget_tokens"),
        ({"thinking": {}}, "thinking.type"),
        ({"output_config": {"effort": "huge"}}, "output_config.effort"),
        ({"output_config": {"format": {"type": "json"}}}, "output_config.format.type"),
        ({"output_config": {"format": {}}}, "output_config.format.type"),
        ({"tools": [{"name": "f"}]}, "tools[0].input_schema"),
        ({"tools": [{"input_schema": {}}]}, "tools[0].name"),
        ({"tool_choice": {"type": "tool"}}, "tool_choice.name"),
        ({"tool_choice": {}}, "tool_choice.type"),
    ],
)
def test_what_is_wrong_is_named(fields: dict[str, Any], path: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        decode(**fields)
    assert caught.value.param == path


def test_base64_is_checked_and_not_quoted() -> None:
    source = {"type": "base64", "media_type": "image/png", "data": "not base64!"}
    with pytest.raises(InvalidRequest) as caught:
        blocks({"type": "image", "source": source})
    assert caught.value.param == "messages[0].content[0].source.data"
    assert "not base64!" not in str(caught.value)


def test_tool_results_are_messages_of_their_own() -> None:
    request = decode(
        messages=[
            {"role": "assistant", "content": [{"type": "tool_use", "id": "t1", "name": "f", "input": {"a": 1}}]},
            {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t1", "content": "7"}, {"type": "text", "text": "and?"}]},
        ]
    )
    assert [message.role for message in request.messages] == ["assistant", "tool", "user"]
    assert request.messages[0].parts == (ToolCall(id="t1", name="f", arguments='{"a":1}'),)
    (result,) = request.messages[1].parts
    assert (result.call_id, result.name, result.parts, result.is_error) == ("t1", "f", (Text(text="7"),), False)
    assert request.messages[2].parts == (Text(text="and?"),)


def test_what_only_this_dialect_has_in_a_tool_result_is_told_as_text_where_it_has_some() -> None:
    found = {
        "type": "search_result",
        "source": "s",
        "title": "t",
        "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}],
    }
    (message,) = blocks({"type": "tool_result", "tool_use_id": "t1", "content": [found, {"type": "tool_reference", "tool_name": "f"}]})
    (result,) = message.parts
    assert isinstance(result, ToolResult)
    assert [part.text for part in result.parts if isinstance(part, Text)] == ["t\ns\na\nb", "f"]
    assert "content.*" in result.extra


@pytest.mark.parametrize("content", ["a", [{"type": "text", "text": "a"}]])
def test_a_document_of_blocks_in_a_tool_result_is_told_as_text(content: Any) -> None:
    found = {"type": "document", "source": {"type": "content", "content": content}, "title": "t"}
    (message,) = blocks({"type": "tool_result", "tool_use_id": "t1", "content": [found]})
    (result,) = message.parts
    assert isinstance(result, ToolResult)
    assert [part.text for part in result.parts if isinstance(part, Text)] == ["t\na"]
    assert result.extra["content.*"] == [found]


@pytest.mark.parametrize(
    ("block", "text"),
    [
        ({"type": "search_result", "source": "s", "title": "t", "content": [{"type": "text", "text": "a"}]}, "t\ns\na"),
        ({"type": "document", "source": {"type": "content", "content": "a"}, "title": "t", "citations": {"enabled": True}}, "t\na"),
        ({"type": "document", "source": {"type": "content", "content": [{"type": "text", "text": "a"}]}}, "a"),
    ],
)
def test_what_a_user_brings_in_blocks_is_told_as_text_and_comes_back_as_it_was(block: dict[str, Any], text: str) -> None:
    question = {"role": "user", "content": [block, {"type": "text", "text": "why?"}]}
    request = decode(messages=[question])
    told = DIALECTS["openai_chat"].encode_request(request, "m")
    assert [part["text"] for part in json.loads(told.body)["messages"][0]["content"]] == [text, "why?"]
    assert told.losses == (Loss(field="messages[].content[].*"),)
    assert json.loads(MESSAGES.encode_request(request, "m").body)["messages"] == [question]


@pytest.mark.parametrize("dialect", ["openai_chat", "openai_responses", "gemini"])
def test_the_mark_where_another_model_took_over_is_nothing_to_other_vendors(dialect: str) -> None:
    mark = {"type": "fallback", "from": {"model": "a"}, "to": {"model": "b"}, "trigger": {"type": "refusal", "category": "cyber"}}
    turns = [*USER, {"role": "assistant", "content": [mark, {"type": "text", "text": "yes"}]}, *USER]
    marked = decode(messages=turns)
    assert json.loads(MESSAGES.encode_request(marked, "m").body)["messages"] == turns
    encoded = DIALECTS[dialect].encode_request(marked, "m")
    assert encoded.losses == (Loss(field="messages[].content[].*"),)
    told = json.dumps(json.loads(encoded.body))
    assert "yes" in told
    assert "fallback" not in told


def test_the_mark_where_another_model_took_over_is_no_text_either() -> None:
    mark = {"type": "fallback", "from": {"model": "a"}, "to": {"model": "b"}}
    call = {"type": "tool_use", "id": "t", "name": "f", "input": {}}
    result = {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t", "content": "r"}]}
    called, answered = ({"role": "assistant", "content": [mark, block]} for block in (call, {"type": "text", "text": "yes"}))
    marked = {"role": "assistant", "content": [mark]}
    encoded = DIALECTS["openai_chat"].encode_request(decode(messages=[*USER, called, result, answered, *USER, marked, *USER]), "m")
    contents = [message["content"] for message in json.loads(encoded.body)["messages"] if message["role"] == "assistant"]
    assert contents == [None, "yes", ""]


CALL = {"type": "tool_use", "id": "1", "name": "f", "input": {}}


@pytest.mark.parametrize("dialect", ["openai_chat", "openai_responses", "gemini"])
@pytest.mark.parametrize("before", [[], [{"type": "text", "text": "BEFORE"}]])
@pytest.mark.parametrize(
    "behind",
    [
        [],
        [{"role": "user", "content": "go on"}],
        [{"role": "assistant", "content": [CALL]}, {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "1"}]}],
    ],
)
def test_a_summary_is_told_to_other_vendors_in_place_of_what_it_stands_for(
    dialect: str, before: list[dict[str, Any]], behind: list[dict[str, Any]]
) -> None:
    summary = {"type": "compaction", "content": "THE SUMMARY", "signature": "SEALED", "encrypted_content": "SEALED"}
    older = {**summary, "content": "BEFORE"}
    said = [
        {"role": "user", "content": "BEFORE"},
        {"role": "assistant", "content": [*before, older]},
        {"role": "user", "content": "BEFORE"},
    ]
    turns = [*said, {"role": "assistant", "content": [*before, summary, {"type": "text", "text": "behind"}]}, *behind]
    request = decode(messages=turns, system="ABOVE")
    assert json.loads(MESSAGES.encode_request(request, "m").body)["messages"] == turns
    encoded = DIALECTS[dialect].encode_request(request, "m")
    body = json.loads(encoded.body)
    told = json.dumps(body)
    assert "ABOVE" in told
    assert told.index("THE SUMMARY") < told.index("behind")
    assert "BEFORE" not in told
    assert "SEALED" not in told
    conversation = body.get("messages") or body.get("input") or body["contents"]
    first = next(turn for turn in conversation if "THE SUMMARY" in json.dumps(turn))
    assert first["role"] == "user"
    assert encoded.losses == (Loss(field="messages[].content[].*"),)


@pytest.mark.parametrize("dialect", ["openai_chat", "openai_responses", "gemini"])
def test_a_summary_that_failed_stands_for_nothing(dialect: str) -> None:
    failed = {"type": "compaction", "content": None, "encrypted_content": "SEALED"}
    turns = [*USER, {"role": "assistant", "content": [failed, {"type": "text", "text": "yes"}]}, *USER]
    request = decode(messages=turns)
    assert json.loads(MESSAGES.encode_request(request, "m").body)["messages"] == turns
    told = json.dumps(json.loads(DIALECTS[dialect].encode_request(request, "m").body))
    assert told.count("hello") == 2
    assert "yes" in told
    assert "SEALED" not in told


def test_a_thought_has_the_seal_of_this_dialect_or_none() -> None:
    signed, redacted, foreign = blocks(
        {"type": "thinking", "thinking": "a", "signature": "S"},
        {"type": "redacted_thinking", "data": "R"},
        {"type": "thinking", "thinking": "b", "signature": ""},
        role="assistant",
    )[0].parts
    assert signed == Reasoning(text="a", seal=Seal(dialect="anthropic", data="S"))
    assert redacted == Reasoning(redacted=True, seal=Seal(dialect="anthropic", data="R"))
    assert isinstance(foreign, Reasoning)
    assert foreign.seal is None


def test_media_of_every_source() -> None:
    def one(kind: str, **source: str) -> Any:
        return blocks({"type": kind, "source": source})[0].parts[0]

    assert one("image", type="base64", media_type="image/png", data="aGk=") == Media(kind="image", mime_type="image/png", data="aGk=")
    assert one("image", type="url", url="https://x/y.png") == Media(kind="image", url="https://x/y.png")
    assert one("document", type="file", file_id="file_1") == Media(kind="file", file_id="file_1")
    plain = one("document", type="text", media_type="text/plain", data="hé")
    assert (plain.kind, plain.mime_type, plain.data) == ("file", "text/plain", "aMOp")
    assert isinstance(one("document", type="content"), Opaque)
    assert isinstance(blocks({"type": "container_upload", "file_id": "f"})[0].parts[0], Opaque)


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, None),
        ({"thinking": {"type": "enabled", "budget_tokens": 2048}}, ReasoningConfig(budget_tokens=2048)),
        ({"thinking": {"type": "disabled"}}, ReasoningConfig(effort="none")),
        ({"thinking": {"type": "between_tools"}}, ReasoningConfig(effort="none")),
        ({"thinking": {"type": "adaptive"}}, ReasoningConfig(budget_tokens=-1)),
        ({"thinking": {"type": "adaptive", "display": "omitted"}}, ReasoningConfig(budget_tokens=-1, include_thoughts=False)),
        (
            {"thinking": {"type": "adaptive", "display": "summarized"}, "output_config": {"effort": "max"}},
            ReasoningConfig(effort="max", include_thoughts=True),
        ),
        ({"output_config": {"effort": "low"}}, ReasoningConfig(effort="low")),
    ],
)
def test_how_much_to_think(fields: dict[str, Any], expected: ReasoningConfig | None) -> None:
    assert decode(**fields).reasoning == expected


@pytest.mark.parametrize(
    ("choice", "expected", "parallel"),
    [
        ({"type": "auto"}, ToolChoice(mode="auto"), None),
        ({"type": "any", "disable_parallel_tool_use": True}, ToolChoice(mode="required"), False),
        ({"type": "tool", "name": "f", "disable_parallel_tool_use": False}, ToolChoice(mode="required", names=("f",)), True),
        ({"type": "none"}, ToolChoice(mode="none"), None),
    ],
)
def test_the_choice_of_tools(choice: dict[str, Any], expected: ToolChoice, parallel: bool | None) -> None:
    request = decode(tool_choice=choice)
    assert (request.tool_choice, request.parallel_tool_calls) == (expected, parallel)


def test_an_unsigned_thought_does_not_go_to_a_server_that_would_refuse_it() -> None:
    thought = {"type": "thinking", "thinking": "of another vendor's model", "signature": ""}
    signed = {"type": "thinking", "thinking": "own", "signature": "S"}
    history = [
        {"role": "user", "content": 'what does "signature":"" mean?'},
        {"role": "assistant", "content": [thought, {"type": "text", "text": "hi"}]},
        {"role": "user", "content": "more"},
        {"role": "assistant", "content": [thought]},
        {"role": "assistant", "content": [signed, {"type": "text", "text": "more"}]},
    ]
    body = json.dumps({"model": "m", "max_tokens": 1, "messages": history}).encode()
    sent = json.loads(MESSAGES.forward_request(body, Peek(model="m"), "m"))
    assert sent["messages"] == [
        history[0],
        {"role": "assistant", "content": [{"type": "text", "text": "hi"}]},
        history[2],
        history[4],
    ]


CALL = {"type": "tool_use", "id": "a", "name": "f", "input": {}}
RESULT = {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "a", "content": "r"}]}
CLEARING, TRIMMING = {"type": "clear_thinking_20251015", "keep": "all"}, {"type": "clear_tool_uses_20250919"}
UNSIGNED, SIGNED = ({"type": "thinking", "thinking": "t", "signature": signature} for signature in ("fkproxy1.e30=", "S"))


@pytest.mark.parametrize(
    ("said", "after", "kind", "thinks"),
    [
        ([UNSIGNED, CALL], [RESULT], "enabled", False),
        ([UNSIGNED, {"type": "text", "text": "t"}, CALL], [RESULT], "enabled", False),
        ([UNSIGNED, CALL], [RESULT], "adaptive", True),
        ([UNSIGNED, SIGNED, CALL], [RESULT], "enabled", True),
        ([UNSIGNED, CALL], [RESULT, {"role": "assistant", "content": "done"}, {"role": "user", "content": "more"}], "enabled", True),
    ],
)
def test_where_the_thoughts_that_led_to_calls_are_left_out_there_is_no_budget(said: Any, after: Any, kind: str, thinks: bool) -> None:
    thinking = {"type": kind, **({"budget_tokens": 2000} if kind == "enabled" else {})}
    history = [{"role": "user", "content": "q"}, {"role": "assistant", "content": said}, *after]
    management = {"edits": [CLEARING, TRIMMING]}
    body = {"model": "m", "max_tokens": 9, "messages": history, "thinking": thinking, "context_management": management}
    sent = json.loads(MESSAGES.forward_request(json.dumps(body).encode(), Peek(model="m"), "m"))
    assert sent.get("thinking") == (thinking if thinks else None)
    assert sent["context_management"] == (management if thinks else {"edits": [TRIMMING]})
    assert sent["messages"][1]["content"] == [block for block in said if block is not UNSIGNED]


@pytest.mark.parametrize("odd", [b'{"content": "signature\xff"}', b'{"signature": "", "content": "\xff"}'])
def test_a_message_that_cannot_be_read_is_the_servers_to_refuse(odd: bytes) -> None:
    thought = b'{"content": [{"type": "thinking", "signature": ""}, {"type": "text"}]}'
    body = b'{"model": "m", "thinking": {"type": "enabled"}, "messages": [%s, %s]}' % (thought, odd)
    sent = MESSAGES.forward_request(body, Peek(model="m"), "m")
    assert (odd in sent, thought in sent, b'"content":[{"type":"text"}]' in sent) == (True, False, True)


def test_a_request_without_such_a_thought_keeps_its_bytes() -> None:
    body = b'{"model": "m",  "messages": [{"role": "user", "content": "the signature is \\u0041"}]}'
    assert MESSAGES.forward_request(body, Peek(model="m"), "m") is body
    renamed = MESSAGES.forward_request(body, Peek(model="m"), "n")
    assert b'"the signature is \\u0041"' in renamed
    assert json.loads(renamed)["model"] == "n"


@pytest.mark.parametrize("dialect", ["openai_chat", "openai_responses", "gemini"])
@pytest.mark.parametrize("kind", ["image", "document"])
@pytest.mark.parametrize("in_result", [True, False])
def test_a_file_by_its_id_goes_to_no_other_vendor(dialect: str, kind: str, in_result: bool) -> None:
    block = {"type": kind, "source": {"type": "file", "file_id": "file_1"}}
    result = {"type": "tool_result", "tool_use_id": "1", "content": [block]}
    call = {"type": "tool_use", "id": "1", "name": "f", "input": {}}
    history = [*USER, {"role": "assistant", "content": [call]}, {"role": "user", "content": [result if in_result else block]}]
    with pytest.raises(Unrepresentable) as caught:
        DIALECTS[dialect].encode_request(decode(messages=history), "m")
    assert caught.value.param == "a file by its id"


BILLED = ("x-anthropic-billing-header: cc_version=2.1.37.0d9; cc_entrypoint=cli; cch=", ";")


def with_bill(nonce: str, *more: str) -> Any:
    return decode(system=[{"type": "text", "text": text} for text in (nonce.join(BILLED), *more)])


@pytest.mark.parametrize("dialect", [name for name in DIALECTS if name != "anthropic"])
def test_what_a_client_tells_the_vendor_for_its_bill_does_not_begin_another_ones_prompt(dialect: str) -> None:
    encode = DIALECTS[dialect].encode_request
    first, second = (encode(with_bill(nonce, "Be brief.", "Be kind."), "m") for nonce in ("fa690", "1c8b4"))
    assert first.body == second.body
    assert (b"billing" in first.body, b"Be brief." in first.body, b"Be kind." in first.body) == (False, True, True)
    assert Loss(field="messages[].*") in first.losses


@pytest.mark.parametrize("text", ["x-anthropic-billing-header: cch=1; Be brief.", "About x-anthropic-billing-header: cch=1;", ""])
def test_what_is_more_than_that_is_everybodys(text: str) -> None:
    request = decode(system=[{"type": "text", "text": text}, {"type": "text", "text": "Be kind."}])
    assert request.messages[0].parts == (Text(text=text), Text(text="Be kind."))


@pytest.mark.parametrize("more", [(), ("Be brief.",)])
def test_its_vendor_is_told(more: tuple[str, ...]) -> None:
    encoded = MESSAGES.encode_request(with_bill("fa690", *more), "m")
    assert [block["text"] for block in json.loads(encoded.body)["system"]] == ["fa690".join(BILLED), *more]


# --- what comes in this dialect goes out in it unchanged

text = st.text(max_size=12)
words = st.text("abc_", min_size=1, max_size=6)
cache = st.sampled_from([{}, {"cache_control": {"type": "ephemeral"}}])
numbers = st.integers(-(2**53), 2**53)
values = st.recursive(numbers | text | st.booleans(), lambda inner: st.lists(inner, max_size=2) | st.dictionaries(words, inner, max_size=2))
inputs = st.dictionaries(words, values, max_size=2)


def with_cache(**fields: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    return st.builds(lambda fixed, more: {**fixed, **more}, st.fixed_dictionaries(fields), cache)


sources = st.one_of(
    st.just({"type": "base64", "media_type": "image/png", "data": "aGk="}),
    st.just({"type": "url", "url": "https://example.com/x"}),
    st.just({"type": "file", "file_id": "file_1"}),
)
texts = with_cache(type=st.just("text"), text=text | st.just("x-anthropic-billing-header: cch=1;"))
images = with_cache(type=st.just("image"), source=sources)
documents = st.one_of(
    with_cache(type=st.just("document"), source=sources, title=text, citations=st.just({"enabled": True})),
    with_cache(type=st.just("document"), source=st.builds(lambda data: {"type": "text", "media_type": "text/plain", "data": data}, text)),
    with_cache(type=st.just("document"), source=st.just({"type": "content", "content": [{"type": "text", "text": "x"}]})),
)
results = st.one_of(
    with_cache(type=st.just("tool_result"), tool_use_id=words),
    with_cache(type=st.just("tool_result"), tool_use_id=words, is_error=st.booleans(), content=text),
    with_cache(type=st.just("tool_result"), tool_use_id=words, content=st.lists(texts | images | documents, max_size=3)),
    with_cache(type=st.just("tool_result"), tool_use_id=words, content=st.just([{"type": "tool_reference", "tool_name": "f"}])),
)
said = st.one_of(
    texts,
    with_cache(type=st.just("tool_use"), id=words, name=words, input=inputs),
    st.fixed_dictionaries({"type": st.just("thinking"), "thinking": text, "signature": text}),
    st.fixed_dictionaries({"type": st.just("redacted_thinking"), "data": text}),
    st.fixed_dictionaries({"type": st.just("server_tool_use"), "id": words, "name": words, "input": inputs}),
)
messages = st.one_of(
    st.fixed_dictionaries({"role": st.just("user"), "content": text | st.lists(texts | images | documents | results, max_size=4)}),
    st.fixed_dictionaries({"role": st.just("assistant"), "content": text | st.lists(said, max_size=4)}),
    st.fixed_dictionaries({"role": st.just("system"), "content": text | st.lists(texts, min_size=1, max_size=2)}),
)
tools = st.one_of(
    with_cache(name=words, description=text, input_schema=st.just({"type": "object"}), strict=st.booleans()),
    with_cache(name=words, type=st.just("custom"), input_schema=st.just({"type": "object"})),
    with_cache(name=words, type=st.just("bash_20250124"), more=values),
)
efforts = st.sampled_from(["low", "max"])
schemas = st.just({"type": "json_schema", "schema": {"type": "object"}})
requests = st.fixed_dictionaries(
    {"model": st.just("m"), "max_tokens": st.integers(0, 9), "messages": st.lists(messages, min_size=1, max_size=4)},
    optional={
        "system": text | st.lists(texts, min_size=1, max_size=2),
        "temperature": st.floats(0, 1),
        "top_p": st.floats(0, 1),
        "top_k": st.integers(0, 9),
        "stop_sequences": st.lists(text, min_size=1, max_size=2),
        "stream": st.just(True),
        "thinking": st.sampled_from(
            [{"type": "disabled"}, {"type": "enabled", "budget_tokens": 1024, "display": "omitted"}, {"type": "adaptive"}]
        ),
        "output_config": st.builds(lambda effort, form: {"effort": effort, "format": form, "task_budget": 1}, efforts, schemas),
        "metadata": st.just({"user_id": "u", "more": 1}),
        "tools": st.lists(tools, min_size=1, max_size=3),
        "tool_choice": st.sampled_from(
            [{"type": "auto"}, {"type": "any", "disable_parallel_tool_use": True}, {"type": "tool", "name": "f"}, {"type": "none"}]
        ),
        "service_tier": text,
        "context_management": values,
    },
)


@given(value=requests)
@settings(max_examples=300, deadline=None)
def test_a_request_comes_back_as_it_came(value: dict[str, Any]) -> None:
    body = json.dumps(value).encode()
    encoded = MESSAGES.encode_request(MESSAGES.decode_request(body, Peek(model="m", stream=value.get("stream", False))), "m")
    assert json.loads(encoded.body) == value
    assert encoded.losses == ()


@pytest.mark.parametrize("dialect", ["openai_responses", "gemini"])
def test_a_count_asks_for_no_answer_and_has_no_limit(dialect: str) -> None:
    body = json.dumps({"model": "m", "max_tokens": 0, "messages": USER}).encode()
    ours, theirs = MESSAGES.counter, DIALECTS[dialect].counter
    assert ours is not None
    assert theirs is not None
    asked = ours.decode_request(body, MESSAGES.peek(body, "", ""))
    assert b"hello" in theirs.encode_request(asked, "m").body
