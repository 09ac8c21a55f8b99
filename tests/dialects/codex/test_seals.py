"""What the model thought, sealed, on its way through a client and back."""

from __future__ import annotations

import json
from typing import Any

import pytest

from fkproxy.dialects import DIALECTS
from fkproxy.dialects.base import ReplyContext
from fkproxy.dialects.envelope import close_envelope
from fkproxy.model.events import collect
from fkproxy.model.parts import Seal
from fkproxy.model.request import Loss
from fkproxy.seals import SealStore
from fkproxy.wire.sse import SseDecoder
from tests.dialects.codex.captures import CAPTURES, captured, decoded
from tests.dialects.codex.test_plan import ASK, encoded, items, result


def reply_for(dialect: str, *, streamed: bool) -> Any:
    """The parallel tools' reply as a client of `dialect` gets it: its whole body."""
    (case,) = [case for case in CAPTURES if case.name == "parallel_tools"]
    events = decoded([captured(case)])
    codec = DIALECTS[dialect]
    context = ReplyContext(reply_id="r", model="m", created_s=0)
    if not streamed:
        return json.loads(codec.encode_reply(collect(events), context))
    encoder = codec.stream_encoder(context)
    frames = SseDecoder().feed(b"".join(encoder.encode(event) for event in events))
    return collect_stream(dialect, [json.loads(frame.data) for frame in frames if frame.data not in (None, b"[DONE]")])


def collect_stream(dialect: str, frames: list[Any]) -> Any:
    if dialect == "openai_responses":
        return frames[-1]["response"]
    blocks: dict[int, Any] = {}
    for frame in frames:
        if frame["type"] == "content_block_start":
            blocks[frame["index"]] = dict(frame["content_block"])
        elif frame["type"] == "content_block_delta":
            block, delta = blocks[frame["index"]], frame["delta"]
            block["json"] = block.get("json", "") + delta.get("partial_json", "")
            block["thinking"] = block.get("thinking", "") + delta.get("thinking", "")
            block["signature"] = delta.get("signature", block.get("signature"))
    for block in blocks.values():
        if block["type"] == "tool_use":
            block["input"] = json.loads(block["json"])
        for name in ("json",) if block["type"] == "thinking" else ("json", "thinking", "signature"):
            block.pop(name, None)
    return {"content": list(blocks.values())}


def next_turn(dialect: str, reply: Any) -> dict[str, Any]:
    ids = ("call_a", "call_b")
    if dialect == "openai_responses":
        outputs = [{"type": "function_call_output", "call_id": call_id, "output": "18C"} for call_id in ids]
        return {"model": "m", "input": [{"role": "user", "content": "x"}, *reply["output"], *outputs]}
    if dialect == "anthropic":
        results = [{"type": "tool_result", "tool_use_id": call_id, "content": "18C"} for call_id in ids]
        return {
            "model": "m",
            "max_tokens": 100,
            "messages": [ASK, {"role": "assistant", "content": reply["content"]}, {"role": "user", "content": results}],
        }
    if dialect == "gemini":
        answers = [{"functionResponse": {"id": call_id, "name": "get_weather", "response": {"output": "18C"}}} for call_id in ids]
        return {
            "contents": [{"role": "user", "parts": [{"text": "x"}]}, reply["candidates"][0]["content"], {"role": "user", "parts": answers}]
        }
    return {"model": "m", "messages": [ASK, reply["choices"][0]["message"], *(result(call_id) for call_id in ids)]}


@pytest.mark.parametrize("streamed", [True, False])
@pytest.mark.parametrize("dialect", ["openai_responses", "anthropic"])
def test_a_sealed_thought_comes_back_through_clients_that_can_carry_it(dialect: str, streamed: bool) -> None:
    plan, losses = encoded(dialect, next_turn(dialect, reply_for(dialect, streamed=streamed)))
    assert [item["type"] for item in items(plan)] == [
        "message",
        "reasoning",
        "function_call",
        "function_call",
        *["function_call_output"] * 2,
    ]
    assert items(plan)[1]["encrypted_content"] == "gAAA-sealed"
    assert items(plan)[1]["summary"] == [{"type": "summary_text", "text": "First part.\n\nSecond part."}]
    assert [answer.call_id for answer in plan.answers] == ["call_a", "call_b"]
    assert plan.asked == 1
    assert [loss.field for loss in losses] == (["max_tokens"] if dialect == "anthropic" else [])


@pytest.mark.parametrize("dialect", ["openai_chat", "gemini"])
def test_others_go_on_without_it_and_give_it_to_nobody(dialect: str) -> None:
    reply = reply_for(dialect, streamed=False)
    assert "gAAA-sealed" not in json.dumps(reply)
    plan, _ = encoded(dialect, next_turn(dialect, reply))
    kinds = [item["type"] for item in items(plan)]
    assert kinds == ["message", "function_call", "function_call", "function_call_output", "function_call_output"]
    assert [json.loads(item["arguments"])["city"] for item in items(plan)[1:3]] == ["Paris", "Rome"]
    assert [answer.call_id for answer in plan.answers] == ["call_a", "call_b"]


def test_the_store_of_seals_holds_none_of_a_thought() -> None:
    """It is for seals on calls, which the child's model has none of; one is left alone that is another vendor's."""
    store = SealStore()
    data = json.dumps(next_turn("openai_chat", reply_for("openai_chat", streamed=False))).encode()
    codec = DIALECTS["openai_chat"]
    request = codec.decode_request(data, codec.peek(data, "", ""))
    assert store.restore("k", request, 0.0) is request


@pytest.mark.parametrize("other", ["openai_responses", "anthropic", "gemini"])
def test_strangers_seals_stay_outside_and_that_is_told(other: str) -> None:
    thought = {"type": "thinking", "thinking": "hm", "signature": "S"}
    if other != "anthropic":
        thought["signature"] = close_envelope(Seal(dialect=other, data="S"), "anthropic")
    said = {"role": "assistant", "content": [thought, {"type": "text", "text": "a"}]}
    plan, losses = encoded("anthropic", {"model": "m", "max_tokens": 1, "messages": [ASK, said, ASK]})
    assert [item["type"] for item in items(plan)] == ["message", "message", "message"]
    assert Loss(field="reasoning") in losses
