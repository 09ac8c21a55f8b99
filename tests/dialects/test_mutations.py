"""The golden captures, damaged: whatever comes, what is raised is one of our own errors, and events keep their order."""

from __future__ import annotations

import contextlib
import json
import random
from typing import Any

import msgspec
import pytest

from fkproxy.dialects import DIALECTS
from fkproxy.dialects.base import ReplyContext
from fkproxy.model.errors import FkproxyError, UpstreamProtocolError
from fkproxy.model.events import Event, Failed, collect
from fkproxy.wire.sse import Frame
from tests.dialects.golden import REPLIES, REQUESTS, Case, frames
from tests.fakes.order import check_order

TRIES = 6
CONTEXT = ReplyContext(reply_id="r", model="m", created_s=1)
MODELS = {"anthropic": "claude-opus-4-6", "openai_responses": "gpt-5"}
JUNK: tuple[Any, ...] = (
    *(None, True, False, 0, -1, 1.5, 10**30, "", "x", "none", [], {}, [None], [{}], [[1]], [1, 2], {"a": 1}),
    *("data:image/png;base64,!!", {"type": "text"}, {"type": None}, {"type": []}, {"name": 5}),
)


def damaged(value: Any, dice: random.Random) -> Any:
    """The value with some of it gone, and some of it something else."""
    if dice.random() < 0.06:
        return dice.choice(JUNK)
    if isinstance(value, dict):
        kept = {name: damaged(inner, dice) for name, inner in value.items() if dice.random() > 0.04}
        if dice.random() < 0.04:
            kept[dice.choice(["type", "role", "content", "name", "id", "input", "tools", "text", "new"])] = dice.choice(JUNK)
        return kept
    if isinstance(value, list):
        return [damaged(inner, dice) for inner in value if dice.random() > 0.03]
    return value


@pytest.mark.parametrize("case", REQUESTS, ids=repr)
def test_a_damaged_request_is_refused_or_translated(case: Case) -> None:
    assert case.request is not None
    whole = json.loads(case.request)
    for seed in range(TRIES):
        body = json.dumps(damaged(whole, random.Random(f"{case!r}{seed}"))).encode()
        try:
            peek = case.dialect.peek(body, case.capture.get("target", ""), case.capture.get("query", ""))
            case.dialect.reasoning_of(body)
            request = case.dialect.decode_request(body, peek)
        except FkproxyError:
            continue
        for name, dialect in DIALECTS.items():
            try:
                json.loads(dialect.encode_request(request, MODELS.get(name, "gemini-2.5-pro")).body)
            except FkproxyError:
                continue


def decoded(case: Case, dice: random.Random) -> list[Event]:
    if case.stream is None:
        assert case.whole is not None
        return case.dialect.decode_reply(json.dumps(damaged(json.loads(case.whole), dice)).encode())
    decoder = case.dialect.stream_decoder()
    events: list[Event] = []
    for frame in frames([case.stream]):
        if dice.random() < 0.05:
            continue
        events += decoder.feed(_damaged_frame(frame, dice))
        if events and isinstance(events[-1], Failed):
            return events
    return events + decoder.end()


def _damaged_frame(frame: Frame, dice: random.Random) -> Frame:
    try:
        value = json.loads(frame.data or b"")
    except ValueError:
        return frame
    return msgspec.structs.replace(frame, data=json.dumps(damaged(value, dice)).encode())


@pytest.mark.parametrize("case", [case for case in REPLIES if case.status == 200], ids=repr)
def test_a_damaged_reply_is_a_failure_or_makes_sense(case: Case) -> None:
    for seed in range(TRIES):
        try:
            events = decoded(case, random.Random(f"{case!r}{seed}"))
        except FkproxyError:
            continue
        check_order(events)
        for dialect in DIALECTS.values():
            encoder = dialect.stream_encoder(CONTEXT)
            for event in events:
                encoder.encode(event)
            if not isinstance(events[-1], Failed):
                dialect.encode_reply(collect(events), CONTEXT)


def _not_utf8(data: bytes, dice: random.Random) -> bytes:
    """One character is only half there."""
    at = dice.randrange(1, len(data))
    return data[:at] + b"\xe2\x82" + data[at:]


@pytest.mark.parametrize("case", REQUESTS, ids=repr)
def test_a_request_that_is_not_utf_8_is_refused_or_passed_on(case: Case) -> None:
    assert case.request is not None
    target, query = case.capture.get("target", ""), case.capture.get("query", "")
    for seed in range(TRIES):
        body = _not_utf8(case.request, random.Random(f"{case!r}{seed}"))
        case.dialect.reasoning_of(body)
        case.dialect.conversation.read({}, body)
        with pytest.raises(FkproxyError):
            case.dialect.decode_request(body, case.dialect.peek(body, target, query))


@pytest.mark.parametrize("case", [case for case in REPLIES if case.status == 200], ids=repr)
def test_a_reply_that_is_not_utf_8_is_the_upstreams_fault(case: Case) -> None:
    # Where nobody looks, in a field that is not ours to read, it may pass.
    for seed in range(TRIES):
        dice = random.Random(f"{case!r}{seed}")
        if case.whole is not None:
            with contextlib.suppress(UpstreamProtocolError):
                case.dialect.decode_reply(_not_utf8(case.whole, dice))
        if case.stream is not None:
            decoder = case.dialect.stream_decoder()
            told = [frame for frame in frames([case.stream]) if frame.data not in (None, b"", b"[DONE]")]
            frame = told[dice.randrange(len(told))]
            with contextlib.suppress(UpstreamProtocolError):
                decoder.feed(msgspec.structs.replace(frame, data=_not_utf8(frame.data or b"", dice)))
