"""The Codex CLI as an upstream, with vendors' clients before it: what they get of it, and what its vendor is told by it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import anthropic
import openai
import pytest
from google import genai
from google.genai import types

from tests.e2e.codex_endpoint import CACHED_TOKENS, INPUT_TOKENS, OUTPUT_TOKENS, REASONING_TOKENS, numbers
from tests.e2e.codex_stage import CODEX, MODEL, VENDOR_KEY, Stage, home_of, settings_of, stage
from tests.e2e.processes import KEY, free_port, service

SYSTEM = "Answer in few words."
SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"], "additionalProperties": False}
IMAGE = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
"""One red pixel as PNG: the child looks at pictures before it passes them on."""
TOOL: Any = {"type": "function", "function": {"name": "get_weather", "description": "The weather.", "parameters": SCHEMA}}


@pytest.fixture(scope="module")
def codex(directory: Path) -> Iterator[Stage]:
    with stage(directory / "codex", APP_CODEX__MODEL="gpt-5.1") as found:
        yield found


@pytest.fixture
def sdk(codex: Stage) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=codex.service.v1, api_key=KEY, max_retries=0) as found:
        yield found


# --- each client: (thoughts, text) of one reply


def by_chat(url: str, text: str, stream: bool) -> tuple[str, str]:
    with openai.OpenAI(base_url=f"{url}/v1", api_key=KEY, max_retries=0) as sdk:
        messages: list[Any] = [{"role": "system", "content": SYSTEM}, {"role": "user", "content": text}]
        if not stream:
            message: Any = sdk.chat.completions.create(model=MODEL, messages=messages, reasoning_effort="low").choices[0].message
            return getattr(message, "reasoning_content", ""), message.content
        chunks = sdk.chat.completions.create(model=MODEL, messages=messages, reasoning_effort="low", stream=True)
        deltas: list[Any] = [chunk.choices[0].delta for chunk in chunks if chunk.choices]
    return "".join(getattr(delta, "reasoning_content", "") or "" for delta in deltas), "".join(delta.content or "" for delta in deltas)


def by_responses(url: str, text: str, stream: bool) -> tuple[str, str]:
    with openai.OpenAI(base_url=f"{url}/v1", api_key=KEY, max_retries=0) as sdk:
        asked: Any = {"model": MODEL, "instructions": SYSTEM, "input": text, "reasoning": {"effort": "low", "summary": "auto"}}
        if not stream:
            response = sdk.responses.create(**asked)
            parts = [part.text for item in response.output if item.type == "reasoning" for part in item.summary]
            return "\n\n".join(parts), response.output_text
        with sdk.responses.stream(**asked) as events:
            told = list(events)
    thoughts = "".join(event.delta for event in told if event.type == "response.reasoning_summary_text.delta")
    return thoughts, "".join(event.delta for event in told if event.type == "response.output_text.delta")


def by_messages(url: str, text: str, stream: bool) -> tuple[str, str]:
    with anthropic.Anthropic(base_url=url, api_key=KEY, max_retries=0) as sdk:
        asked: Any = {
            "model": MODEL,
            "max_tokens": 20000,
            "system": SYSTEM,
            "messages": [{"role": "user", "content": text}],
            "thinking": {"type": "enabled", "budget_tokens": 1024},
        }
        if stream:
            with sdk.messages.stream(**asked) as events:
                message: Any = events.get_final_message()
        else:
            message = sdk.messages.create(**asked)
    thoughts = "".join(block.thinking for block in message.content if block.type == "thinking")
    return thoughts, "".join(block.text for block in message.content if block.type == "text")


def by_contents(url: str, text: str, stream: bool) -> tuple[str, str]:
    thinking = types.ThinkingConfig(include_thoughts=True, thinking_budget=1024)
    config = types.GenerateContentConfig(system_instruction=SYSTEM, thinking_config=thinking)
    with genai.Client(api_key=KEY, http_options=types.HttpOptions(base_url=url)) as sdk:
        if stream:
            replies = list(sdk.models.generate_content_stream(model=MODEL, contents=text, config=config))
        else:
            replies = [sdk.models.generate_content(model=MODEL, contents=text, config=config)]
    parts = [part for reply in replies for part in reply.parts or ()]
    thoughts = "".join(part.text or "" for part in parts if part.thought)
    return thoughts, "".join(part.text or "" for part in parts if not part.thought)


Client = Callable[[str, str, bool], tuple[str, str]]
CLIENTS: list[Client] = [by_chat, by_responses, by_messages, by_contents]


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("client", CLIENTS)
def test_what_it_thinks_and_says_reaches_every_client(codex: Stage, client: Client, stream: bool) -> None:
    thoughts, text = client(codex.service.url, "think?thoughts=3&text=Sunny, I think.&seal=sealed", stream)
    assert "".join(thoughts.split()) == "thought0thought1thought2"
    assert text == "Sunny, I think."
    assert codex.endpoint.asked[-1].said == [("developer", SYSTEM), ("user", "think?thoughts=3&text=Sunny, I think.&seal=sealed")]


@pytest.mark.parametrize("client", CLIENTS)
def test_a_long_reply_in_thousands_of_pieces_comes_as_it_was_said(codex: Stage, client: Client) -> None:
    assert client(codex.service.url, "count?numbers=2000&chunks=4000", True) == ("", numbers(2000))


def test_the_gateway_may_be_its_own_vendor(tmp_path: Path) -> None:
    """The child asks the gateway whose child it is, where the sandbox answers."""
    port = free_port()
    home = home_of(tmp_path, f"http://127.0.0.1:{port}/v1")
    own = {
        "APP_SERVER__PORT": str(port),
        "LOCAL_KEY": KEY,
        "APP_SANDBOX__ENABLED": "true",
        "APP_CODEX__MODEL": "sandbox?thoughts=1000&chunks=64&text=sunny",
    }
    with service(tmp_path, **{**settings_of(home), **own}) as running:
        for client in CLIENTS:
            thoughts, text = client(running.url, "hello", True)
            assert (thoughts.count("Thinking. "), text) == (1000, "sunny")
        assert {line["status"] for line in running.access_lines(8)} == {200}


def test_the_counts_are_the_vendors(sdk: openai.OpenAI) -> None:
    usage: Any = sdk.chat.completions.create(model=MODEL, messages=[{"role": "user", "content": "x"}]).usage
    assert (usage.prompt_tokens, usage.completion_tokens) == (INPUT_TOKENS, OUTPUT_TOKENS)
    assert usage.prompt_tokens_details.cached_tokens == CACHED_TOKENS
    assert usage.completion_tokens_details.reasoning_tokens == REASONING_TOKENS


# --- what its vendor is told


def test_its_vendor_is_told_what_the_client_says_and_nothing_else(codex: Stage, sdk: openai.OpenAI) -> None:
    messages: list[Any] = [
        {"role": "system", "content": SYSTEM},
        {"role": "user", "content": "first"},
        {"role": "assistant", "content": "second"},
        {"role": "user", "content": "third"},
    ]
    sdk.chat.completions.create(model=MODEL, messages=messages, tools=[TOOL])
    asked = codex.endpoint.asked[-1]
    assert asked.said == [("developer", SYSTEM), ("user", "first"), ("assistant", "second"), ("user", "third")]
    assert len(asked.items) == 4
    assert not asked.body.get("instructions")
    (tool,) = asked.body["tools"]
    assert (tool["name"], tool["description"], tool["parameters"]) == ("get_weather", "The weather.", SCHEMA)
    assert asked.authorization == f"Bearer {VENDOR_KEY}"
    for word in ("sandbox_workspace", "<environment_context>", "AGENTS.md", "skill", "shell", "apply_patch", "Codex", str(codex.home)):
        assert word not in json.dumps([asked.body["input"], asked.body["tools"]]), word


def test_models_that_it_knows_get_no_tools_of_its_own_and_nothing_is_asked_of_them(tmp_path: Path) -> None:
    asked: Any = {"messages": [{"role": "user", "content": "weather?tools=1"}], "tools": [TOOL]}
    with stage(tmp_path, APP_CODEX__MODELS="gpt-*") as codex, openai.OpenAI(base_url=codex.service.v1, api_key=KEY, max_retries=0) as sdk:
        for model in ("gpt-5.5", "gpt-6-sol"):
            (call,) = sdk.chat.completions.create(model=model, **asked).choices[0].message.tool_calls or ()
            assert (call.type, call.id.startswith("call_")) == ("function", True)
            told = codex.endpoint.asked[-1]
            assert [tool["name"] for tool in told.tools] == ["get_weather"]
            assert not {"text", "service_tier"} & set(told.body)
            assert (told.body["parallel_tool_calls"], told.body["reasoning"]) == (True, {})
            messages: list[Any] = [{"role": "system", "content": SYSTEM}, {"role": "user", "content": "alone"}]
            sdk.chat.completions.create(model=model, messages=messages)
            assert codex.endpoint.asked[-1].said == [("developer", SYSTEM), ("user", "alone")]


def test_without_tools_and_a_system_text_it_gets_none(codex: Stage, sdk: openai.OpenAI) -> None:
    sdk.chat.completions.create(model=MODEL, messages=[{"role": "user", "content": "alone"}])
    asked = codex.endpoint.asked[-1]
    assert asked.said == [("user", "alone")]
    assert (len(asked.items), asked.body.get("tools") or [], asked.body.get("instructions") or "") == (1, [], "")


@pytest.mark.parametrize(
    ("name", "model", "effort"),
    [
        ("codex-5", "gpt-5.1", None),
        ("codex-5-low", "gpt-5.1", "low"),
        ("codex-5-high", "gpt-5.1", "high"),
        ("gpt-5.2-codex-XH", "gpt-5.2", "xhigh"),
        ("gpt-5.2-LOCAL", "gpt-5.2", "low"),
    ],
)
def test_a_name_says_which_model_and_how_much_to_think(codex: Stage, sdk: openai.OpenAI, name: str, model: str, effort: str | None) -> None:
    sdk.chat.completions.create(model=name, messages=[{"role": "user", "content": "x"}])
    body = codex.endpoint.asked[-1].body
    assert (body["model"], body["reasoning"].get("effort")) == (model, effort)


def test_images_go_there(codex: Stage, sdk: openai.OpenAI) -> None:
    url = f"data:image/png;base64,{IMAGE}"
    content: Any = [{"type": "text", "text": "what is this?"}, {"type": "image_url", "image_url": {"url": url}}]
    sdk.chat.completions.create(model=MODEL, messages=[{"role": "user", "content": content}])
    (item,) = codex.endpoint.asked[-1].items
    assert [(part["type"], part.get("text") or part["image_url"]) for part in item["content"]] == [
        ("input_text", "what is this?"),
        ("input_image", url),
    ]


def test_a_schema_goes_there_as_the_client_wrote_it(codex: Stage, sdk: openai.OpenAI) -> None:
    output: Any = {"type": "json_schema", "json_schema": {"name": "place", "schema": SCHEMA, "strict": True}}
    said = '{"city":"Paris"}'
    reply = sdk.chat.completions.create(model=MODEL, messages=[{"role": "user", "content": f"where?text={said}"}], response_format=output)
    assert reply.choices[0].message.content == said
    told = codex.endpoint.asked[-1].body["text"]["format"]
    assert (told["type"], told["schema"]) == ("json_schema", SCHEMA)


def test_a_conversation_that_is_too_long_is_refused_and_not_summed_up(codex: Stage, sdk: openai.OpenAI) -> None:
    history: list[Any] = [{"role": "user", "content": "word " * 400_000}, {"role": "user", "content": "and now?"}]
    for stream in (False, True):
        with pytest.raises(openai.BadRequestError) as caught:
            sdk.chat.completions.create(model=MODEL, messages=history, stream=stream)
        assert caught.value.code == "context_length_exceeded"


# --- the client's tools


def two_legs(
    sdk: openai.OpenAI, tools: int, between: Callable[[], openai.OpenAI] | None = None, after: str = "", given: str = "weather"
) -> str:
    """What is said at the end. `between` gives who asks the second time, `after` is said behind the results, each `given` and a number."""
    history: list[Any] = [{"role": "user", "content": f"weather?tools={tools}"}]
    asked: Any = {"model": MODEL, "tools": [TOOL]}
    choice = sdk.chat.completions.create(**asked, messages=history).choices[0]
    calls: Any = choice.message.tool_calls
    assert choice.finish_reason == "tool_calls"
    assert [json.loads(call.function.arguments)["city"] for call in calls] == ["Paris", "Oslo", "Rome"][:tools]
    history.append(choice.message.model_dump(exclude_none=True))
    history += [{"role": "tool", "tool_call_id": call.id, "content": f"{given} {number}"} for number, call in enumerate(calls)]
    history += [{"role": "user", "content": after}] if after else []
    sdk = between() if between is not None else sdk
    return str(sdk.chat.completions.create(**asked, messages=history).choices[0].message.content)


@pytest.mark.parametrize("name", ["exec_command", "shell_command", "write_stdin", "shell", "apply_patch", "mcp__a__b", "tool_search"])
def test_a_tool_may_be_called_as_the_childs_own_are(codex: Stage, sdk: openai.OpenAI, name: str) -> None:
    tool: Any = {"type": "function", "function": {**TOOL["function"], "name": name}}
    history: list[Any] = [{"role": "user", "content": "do it?tools=1"}]
    message: Any = sdk.chat.completions.create(model=MODEL, tools=[tool], messages=history).choices[0].message
    (call,) = message.tool_calls
    assert call.function.name == name
    history += [message.model_dump(exclude_none=True), {"role": "tool", "tool_call_id": call.id, "content": "done"}]
    reply = sdk.chat.completions.create(model=MODEL, tools=[tool], messages=history).choices[0].message
    assert reply.content == 'results: ["done"]'


def test_what_the_child_leaves_out_of_a_schema_is_told_all_the_same(codex: Stage, sdk: openai.OpenAI) -> None:
    fields = {f"p{number}": {"type": "string", "pattern": "^[a-z]+$", "description": f"field {number}, " * 12} for number in range(40)}
    schema = {"type": "object", "properties": fields}
    tool: Any = {"type": "function", "function": {"name": "f", "description": "Does it.", "parameters": schema}}
    sdk.chat.completions.create(model=MODEL, tools=[tool], messages=[{"role": "user", "content": "do it"}])
    (told,) = codex.endpoint.asked[-1].body["tools"]
    assert told["parameters"] != schema
    assert told["description"].startswith("Does it.\n\n")
    assert json.loads(told["description"].rpartition("\n")[2]) == schema


def threads_of(stage: Stage, last: int) -> list[str]:
    return [asked.body["client_metadata"]["thread_id"] for asked in stage.endpoint.asked[-last:]]


@pytest.mark.parametrize("tools", [1, 3])
def test_results_of_tools_go_on_with_the_turn_that_asked_for_them(codex: Stage, sdk: openai.OpenAI, tools: int) -> None:
    before = len(codex.endpoint.asked)
    results = [f"weather {number}" for number in range(tools)]
    assert two_legs(sdk, tools) == f"results: {json.dumps(results)}"
    assert len(codex.endpoint.asked) == before + 2
    first, second = threads_of(codex, 2)
    assert first == second
    outputs = [item for item in codex.endpoint.asked[-1].items if item["type"] == "function_call_output"]
    assert [item["output"] for item in outputs] == results
    codex.nothing_waits()


def test_a_question_behind_the_results_begins_another_turn_with_all_of_it(codex: Stage, sdk: openai.OpenAI) -> None:
    assert two_legs(sdk, 2, after="and now?text=Both.") == "Both."
    first, second = threads_of(codex, 2)
    assert first != second
    kinds = [item.get("type") for item in codex.endpoint.asked[-1].items]
    assert kinds == ["message", *["function_call"] * 2, *["function_call_output"] * 2, "message"]


@pytest.mark.parametrize("after", ["", "and now?"])
def test_a_long_result_arrives_whole(codex: Stage, sdk: openai.OpenAI, after: str) -> None:
    two_legs(sdk, 1, after=after, given=numbers(5000))
    (told,) = [item["output"] for item in codex.endpoint.asked[-1].items if item["type"] == "function_call_output"]
    assert told == f"{numbers(5000)} 0"


def test_results_are_understood_after_a_restart(tmp_path: Path) -> None:
    with ExitStack() as running:
        first = running.enter_context(stage(tmp_path))

        def restarted() -> openai.OpenAI:
            assert first.service.stop() == 0
            first.nothing_left()
            again = running.enter_context(service(tmp_path, **settings_of(first.home)))
            return running.enter_context(openai.OpenAI(base_url=again.v1, api_key=KEY, max_retries=0))

        sdk = running.enter_context(openai.OpenAI(base_url=first.service.v1, api_key=KEY, max_retries=0))
        assert two_legs(sdk, 2, between=restarted) == 'results: ["weather 0", "weather 1"]'
        one, other = threads_of(first, 2)
        assert one != other


def test_sealed_thoughts_come_back_to_the_vendor(codex: Stage, sdk: openai.OpenAI) -> None:
    history: list[Any] = [{"role": "user", "content": "think?thoughts=1&seal=c2VhbGVk"}]
    asked: Any = {"model": MODEL, "include": ["reasoning.encrypted_content"], "store": False}
    response = sdk.responses.create(**asked, input=history)
    history += [item.model_dump(exclude_none=True) for item in response.output]
    sdk.responses.create(**asked, input=[*history, {"role": "user", "content": "go on"}])
    reasoning = [item for item in codex.endpoint.asked[-1].items if item["type"] == "reasoning"]
    assert [item["encrypted_content"] for item in reasoning] == ["c2VhbGVk"]


def test_the_program_itself_runs_and_not_its_script(codex: Stage, sdk: openai.OpenAI) -> None:
    sdk.chat.completions.create(model=MODEL, messages=[{"role": "user", "content": "x"}])
    assert CODEX.resolve().suffix == ".js"
    assert Path(f"/proc/{codex.children()[0]}/exe").resolve().name == "codex"
