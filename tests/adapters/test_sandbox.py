"""The built-in upstream does what its model name says, and nothing else."""

from __future__ import annotations

import json
from typing import Any

import pytest
from openai.types.chat import ChatCompletion, ChatCompletionChunk

from fkproxy.adapters.base import UpstreamCall
from fkproxy.adapters.sandbox import Sandbox
from fkproxy.model.errors import UpstreamUnavailable
from fkproxy.wire.sse import SseDecoder

pytestmark = pytest.mark.leaps

TOOLS = [{"type": "function", "function": {"name": name}} for name in ("f", "g", "h")]


async def ask(model: str, *, stream: bool = False, **fields: Any) -> tuple[int, bytes, bool]:
    """(status, body, broken off)."""
    body = json.dumps({"model": model, "messages": [{"role": "user", "content": "hi"}], **fields}).encode()
    exchange = await Sandbox(answer_everything=True).send(UpstreamCall(model=model, stream=stream, body=body, request_id="r"))
    assert await exchange.head(1.0)
    data = b""
    try:
        while piece := await exchange.chunk(1.0):
            data += piece
    except UpstreamUnavailable:
        return exchange.status, data, True
    return exchange.status, data, False


def chunks(data: bytes) -> list[dict[str, Any]]:
    return [json.loads(frame.data) for frame in SseDecoder().feed(data) if frame.data not in (None, b"[DONE]")]


async def test_it_says_what_it_is_in_valid_shapes() -> None:
    status, body, _ = await ask("sandbox")
    assert status == 200
    assert "sandbox" in (ChatCompletion.model_validate_json(body).choices[0].message.content or "")
    _, body, _ = await ask("sandbox", stream=True)
    for chunk in chunks(body):
        ChatCompletionChunk.model_validate(chunk)
    assert body.endswith(b"data: [DONE]\n\n")


@pytest.mark.parametrize("count", [0, 1, 4, 64])
async def test_chunks(count: int) -> None:
    _, body, _ = await ask(f"sandbox?chunks={count}", stream=True)
    assert sum(1 for chunk in chunks(body) for choice in chunk["choices"] if choice["delta"].get("content")) == count


async def test_text_reason_and_tools() -> None:
    _, body, _ = await ask("sandbox?text=a%20b&reason=length")
    choice = json.loads(body)["choices"][0]
    assert (choice["message"]["content"], choice["finish_reason"]) == ("a b", "length")
    _, body, _ = await ask("sandbox?tools=2", tools=TOOLS)
    choice = json.loads(body)["choices"][0]
    assert [call["function"]["name"] for call in choice["message"]["tool_calls"]] == ["f", "g"]
    assert choice["finish_reason"] == "tool_calls"


@pytest.mark.parametrize("status", [400, 429, 500, 503])
async def test_status(status: int) -> None:
    found, body, _ = await ask(f"sandbox?status={status}")
    assert found == status
    assert json.loads(body)["error"]["message"]


async def test_failures_in_the_stream() -> None:
    _, body, broken = await ask("sandbox?chunks=5&fail_after=2", stream=True)
    assert broken
    assert b"[DONE]" not in body
    _, body, broken = await ask("sandbox?chunks=5&error_after=2", stream=True)
    assert not broken
    assert "error" in chunks(body)[-1]


@pytest.mark.parametrize("options", ["chunks=x", "chunks=-1", "status=7", "chunks=100001", "thoughts=100001", "thoughts=-1"])
async def test_options_that_make_no_sense_are_refused(options: str) -> None:
    status, body, _ = await ask(f"sandbox?{options}")
    assert (status, "option" in json.loads(body)["error"]["message"]) == (400, True)


@pytest.mark.parametrize(
    ("options", "fields"),
    [
        ("tools=1", {"tools": [{"type": "function", "function": None}]}),
        ("tools=1", {"tools": [{"type": "function"}]}),
        ("report=1", {"messages": [1]}),
        ("report=1", {"messages": [{"role": "user", "content": 5}]}),
        ("report=1", {"messages": [{"role": "user", "content": ["x"]}]}),
        ("report=1", {"messages": [{"role": "user", "content": [{"type": "text"}]}]}),
        ("report=1", {"response_format": "x"}),
        ("report=1", {"tools": [{"function": "x"}]}),
        ("", {"messages": 5}),
    ],
)
async def test_what_is_not_as_it_should_be_is_refused(options: str, fields: dict[str, Any]) -> None:
    status, body, _ = await ask(f"sandbox?{options}", **fields)
    assert (status, json.loads(body)["error"]["type"]) == (400, "invalid_request_error")


@pytest.mark.parametrize(
    ("model", "body"),
    [
        ("sandbox", b'{"messages": [{"role": "user", "content": "\xff"}]}'),
        ("sandbox?report=1", b'{"messages": [], "my_field": "\xff"}'),
    ],
)
async def test_what_is_no_text_is_refused(model: str, body: bytes) -> None:
    exchange = await Sandbox(answer_everything=True).send(UpstreamCall(model=model, stream=False, body=body, request_id="r"))
    assert (await exchange.head(1.0), exchange.status) == (True, 400)


async def test_pauses_are_waited_for_in_pieces() -> None:
    call = UpstreamCall(model="sandbox?first_ms=30&chunks=1&delay_ms=30", stream=True, body=b'{"messages":[]}', request_id="r")
    exchange = await Sandbox(answer_everything=True).send(call)
    assert await exchange.head(0.001) is False
    assert await exchange.head(1.0) is True
    await exchange.chunk(1.0)
    assert await exchange.chunk(0.001) is None
    assert await exchange.chunk(1.0)
    exchange.close()
    assert await exchange.chunk(1.0) == b""


async def test_it_answers_to_every_name_only_while_it_is_alone() -> None:
    assert Sandbox(answer_everything=True).models == ("*",)
    assert "*" not in Sandbox(answer_everything=False).models
    assert [entry.id for entry in await Sandbox(answer_everything=False).list_models()] == ["sandbox"]
