"""What one attempt leaves to the next, to the limits, and to the books."""

from __future__ import annotations

import json

from tests.fakes.pipeline import Bench
from tests.test_attempts import chat

CLAUDE, CHAT = ("claude", "anthropic"), ("chat", "openai_chat")


def sse(*events: dict[str, object]) -> bytes:
    return b"".join(b"event: %s\ndata: %s\n\n" % (str(event["type"]).encode(), json.dumps(event).encode()) for event in events)


async def test_what_a_failed_upstream_said_is_no_part_of_the_next_ones_reply() -> None:
    bench = Bench(CLAUDE, CHAT)
    message = {
        "id": "m",
        "type": "message",
        "role": "assistant",
        "content": [],
        "model": "m",
        "usage": {"input_tokens": 999, "output_tokens": 1},
    }
    error = {"type": "error", "error": {"type": "overloaded_error", "message": "no"}}
    bench.adapters[0].streams(sse({"type": "message_start", "message": message}, error))
    piece = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [{"index": 0, "delta": {"content": "a"}}]}
    last = {**piece, "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}
    bench.adapters[1].streams(b"".join(b"data: %s\n\n" % json.dumps(each).encode() for each in (piece, last)) + b"data: [DONE]\n\n")
    client = await bench.send(chat(stream=True, seed=7))
    assert (client.status, bench.record.attempts, bench.record.provider_key) == (200, 2, "chat")
    assert bench.record.usage is None, "the one that served said nothing"
    assert bench.record.losses == ()
    assert "x-fkproxy-losses" not in client.headers
    assert bench.record.upstream_status == 200
