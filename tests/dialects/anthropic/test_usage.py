"""What Anthropic says was used, and what of that is paid for."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import pytest

from fkproxy.dialects import DIALECTS
from fkproxy.model.events import collect
from fkproxy.model.usage import Usage
from tests.dialects.anthropic.test_response import STOP, TEXT, finish, start, stream

MESSAGES = DIALECTS["anthropic"]


@pytest.mark.parametrize(("speed", "tier"), [("fast", "fast"), ("standard", None), ("new", None), (None, None), ({"a": 1}, None)])
def test_the_speed_of_a_reply_is_its_tier(speed: Any, tier: str | None) -> None:
    told = {"input_tokens": 1, "output_tokens": 7, "speed": speed, "service_tier": "priority"}
    head = {"type": "message_start", "message": {"id": "msg_1", "model": "m", "content": [], "usage": told}}
    reply = {"id": "m", "content": [{"type": "text", "text": "a"}], "stop_reason": "end_turn", "usage": told}
    for events in (stream(head, *TEXT, finish(output_tokens=7), STOP), MESSAGES.hear_reply(json.dumps(reply).encode())):
        usage = collect(events).usage
        assert usage is not None
        assert (usage.output_tokens, usage.tier) == (7, tier)


@pytest.mark.parametrize(
    ("geo", "factor"), [("us", 1.1), ("global", None), ("not_available", None), (None, None), (7, None), (["us"], None)]
)
def test_what_was_served_in_the_us_alone_costs_a_tenth_more(geo: Any, factor: float | None) -> None:
    told = {"input_tokens": 1, "output_tokens": 7, "inference_geo": geo, "iterations": [MESSAGE, ADVICE]}
    head = {"type": "message_start", "message": {"id": "msg_1", "model": "m", "content": [], "usage": {"inference_geo": geo}}}
    end = {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {**told, "inference_geo": None}}
    reply = {"id": "m", "content": [{"type": "text", "text": "a"}], "stop_reason": "end_turn", "usage": told}
    for events in (stream(head, *TEXT, end, STOP), MESSAGES.hear_reply(json.dumps(reply).encode())):
        usage = collect(events).usage
        assert usage is not None
        assert [each.price_factor for each in (usage, *usage.parts)] == [factor] * 3


DECLINED = {"type": "message", "model": "m", "input_tokens": 535, "output_tokens": 0}
SERVED = {"type": "fallback_message", "model": "n", "input_tokens": 1, "output_tokens": 7}


@pytest.mark.parametrize(
    ("iterations", "model"),
    [
        ([DECLINED, SERVED], "n"),
        ([SERVED], "n"),
        ([DECLINED], None),
        ([{"type": "advisor_message", "model": "n"}], None),
        ([{"type": "message"}, {"type": "message", "model": "n"}], None),
        ([DECLINED, {**SERVED, "input_tokens": -1}], "n"),
        ([DECLINED, *[SERVED] * 64], None),
        *(
            (odd, None)
            for odd in ([], None, {}, {"a": 1}, 7, "x", [7, {"type": []}], [{**SERVED, "model": 7}], [{**SERVED, "model": "n" * 300}])
        ),
    ],
)
def test_the_model_that_answered_in_anothers_place_is_told_with_what_it_used(iterations: Any, model: str | None) -> None:
    told = {"input_tokens": 1, "output_tokens": 7, "iterations": iterations}
    reply = {"id": "m", "content": [{"type": "text", "text": "a"}], "stop_reason": "end_turn", "usage": told}
    end = {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": told}
    for events in (stream(start(input_tokens=1), *TEXT, end, STOP), MESSAGES.hear_reply(json.dumps(reply).encode())):
        assert collect(events).usage == Usage(input_tokens=1, output_tokens=7, model=model)


MESSAGE = {"type": "message", "input_tokens": 400, "output_tokens": 80, "cache_read_input_tokens": 10, "cache_creation_input_tokens": 0}
COMPACTION = {"type": "compaction", "input_tokens": 180_000, "output_tokens": 3_500}
ADVICE = {
    "type": "advisor_message",
    "model": "n",
    "input_tokens": 800,
    "output_tokens": 1_600,
    "cache_creation": {"ephemeral_1h_input_tokens": 5},
}
LATER = {**MESSAGE, "input_tokens": 1, "output_tokens": 7, "cache_read_input_tokens": 412}


@pytest.mark.parametrize(
    ("iterations", "counts", "parts"),
    [
        ([COMPACTION], (180_000, 3_500, None), []),
        ([COMPACTION, MESSAGE], (180_410, 3_580, 10), [(180_000, 3_500, None, "fast"), (410, 80, None, "fast")]),
        (
            [MESSAGE, {**ADVICE, "cache_creation_input_tokens": 6}, LATER],
            (1_629, 1_687, 422),
            [(410, 80, None, "fast"), (806, 1_600, "n", None), (413, 7, None, "fast")],
        ),
        ([{**DECLINED, "output_tokens": 427}, SERVED], (536, 434, None), [(535, 427, "m", "fast"), (1, 7, "n", "fast")]),
        ([{**DECLINED, "output_tokens": 427}, {**SERVED, "output_tokens": 0}], (535, 427, None), [(535, 427, "m", "fast")]),
        (
            [{**MESSAGE, "model": "m"}, ADVICE, {**LATER, "model": "m"}, {**LATER, "model": "o"}],
            (2_036, 1_694, 834),
            [(410, 80, None, "fast"), (800, 1_600, "n", None), (413, 7, None, "fast"), (413, 7, "o", "fast")],
        ),
        ([DECLINED, {**SERVED, "output_tokens": 0}], (1, 7, None), [(0, 0, None, None)]),
    ],
)
def test_all_that_is_paid_for_counts_each_at_its_own_price(
    iterations: list[dict[str, Any]], counts: tuple[int | None, ...], parts: list[tuple[object, ...]]
) -> None:
    told = {"input_tokens": 1, "output_tokens": 7, "speed": "fast", "iterations": iterations}
    reply = {"id": "m", "content": [{"type": "text", "text": "a"}], "stop_reason": "end_turn", "usage": told}
    end = {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": told}
    for events in (stream(start(input_tokens=1), *TEXT, end, STOP), MESSAGES.hear_reply(json.dumps(reply).encode())):
        usage = collect(events).usage
        assert usage is not None
        assert (usage.input_tokens, usage.output_tokens, usage.cached_input_tokens) == counts
        assert [(part.input_tokens, part.output_tokens, part.model, part.tier) for part in usage.parts] == parts
        assert usage.cache_write_1h_tokens == (5 if ADVICE["type"] in str(iterations) else None)


@pytest.mark.parametrize(("said", "free"), [((), True), (TEXT, False)])
def test_a_refusal_before_any_output_is_not_paid_for(said: Sequence[dict[str, Any]], free: bool) -> None:
    refused = {"type": "message_delta", "delta": {"stop_reason": "refusal"}, "usage": {"output_tokens": 0}}
    content = [{"type": "text", "text": "a"}] if said else []
    reply = {"id": "m", "content": content, "stop_reason": "refusal", "usage": {"input_tokens": 412, "output_tokens": 1}}
    for events in (stream(start(input_tokens=412, output_tokens=1), *said, refused, STOP), MESSAGES.hear_reply(json.dumps(reply).encode())):
        usage = collect(events).usage
        assert usage is not None
        assert (usage.input_tokens, usage.output_tokens) == (412, 1)
        assert usage.parts == ((Usage(input_tokens=0, output_tokens=0),) if free else ())
