"""A turn, told by a child what happens and asked by calls what there is."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from fkproxy.adapters.codex import turn as module
from fkproxy.adapters.codex.turn import Leg, Turn
from fkproxy.dialects.codex.plan import Plan
from fkproxy.dialects.codex.response import PAUSED_FOR_TOOLS
from fkproxy.model.errors import UpstreamError, UpstreamProtocolError, UpstreamRejected, UpstreamUnavailable
from fkproxy.model.events import ChoiceFinished, UsageReported
from fkproxy.wire.sse import SseDecoder
from tests.adapters.codex.playing import ASK, TOOLS, WAIT_S, body_of, events_of, until
from tests.adapters.codex.scripted import Scripted

FUNCTION = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
CALL = {"role": "assistant", "content": None, "tool_calls": [FUNCTION]}
RESULT = {"role": "tool", "tool_call_id": "c1", "content": "18C"}
SETTINGS = {"approvalPolicy": "never", "model": None}


def plan(*messages: Any, model: str = "m", **fields: Any) -> Plan:
    return msgspec.json.decode(body_of(model, messages or (ASK,), tools=TOOLS, **fields), type=Plan)


class Played:
    """A turn with its server and its call."""

    def __init__(self, server: Scripted, directory: Path) -> None:
        self.server = server
        self.released = 0
        self.left: list[str] = []
        self.turn = Turn(server, plan(), "key", directory, self._release)

    def _release(self) -> None:
        self.released += 1

    def leg(self, work: Any) -> Leg:
        return Leg(self.turn, asyncio.create_task(work), lambda turn: self.left.append(turn.state))

    async def begin(self, *, own_tools: bool = False) -> Leg:
        leg = self.leg(self.turn.begin(SETTINGS, own_tools))
        assert await leg.head(WAIT_S)
        self.say("turn/started", turn={"id": "turn1"})
        return leg

    def say(self, method: str, request_id: Any = None, **params: Any) -> None:
        message = {"method": method, "params": {"threadId": "t1", **params}}
        self.server.script.say(message if request_id is None else {**message, "id": request_id})

    def call(self, call_id: str = "c1", name: Any = "f", arguments: Any = "{}") -> None:
        self.say("rawResponseItem/completed", item={"type": "function_call", "call_id": call_id, "name": name, "arguments": arguments})

    async def told(self) -> list[str]:
        """The methods of the messages that wait for the client."""
        await self.server.settled()
        data = await self.turn.next(0.0)
        return [json.loads(frame.data or b"")["method"] for frame in SseDecoder().feed(data or b"")]


@pytest.fixture
async def played(tmp_path: Path, tidy: None) -> AsyncIterator[Played]:
    directory = tmp_path / "call"
    directory.mkdir()
    server = Scripted()
    yield Played(server, directory)
    await server.aclose(0.0)


# --- what the child is told


async def test_a_turn_begins_with_the_whole_conversation(played: Played) -> None:
    played.turn.plan = plan(
        {"role": "system", "content": "Be brief."},
        ASK,
        model="gpt-5(high)",
        response_format={"type": "json_schema", "json_schema": {"name": "x", "strict": True, "schema": {"type": "object"}}},
    )
    await played.begin()
    start, inject, turn = (message for message in played.server.script.told if "method" in message)
    assert start["params"] == {
        "approvalPolicy": "never",
        "model": "m" if played.turn.plan.model == "m" else "gpt-5",
        "cwd": str(played.turn.directory),
        "baseInstructions": "Be brief.",
        "dynamicTools": [
            {"name": name, "description": "", "inputSchema": {"type": "object", "properties": {}}, "type": "function"} for name in "fgh"
        ],
        "ephemeral": True,
        "experimentalRawEvents": True,
    }
    assert inject["params"]["items"] == [{"type": "message", "role": "user", "content": [{"type": "input_text", "text": "hi"}]}]
    assert turn["params"] == {"threadId": "t1", "input": [], "summary": "auto", "effort": "high", "outputSchema": {"type": "object"}}


@pytest.mark.parametrize(("model", "setting", "expected"), [("default", None, None), ("default", "gpt-5", "gpt-5"), ("o3", "gpt-5", "o3")])
async def test_whose_model_it_is(played: Played, model: str, setting: str | None, expected: str | None) -> None:
    played.turn.plan = plan(model=model)
    await played.turn.begin({"model": setting}, False)
    assert played.server.script.told[0]["params"]["model"] == expected


@pytest.mark.parametrize("method", ["thread/start", "thread/inject_items", "turn/start"])
async def test_a_child_that_refuses_to_begin_is_told_no_more_than_it_must(played: Played, method: str) -> None:
    played.server.script.replies[method] = {"error": {"code": -32600, "message": "no"}}
    leg = played.leg(played.turn.begin(SETTINGS, False))
    with pytest.raises(UpstreamRejected):
        await leg.head(WAIT_S)
    leg.close()
    assert played.left == ["running"]
    await played.turn.end()
    assert "turn/interrupt" not in played.server.script.methods()
    assert ("thread/unsubscribe" in played.server.script.methods()) == (method != "thread/start")
    assert not played.turn.directory.exists()
    assert (played.released, played.server.lost) == (1, None)


@pytest.mark.parametrize("method", ["thread/start", "turn/start"])
async def test_an_answer_that_is_none_is_the_protocols_fault(played: Played, method: str) -> None:
    played.server.script.replies[method] = {"result": {"thread": 7}}
    with pytest.raises(UpstreamProtocolError):
        await played.turn.begin(SETTINGS, False)


# --- what the client is told


async def test_what_a_client_is_told(played: Played) -> None:
    leg = await played.begin()
    for method in (
        *("item/started", "item/agentMessage/delta", "item/reasoning/summaryTextDelta", "item/reasoning/textDelta"),
        *("item/reasoning/summaryPartAdded", "item/completed", "thread/status/changed", "warning", "account/rateLimits/updated"),
        *("thread/tokenUsage/updated", "rawResponse/completed", "thread/tokenUsage/updated", "error", "turn/completed", "item/completed"),
    ):
        played.say(method)
    assert await played.told() == [
        *("turn/started", "item/agentMessage/delta", "item/reasoning/summaryTextDelta", "item/reasoning/textDelta"),
        *(
            "item/reasoning/summaryPartAdded",
            "item/completed",
            "thread/tokenUsage/updated",
            "rawResponse/completed",
            "error",
            "account/rateLimits/updated",
            "turn/completed",
        ),
    ]
    assert await leg.chunk(0.0) == b""
    leg.close()
    assert played.left == ["over"]


async def test_history_that_the_child_repeats_is_nobodys_news(played: Played) -> None:
    played.turn.plan = plan(ASK, CALL, RESULT, ASK)
    leg = played.leg(played.turn.begin(SETTINGS, False))
    await leg.head(WAIT_S)
    played.call()
    played.say("rawResponse/completed")
    assert await played.told() == []
    played.say("turn/started")
    assert await played.told() == ["turn/started"]


async def test_a_turn_that_ends_before_it_began_is_over(played: Played) -> None:
    leg = played.leg(played.turn.begin(SETTINGS, False))
    await leg.head(WAIT_S)
    played.say("turn/completed", turn={"status": "failed", "error": {"message": "no"}})
    assert await played.told() == ["turn/completed"]
    assert await leg.chunk(0.0) == b""


async def test_silence_is_told_after_its_time(played: Played) -> None:
    leg = await played.begin()
    await played.told()
    assert await leg.chunk(0.01) is None
    waiting = asyncio.create_task(leg.chunk(WAIT_S))
    await asyncio.sleep(0)
    played.say("item/agentMessage/delta", delta="x")
    assert b"delta" in (await waiting or b"")


async def test_a_head_is_waited_for(played: Played) -> None:
    del played.server.script.replies["thread/start"]
    leg = played.leg(played.turn.begin(SETTINGS, False))
    assert await leg.head(0.01) is False
    assert leg.status == 200
    played.server.script.say({"id": played.server.script.told[0]["id"], "result": {"thread": {"id": "t1"}}})
    assert await leg.head(WAIT_S) is True
    assert leg.headers["content-type"] == "text/event-stream"


async def test_a_client_that_reads_too_slowly_loses_its_turn_and_no_memory(played: Played, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_MAX_WAITING_BYTES", 10_000)
    leg = await played.begin()
    for _ in range(20):
        played.say("item/agentMessage/delta", delta="x" * 1000)
    await played.server.settled()
    await played.server.idle()
    assert len(await leg.chunk(0.0) or b"") < 12_000
    with pytest.raises(UpstreamUnavailable, match="too slowly"):
        await leg.chunk(0.0)
    assert "turn/interrupt" in played.server.script.methods()
    assert played.server.lost is None
    played.say("item/agentMessage/delta", delta="late")
    await played.server.settled()
    with pytest.raises(UpstreamUnavailable):
        await leg.chunk(0.0)


async def test_a_message_that_cannot_be_read_ends_the_turn_alone(played: Played) -> None:
    leg = await played.begin()
    await played.told()
    played.say("rawResponseItem/completed", item={"type": 7})
    await played.server.settled()
    with pytest.raises(UpstreamProtocolError):
        await leg.chunk(0.0)
    assert played.server.lost is None


async def test_items_of_other_kinds_may_lack_what_functions_have(played: Played) -> None:
    await played.begin(own_tools=True)
    played.say("rawResponseItem/completed", item={"type": "local_shell_call", "call_id": None, "name": None, "arguments": {"a": 1}})
    played.say("rawResponseItem/completed", item={"type": "reasoning", "encrypted_content": "S"})
    played.say("rawResponseItem/completed", item={"type": "message"})
    played.say("rawResponseItem/completed")
    assert await played.told() == ["turn/started", "rawResponseItem/completed"]


async def test_a_child_that_is_gone_is_told_after_what_it_said(played: Played) -> None:
    leg = await played.begin()
    played.say("item/agentMessage/delta", delta="x")
    await played.server.settled()
    played.server.fail(UpstreamUnavailable("the child ended"))
    assert b"delta" in (await leg.chunk(WAIT_S) or b"")
    with pytest.raises(UpstreamUnavailable, match="the child ended"):
        await leg.chunk(WAIT_S)
    leg.close()
    await played.turn.end()
    assert (played.released, played.turn.directory.exists()) == (1, False)


# --- retries of the child


def retry(played: Played, *, will_retry: bool = True) -> None:
    played.say("error", willRetry=will_retry, error={"message": "Reconnecting... 1/5"})


@pytest.mark.parametrize(
    ("before", "cut"),
    [
        ([], False),
        ([("item/reasoning/summaryTextDelta", {"delta": "hm"})], False),
        ([("item/completed", {"item": {"type": "reasoning"}})], False),
        ([("item/agentMessage/delta", {"delta": "half"})], True),
        ([("item/completed", {"item": {"type": "agentMessage", "id": "m", "text": "half"}})], True),
        ([("rawResponseItem/completed", {"item": {"type": "function_call", "call_id": "c1", "name": "f", "arguments": "{}"}})], True),
    ],
)
async def test_what_was_said_is_not_said_again(played: Played, before: list[Any], cut: bool) -> None:
    leg = await played.begin()
    for method, params in before:
        played.say(method, **params)
    retry(played)
    played.say("item/agentMessage/delta", delta="half of it")
    told = await played.told()
    assert told[: 2 + len(before)] == ["turn/started", *(method for method, _ in before), "error"]
    assert told[2 + len(before) :] == ([] if cut else ["item/agentMessage/delta"])
    assert await leg.chunk(0.0) == (b"" if cut else None)
    leg.close()
    assert played.left == ["cut" if cut else "running"]
    await played.turn.end()
    assert "turn/interrupt" in played.server.script.methods()


@pytest.mark.parametrize("own_tools", [False, True])
async def test_a_child_may_sum_up_its_own_work_and_not_what_a_client_said(played: Played, own_tools: bool) -> None:
    leg = await played.begin(own_tools=own_tools)
    played.say("item/started", item={"type": "agentMessage"})
    played.say("item/started", item={"type": "contextCompaction"})
    played.say("item/agentMessage/delta", delta="As far as I remember")
    assert await played.told() == ["turn/started", "item/agentMessage/delta" if own_tools else "turn/completed"]
    assert await leg.chunk(0.0) == (None if own_tools else b"")
    leg.close()
    await played.turn.end()
    assert "turn/interrupt" in played.server.script.methods()


async def test_an_error_that_is_final_cuts_nothing(played: Played) -> None:
    await played.begin()
    played.say("item/agentMessage/delta", delta="half")
    retry(played, will_retry=False)
    played.say("turn/completed")
    assert (await played.told())[-1] == "turn/completed"
    assert played.turn.state == "over"


# --- tools


async def paused(played: Played) -> Leg:
    leg = await played.begin()
    played.call()
    played.say("rawResponse/completed", usage=None)
    played.say("item/tool/call", 7, callId="c1", tool="f", arguments={})
    assert (await played.told())[-1] == PAUSED_FOR_TOOLS
    return leg


async def test_a_reply_ends_where_the_model_waits_for_tools(played: Played) -> None:
    leg = await paused(played)
    assert await leg.chunk(WAIT_S) == b""
    assert played.turn.state == "paused"
    assert played.turn.call_ids == {"c1"}
    assert played.turn.answerable
    leg.close()
    leg.close()
    assert played.left == ["paused"]


async def test_a_turn_goes_on_with_what_the_tools_gave(played: Played) -> None:
    (await paused(played)).close()
    leg = played.leg(played.turn.go_on(plan(ASK, CALL, RESULT), lambda: None))
    assert await leg.head(WAIT_S)
    assert played.server.script.answers() == {7: {"success": True, "contentItems": [{"type": "inputText", "text": "18C"}]}}
    played.say("item/agentMessage/delta", delta="warm")
    played.say("turn/completed")
    assert await played.told() == ["item/agentMessage/delta", "turn/completed"]


async def test_a_tool_that_is_asked_for_late_is_not_told_again(played: Played) -> None:
    await played.begin()
    played.call()
    played.say("rawResponse/completed")
    assert PAUSED_FOR_TOOLS in await played.told()
    leg = played.leg(played.turn.go_on(plan(ASK, CALL, RESULT), lambda: None))
    await asyncio.sleep(0)
    played.say("item/tool/call", 7, callId="c1", tool="f", arguments={})
    assert await leg.head(WAIT_S)
    played.call("c2", "g")
    played.say("rawResponse/completed")
    assert await played.told() == ["rawResponseItem/completed", "rawResponse/completed", PAUSED_FOR_TOOLS]
    assert played.turn.call_ids == {"c2"}


async def test_a_child_that_asks_for_one_only_when_another_is_answered_gets_both(played: Played) -> None:
    await played.begin()
    played.call("c1")
    played.call("c2", "g")
    played.say("rawResponse/completed")
    played.say("item/tool/call", 7, callId="c2", tool="g", arguments={})
    await played.told()
    calls = {"role": "assistant", "tool_calls": [{**FUNCTION, "id": call_id} for call_id in ("c1", "c2")]}
    results = [{**RESULT, "tool_call_id": call_id} for call_id in ("c1", "c2")]
    leg = played.leg(played.turn.go_on(plan(ASK, calls, *results), lambda: None))
    await until(lambda: played.server.script.answers())
    assert list(played.server.script.answers()) == [7]
    assert await leg.head(0.0) is False
    played.say("item/tool/call", 8, callId="c1", tool="f", arguments={})
    assert await leg.head(WAIT_S)
    assert list(played.server.script.answers()) == [7, 8]


async def test_the_second_of_two_tools_that_are_told_one_by_one_costs_nothing(played: Played) -> None:
    played.turn.plan = msgspec.structs.replace(played.turn.plan, one_tool_at_a_time=True)
    first = await played.begin()
    for call_id in ("c1", "c2"):
        played.call(call_id)
    played.say("rawResponse/completed", usage={"inputTokens": 11, "outputTokens": 7})
    played.say("item/tool/call", 7, callId="c1", tool="f", arguments={})
    await played.server.settled()
    for leg, expected in ((first, [(11, 7)]), (None, [(0, 0)])):
        events = await events_of(leg or played.leg(played.turn.go_on(plan(ASK, CALL, RESULT), lambda: None)))
        counts = [event.usage for event in events if isinstance(event, UsageReported)]
        assert [(usage.input_tokens, usage.output_tokens) for usage in counts] == expected
        assert [event.reason for event in events if isinstance(event, ChoiceFinished)] == ["tool_calls"]


async def test_a_tool_that_the_child_never_asks_for_is_not_waited_for_long(played: Played, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "REPLY_S", 0.01)
    await played.begin()
    played.call()
    played.say("rawResponse/completed")
    await played.told()
    leg = played.leg(played.turn.go_on(plan(ASK, CALL, RESULT), lambda: None))
    with pytest.raises(UpstreamUnavailable, match="did not ask"):
        await leg.head(WAIT_S)


async def test_a_child_that_is_lost_meanwhile_is_told(played: Played) -> None:
    await played.begin()
    played.call()
    played.say("rawResponse/completed")
    await played.told()
    leg = played.leg(played.turn.go_on(plan(ASK, CALL, RESULT), lambda: None))
    await asyncio.sleep(0)
    played.server.fail(UpstreamUnavailable("the child ended"))
    with pytest.raises(UpstreamError, match="the child ended"):
        await leg.head(WAIT_S)


@pytest.mark.parametrize(
    ("name", "arguments", "own_tools", "told", "answerable"),
    [
        ("f", "{}", False, True, True),
        ("f", '{"a":', False, True, False),
        ("f", None, False, True, False),
        ("shell", "{}", False, True, False),
        ("shell", "{}", True, False, True),
        ("f", "{}", True, True, True),
    ],
)
async def test_whose_a_function_is(played: Played, name: str, arguments: Any, own_tools: bool, told: bool, answerable: bool) -> None:
    await played.begin(own_tools=own_tools)
    played.call("c1", name, arguments)
    played.say("rawResponse/completed")
    assert (PAUSED_FOR_TOOLS in await played.told()) == told
    assert played.turn.answerable == answerable


async def test_a_child_without_raw_items_pauses_when_no_more_is_asked_for(played: Played, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_ALL_ASKED_S", 0.0)
    await played.begin()
    assert await played.told() == ["turn/started"]
    for number in (1, 2):
        played.turn.heard("item/tool/call", number, b'{"method":"item/tool/call"}', b'{"callId":"c%d"}' % number)
    await until(lambda: played.turn.state == "paused")
    assert await played.told() == ["item/tool/call", "item/tool/call", PAUSED_FOR_TOOLS]
    assert played.turn.call_ids == {"c1", "c2"}
    assert played.turn.asked == {"c1": 1, "c2": 2}


# --- ends


async def test_a_turn_that_nobody_waits_for_is_interrupted_and_leaves_nothing(played: Played) -> None:
    leg = await played.begin()
    (played.turn.directory / "left.txt").write_text("x")
    leg.close()
    assert played.left == ["running"]
    await played.turn.end()
    assert played.server.script.methods()[-2:] == ["turn/interrupt", "thread/unsubscribe"]
    assert played.server.script.told[-2]["params"] == {"threadId": "t1", "turnId": "turn1"}
    assert (played.turn.state, played.released, played.server.threads) == ("over", 1, {})
    assert not played.turn.directory.exists()
    await played.turn.end()
    assert played.released == 1


async def test_a_call_that_leaves_before_the_head_is_heard_when_the_turn_has_begun(played: Played) -> None:
    leg = played.leg(played.turn.begin(SETTINGS, False))
    leg.close()
    assert played.left == []
    await until(lambda: played.left)
    await played.turn.end()
    assert played.server.script.methods()[-2:] == ["turn/interrupt", "thread/unsubscribe"]


async def test_a_turn_that_is_over_is_not_interrupted(played: Played) -> None:
    leg = await played.begin()
    played.say("turn/completed")
    await played.told()
    leg.close()
    await played.turn.end()
    assert "turn/interrupt" not in played.server.script.methods()
    assert played.server.script.methods()[-1] == "thread/unsubscribe"


async def test_a_child_that_refuses_to_end_a_turn_has_ended_it(played: Played) -> None:
    for method in ("turn/interrupt", "thread/unsubscribe"):
        played.server.script.replies[method] = {"error": {"code": -32600, "message": "no such turn"}}
    await played.begin()
    await played.turn.end()
    assert (played.turn.state, played.released, played.server.lost) == ("over", 1, None)
