"""Conversations of other dialects on their way to models of Mistral's, and streams of its API."""

from __future__ import annotations

import json
from typing import Any

import pytest

from fkproxy.dialects import DIALECTS
from fkproxy.dialects.openai_chat.mistral import is_mistral, takes_stream_options
from fkproxy.model.parts import Media, Message, Refusal, Text, ToolCall, ToolResult
from fkproxy.model.request import ChatRequest, ReasoningConfig, Sampling, Tool, ToolChoice
from tests.fakes.pipeline import Bench
from tests.test_gateway import CHAT, DONE, ROLE, chat, delta, events, sse

SERVED = "mistral-large-latest"
USER = Message(role="user", parts=(Text(text="hello"),))
SYSTEM = Message(role="system", parts=(Text(text="Be brief."),))
SAID = Message(role="assistant", parts=(Text(text="hi"),))
CALL = Message(role="assistant", parts=(ToolCall(id="toolu_01A09q90qw90lq917835lq9", name="f"),))
RESULT = Message(role="tool", parts=(ToolResult(call_id="toolu_01A09q90qw90lq917835lq9", parts=(Text(text="r"),)),))


def encode(*messages: Message, model: str = SERVED, client: str = "anthropic", **fields: Any) -> tuple[dict[str, Any], list[str]]:
    """(the body, losses)."""
    request = ChatRequest(dialect=client, model="m", messages=messages or (USER,), **fields)
    encoded = DIALECTS["openai_chat"].encode_request(request, model)
    return json.loads(encoded.body), [f"{loss.field} {loss.action}" for loss in encoded.losses]


@pytest.mark.parametrize(
    ("model", "mistral", "served"),
    [
        (SERVED, True, True),
        ("mistral-small-2603", True, True),
        ("open-mistral-nemo", True, True),
        ("open-mixtral-8x22b", True, True),
        ("labs-devstral-small-2512", True, True),
        ("ft:open-mistral-7b:587a6b29:20240514:7e773925", True, True),
        ("mistral-large-pixtral-2411", True, True),
        ("mistralai/mistral-large-2512", True, False),
        ("mistralai/Devstral-Small-2-24B-Instruct-2512", True, False),
        ("mistral-small-3.2-24b-instruct-2506", True, False),
        ("devstral:24b", True, False),
        ("mistral", True, False),
        ("gpt-4.1", False, False),
        ("notmistral-latest", False, False),
        ("qwen3-coder", False, False),
    ],
)
def test_which_models_are_mistrals_and_which_its_own_api_serves(model: str, mistral: bool, served: bool) -> None:
    assert (is_mistral(model), takes_stream_options(model)) == (mistral, not served)


@pytest.mark.parametrize("model", [SERVED, "mistralai/Devstral-Small-2-24B-Instruct-2512"])
def test_between_a_tool_and_the_user_the_model_says_a_word(model: str) -> None:
    body, losses = encode(USER, CALL, RESULT, USER, CALL, RESULT, SAID, USER, CALL, RESULT, model=model)
    roles = [message["role"] for message in body["messages"]]
    once = ["user", "assistant", "tool", "assistant"]
    assert roles == [*once, *once, *once[:3]]
    assert body["messages"][3]["content"] == "(understood)"
    assert losses == ["messages[].role converted"]
    assert encode(USER, CALL, RESULT, USER, model="qwen3-coder")[1] == []


@pytest.mark.parametrize(
    ("before", "roles", "lost"),
    [
        ((), ["system", "user"], []),
        ((USER,), ["user", "system", "user"], []),
        ((USER, SAID), ["user", "assistant", "user", "user"], ["messages[].role converted"]),
        ((USER, CALL, RESULT), ["user", "assistant", "tool", "assistant", "user", "user"], ["messages[].role converted"]),
    ],
)
def test_what_the_system_says_behind_the_model_goes_as_the_users(before: tuple[Message, ...], roles: list[str], lost: list[str]) -> None:
    body, losses = encode(*before, SYSTEM, USER, client="openai_responses")
    assert ([message["role"] for message in body["messages"]], losses) == (roles, lost)
    assert body["messages"][-2]["content"] == "Be brief."


def test_ids_of_calls_are_nine_letters_or_digits() -> None:
    kept = Message(role="assistant", parts=(ToolCall(id="D681PevKs", name="f"),))
    answer = Message(role="tool", parts=(ToolResult(call_id="D681PevKs"),))
    messages = encode(USER, CALL, RESULT, kept, answer)[0]["messages"]
    first, own = (message["tool_calls"][0]["id"] for message in messages if "tool_calls" in message)
    assert [message["tool_call_id"] for message in messages if message["role"] == "tool"] == [first, own]
    assert own == "D681PevKs"
    assert first.isalnum()
    assert len(first) == 9
    assert encode(USER, CALL, RESULT, client="openai_chat")[0]["messages"][2]["tool_call_id"] == "toolu_01A09q90qw90lq917835lq9"


def test_its_api_is_told_what_it_knows() -> None:
    sampling = Sampling(seed=7, logit_bias={"1": -5}, logprobs=True, top_logprobs=2, presence_penalty=0.5, max_output_tokens=9)
    body, losses = encode(USER, sampling=sampling, user="u", stream=True, tools=(Tool(name="f"),))
    assert losses == [f"{name} dropped" for name in ("logit_bias", "logprobs", "top_logprobs", "user")]
    assert body == {
        "model": SERVED,
        "messages": [{"role": "user", "content": "hello"}],
        "max_tokens": 9,
        "random_seed": 7,
        "presence_penalty": 0.5,
        "stream": True,
        "tools": [{"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {}}}}],
    }
    other, losses = encode(USER, sampling=sampling, user="u", stream=True, model="mistralai/mistral-large-2512")
    assert (other["seed"], other["user"], other["stream_options"], losses) == (7, "u", {"include_usage": True}, [])


def test_an_answer_that_is_to_go_on_says_so() -> None:
    assert encode(USER, SAID)[0]["messages"][-1] == {"role": "assistant", "content": "hi", "prefix": True}
    assert "prefix" not in encode(USER, SAID, USER)[0]["messages"][1]
    refused = Message(role="assistant", parts=(Refusal(text="no"),))
    assert encode(USER, refused, USER)[0]["messages"][1] == {"role": "assistant", "content": "no"}


@pytest.mark.parametrize("model", [SERVED, "mistral"])
def test_a_pdf_is_a_document_to_its_api(model: str) -> None:
    pdf = Media(kind="file", mime_type="application/pdf", data="AAAA", name="a.pdf")
    file = {"type": "file", "file": {"file_data": "data:application/pdf;base64,AAAA", "filename": "a.pdf"}}
    document = {"type": "document_url", "document_url": "data:application/pdf;base64,AAAA", "document_name": "a.pdf"}
    said = Message(role="user", parts=(Text(text="x"), pdf, Media(kind="image", mime_type="image/png", data="BBBB")))
    found = ToolResult(call_id="toolu_01A09q90qw90lq917835lq9", parts=(pdf,))
    body, _ = encode(said, CALL, Message(role="tool", parts=(found,)), model=model)
    told = [part for message in body["messages"] for part in message["content"] or () if isinstance(part, dict)]
    expected = document if model == SERVED else file
    assert [part for part in told if part["type"] not in ("text", "image_url")] == [expected, expected]
    assert [part["type"] for part in body["messages"][0]["content"]] == ["text", expected["type"], "image_url"]


def test_a_file_by_its_id_stays_one() -> None:
    said = Message(role="user", parts=(Text(text="x"), Media(kind="file", file_id="file-1")))
    body, _ = encode(said, client="openai_responses")
    assert body["messages"][0]["content"][1] == {"type": "file", "file": {"file_id": "file-1"}}


@pytest.mark.parametrize(
    ("model", "asked", "told", "lost"),
    [
        ("mistral-small-latest", "high", "high", []),
        ("mistral-small-2603", "low", "high", ["reasoning.effort converted"]),
        ("mistral-medium-2604", "none", "none", []),
        ("mistral-medium-latest", "max", "high", ["reasoning.effort converted"]),
        ("mistral-small-2506", "high", None, ["reasoning dropped"]),
        ("magistral-medium-latest", "high", None, ["reasoning dropped"]),
        (SERVED, "none", None, []),
        ("mistralai/mistral-small-2603", "low", "low", []),
    ],
)
def test_thinking_is_asked_for_where_it_can_be(model: str, asked: Any, told: str | None, lost: list[str]) -> None:
    body, losses = encode(USER, model=model, reasoning=ReasoningConfig(effort=asked))
    assert (body.get("reasoning_effort"), losses) == (told, lost)


def test_a_choice_among_some_tools_is_one_of_those_alone() -> None:
    tools = tuple(Tool(name=name, parameters={"type": "object"}) for name in "abc")
    body, losses = encode(USER, tools=tools, tool_choice=ToolChoice(mode="required", names=("a", "c")))
    assert ([tool["function"]["name"] for tool in body["tools"]], body["tool_choice"], losses) == (["a", "c"], "required", [])


@pytest.mark.parametrize("said", [{}, {"stream_options": {"include_usage": True}}])
@pytest.mark.parametrize(("model", "asked"), [(SERVED, None), ("mistralai/mistral-large-2512", {"include_usage": True})])
async def test_a_stream_of_its_api_is_not_asked_for_its_usage_and_tells_it(model: str, asked: Any, said: dict[str, Any]) -> None:
    bench = Bench(CHAT)
    usage = {"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7}
    bench.adapters[0].streams(sse(ROLE, delta("a"), delta(finish="stop", usage=usage), DONE))
    client = await bench.send(chat(model, stream=True, **said))
    assert json.loads(bench.adapters[0].calls[0].body).get("stream_options") == asked
    assert events(client)[-2:] == [delta(finish="stop", usage=usage), DONE.decode()]
    assert bench.record.usage is not None
    assert bench.record.usage.output_tokens == 4
