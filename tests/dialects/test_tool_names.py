"""Names of tools that a vendor refuses, on their way there and back."""

from __future__ import annotations

import json
from typing import Any

import pytest

from fkproxy.dialects import DIALECTS
from fkproxy.dialects.base import Peek
from fkproxy.dialects.tool_names import client_names
from fkproxy.model.events import collect
from fkproxy.model.request import Loss, Tool
from tests.fakes.pipeline import Bench
from tests.test_gateway import CHAT, DONE, GEMINI, ROLE, delta, events, gemini, sse

LONG = "mcp__plugin_of_a_long_name__" + "chrome_devtools_performance_analyze_insight"
REPORTED = Loss(field="tools[].name", action="converted")
MODELS = {"gemini": "gemini-2.5-pro", "anthropic": "claude-sonnet-4-5"}


def asked(*names: str) -> bytes:
    """A Messages request with these tools, in which the first one has been called."""
    call = {"type": "tool_use", "id": "toolu_1", "name": names[0], "input": {}}
    result = {"type": "tool_result", "tool_use_id": "toolu_1", "content": "done"}
    body = {
        "model": "m",
        "max_tokens": 99,
        "messages": [
            {"role": "user", "content": "hello"},
            {"role": "assistant", "content": [call]},
            {"role": "user", "content": [result]},
        ],
        "tools": [{"name": name, "input_schema": {"type": "object"}} for name in names],
        "tool_choice": {"type": "tool", "name": names[0]},
    }
    return json.dumps(body).encode()


def told(target: str, *names: str) -> tuple[list[str], set[str], bool]:
    """(names of the tools as `target` gets them, those that the choice and the history have, reported as converted)."""
    request = DIALECTS["anthropic"].decode_request(asked(*names), Peek(model="m"))
    if target == "anthropic":
        chat = DIALECTS["openai_chat"]
        request = chat.decode_request(chat.encode_request(request, "m").body, Peek(model="m"))
    encoded = DIALECTS[target].encode_request(request, MODELS.get(target, "gpt-5"))
    dialect = DIALECTS[target]
    again = dialect.decode_request(encoded.body, dialect.peek(encoded.body, "m:generateContent", ""))
    assert again.tool_choice is not None
    parts = [part for message in again.messages for part in message.parts]
    said = {name for part in parts if (name := getattr(part, "name", None)) is not None}
    return [tool.name for tool in again.tools], said | set(again.tool_choice.names), REPORTED in encoded.losses


@pytest.mark.parametrize("target", ["openai_chat", "openai_responses", "gemini"])
@pytest.mark.parametrize("name", [LONG, "files/read", "größe", "x" * 65])
def test_a_name_that_is_refused_goes_as_another_one_wherever_it_stands(target: str, name: str) -> None:
    (other, same), said, reported = told(target, name, "same")
    assert (same, said, reported) == ("same", {other}, True)
    assert len(other) <= 64
    assert other.isascii()
    assert other.replace("_", "").isalnum()
    assert client_names((Tool(name=name),)) == {other: name}


@pytest.mark.parametrize(
    ("target", "name", "taken"),
    [
        ("openai_chat", "files.read", False),
        ("openai_responses", "files:read", False),
        ("gemini", "files.read:all-1", True),
        ("gemini", "1st", False),
        ("gemini", "-x", False),
        ("openai_chat", "1st", True),
        ("openai_responses", "a" * 64, True),
    ],
)
def test_each_vendor_gets_what_it_takes(target: str, name: str, taken: bool) -> None:
    (sent,), _, reported = told(target, name)
    assert (sent == name, reported) == (taken, not taken)


def test_anthropic_takes_twice_as_many_characters() -> None:
    functions = [{"type": "function", "function": {"name": name}} for name in ("a" * 128, "files.read")]
    body = {"model": "m", "messages": [{"role": "user", "content": "x"}], "tools": functions}
    request = DIALECTS["openai_chat"].decode_request(json.dumps(body).encode(), Peek(model="m"))
    long, short = json.loads(DIALECTS["anthropic"].encode_request(request, MODELS["anthropic"]).body)["tools"]
    assert long["name"] == "a" * 128
    assert client_names(request.tools)[short["name"]] == "files.read"


def test_names_that_differ_only_where_they_are_refused_stay_apart() -> None:
    others, _, _ = told("openai_chat", "a.b", "a:b", "a_b", LONG, LONG + "s")
    assert len(set(others)) == 5
    assert others[2] == "a_b"


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("upstream", [CHAT, GEMINI])
async def test_the_client_sees_its_own_name(upstream: tuple[str, str], stream: bool) -> None:
    bench = Bench(upstream)
    ((other, _), _, _) = told(upstream[1], LONG, "same")
    calls = [
        {"index": index, "id": f"c{index}", "type": "function", "function": {"name": name, "arguments": "{}"}}
        for index, name in enumerate((other, "same"))
    ]
    if upstream is GEMINI:
        reply: Any = gemini(*({"functionCall": {"name": name, "args": {}}} for name in (other, "same")))
        pieces = [reply]
    else:
        message = {"role": "assistant", "content": None, "tool_calls": calls}
        reply = {**delta(), "object": "chat.completion", "choices": [{"index": 0, "message": message, "finish_reason": "tool_calls"}]}
        called = {**delta(), "choices": [{"index": 0, "delta": {"tool_calls": calls}, "finish_reason": None}]}
        pieces = [ROLE, called, delta(finish="tool_calls"), DONE]
    body = json.loads(asked(LONG, "same"))
    if stream:
        bench.adapters[0].streams(sse(*pieces))
    else:
        bench.adapters[0].replies(json.dumps(reply).encode())
    client = await bench.send(json.dumps({**body, "stream": stream}).encode(), dialect="anthropic")
    decoder = DIALECTS["anthropic"]
    if stream:
        named = [event["content_block"]["name"] for event in events(client) if event.get("type") == "content_block_start"]
    else:
        (choice,) = collect(decoder.decode_reply(client.body)).choices
        named = [getattr(part, "name", "") for part in choice.parts]
    assert named == [LONG, "same"]
    assert bench.record.losses
