"""A turn's second leg: what tools gave reaches the child however late it asks, and nobody is asked for it again."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import msgspec

from fkproxy.adapters.codex.turn import Turn
from fkproxy.dialects.codex.plan import Answer, Plan, Tool


class Server:
    """A child that agrees to everything."""

    def __init__(self) -> None:
        self.threads: dict[str, Any] = {}
        self.lost = None
        self.answers: list[int | str] = []

    async def request(self, method: str, params: Any) -> msgspec.Raw:
        return msgspec.Raw(json.dumps({"thread": {"id": "t"}, "turn": {"id": "u"}}).encode())

    async def answer(self, request_id: int | str, result: Any) -> None:
        self.answers.append(request_id)


def say(told: Turn, method: str, request_id: int | None = None, **params: Any) -> None:
    line = json.dumps({"method": method, "id": request_id, "params": params}).encode()
    told.heard(method, request_id, line, json.dumps(params).encode())


def asks(turn: Turn, call_id: str, request_id: int) -> None:
    say(turn, "item/tool/call", request_id, callId=call_id, tool="f", arguments={})


async def test_a_tool_whose_result_is_there_is_not_asked_for_again_when_the_child_asks_late(tmp_path: Path) -> None:
    server, released = Server(), []
    plan = Plan("m", [], tools=[Tool("f", "", {})])
    turn = Turn(server, plan, "key", tmp_path, lambda: released.append("first"))  # type: ignore[arg-type]
    await turn.begin({}, False)
    say(turn, "turn/started")
    for call_id in ("c1", "c2"):
        say(
            turn,
            "rawResponseItem/completed",
            item={"type": "function_call", "name": "f", "callId": call_id, "call_id": call_id, "arguments": "{}"},
        )
    say(turn, "rawResponse/completed")
    assert turn.state == "paused"
    assert turn.call_ids == {"c1", "c2"}
    assert await turn.next(0.0)

    asks(turn, "c1", 1)
    answers = [Answer(call_id, True, []) for call_id in ("c1", "c2")]
    going = asyncio.create_task(turn.go_on(Plan("m", [], answers=answers), lambda: released.append("second")))
    await asyncio.sleep(0)
    asks(turn, "c2", 2)
    await going
    assert server.answers == [1, 2]
    assert (turn.state, turn.call_ids, await turn.next(0.0)) == ("running", frozenset(), None)
    say(turn, "turn/completed", turn={"id": "u", "status": "completed"})
    assert released == ["second"], "the child does no work for it any more"
