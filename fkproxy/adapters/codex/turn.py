"""One turn of the child's model, in legs: a call of ours goes as far as the model's first wait for the client's tools, the next one on.

Floor 2.

    running ──turn/completed──▶ over
       │ ▲
       │ └── the client's next call brings what its tools gave
       └──── the model asked for tools ──▶ paused

Where the child asks its vendor again for what was said in part, or has its model sum up what it was told, the turn is cut. One that
nobody waits for any more is interrupted.
"""

from __future__ import annotations

import asyncio
import contextlib
import shutil
from collections import deque
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal

import msgspec

from fkproxy.adapters.base import Pulled
from fkproxy.adapters.codex.app_server import REPLY_S, AppServer, read_reply
from fkproxy.dialects.codex.plan import OWN_MODEL, Answer, Plan
from fkproxy.dialects.codex.response import PAUSED_FOR_TOOLS
from fkproxy.model.errors import UpstreamError, UpstreamUnavailable
from fkproxy.wire import json, sse

__all__ = ["Leg", "Turn"]

_MAX_WAITING_BYTES = 16 * 1024 * 1024
"""What may wait for a slow client; the child's output is one pipe for all, so nobody's may stop it."""

_ALL_ASKED_S = 0.25
"""After a tool was asked for: a child that does not say where an answer of the model ends may ask for another one within this time."""

_TOO_LONG = {
    "status": "failed",
    "error": {"message": "the conversation is longer than this model's context window", "codexErrorInfo": "contextWindowExceeded"},
}
"""Instead of a summary, which the child would go on with: what a client said is left out by nobody but the client."""

_PASSED_ON = frozenset(
    (
        "turn/started",
        "item/agentMessage/delta",
        "item/reasoning/summaryTextDelta",
        "item/reasoning/textDelta",
        "item/reasoning/summaryPartAdded",
        "item/completed",
        "error",
    )
)


class _Item(msgspec.Struct):
    type: str = ""
    name: str | None = None
    call_id: str | None = None
    arguments: Any = None


class _Params(msgspec.Struct, rename="camel"):
    call_id: str = ""
    tool: str = ""
    arguments: Any = None
    item: _Item | None = None
    will_retry: bool = False


class _Started(msgspec.Struct):
    id: str


class _Thread(msgspec.Struct):
    thread: _Started


class _Turn(msgspec.Struct):
    turn: _Started


_params = msgspec.json.Decoder(_Params).decode


class Turn:
    """Told by the child what happens, asked by legs what there is.

    `directory` is the turn's own and removed at its end. `release` is called once, when the child does no work for it any more,
    `when_lost` when the child is gone.
    """

    def __init__(self, server: AppServer, plan: Plan, caller: str, directory: Path, release: Callable[[], None]) -> None:
        self.server = server
        self.directory = directory
        self.plan = plan
        self.caller = caller
        self.state: Literal["running", "paused", "cut", "over"] = "running"
        self.lost_by: UpstreamError | None = None
        self.when_lost: Callable[[], None] | None = None
        self.asked: dict[str, int | str] = {}
        self.answerable = True
        self._own_tools = False
        self._release: Callable[[], None] | None = release
        self._thread_id = ""
        self._turn_id = ""
        self._begun = False
        self._said = False
        self._exact = False
        self._names = frozenset(tool.name for tool in plan.tools)
        self._told: set[str] = set()
        self._calls: dict[str, tuple[str, Any]] = {}
        self._awaited: set[str] = set()
        self._held: deque[tuple[str, bytes]] = deque()
        self._waiting: deque[bytes] = deque()
        self._waiting_bytes = 0
        self._news = asyncio.Event()
        self._settle: asyncio.TimerHandle | None = None

    @property
    def call_ids(self) -> frozenset[str]:
        """The tools that it waits for."""
        return frozenset(self._awaited)

    def says_as_much(self, plan: Plan) -> bool:
        """Whether the client's conversation has the calls that it waits for as the model made them."""
        found: dict[str, tuple[str, Any]] = {}
        for raw in plan.items[plan.asked :]:
            item = msgspec.json.decode(raw, type=_Item)
            if item.type == "function_call" and item.call_id is not None and item.name is not None and _is_json(item.arguments):
                found[item.call_id] = (item.name, json.loads(item.arguments))
        return all(found.get(call_id) == self._calls.get(call_id) for call_id in self._awaited)

    # --- what it is told to do

    async def begin(self, settings: Mapping[str, Any], own_tools: bool) -> None:
        """`settings` go into `thread/start`. `own_tools`: the child has some, which are none of the client's. Raises `UpstreamError`."""
        plan = self.plan
        self._own_tools = own_tools
        params = {
            **settings,
            "cwd": str(self.directory),
            "model": plan.model if plan.model != OWN_MODEL else settings.get("model"),
            "baseInstructions": plan.instructions,
            "dynamicTools": plan.tools,
            "ephemeral": True,
            "experimentalRawEvents": True,
        }
        started = await self.server.request("thread/start", params)
        self._thread_id = read_reply(started, _Thread).thread.id
        if self.server.lost is not None:
            raise self.server.lost
        self.server.threads[self._thread_id] = self
        await self.server.request("thread/inject_items", {"threadId": self._thread_id, "items": plan.items})
        asked: dict[str, Any] = {"threadId": self._thread_id, "input": [], "summary": plan.summary}
        if plan.effort is not None:
            asked["effort"] = plan.effort
        if plan.output_schema is not None:
            asked["outputSchema"] = plan.output_schema
        self._turn_id = read_reply(await self.server.request("turn/start", asked), _Turn).turn.id

    async def go_on(self, plan: Plan, release: Callable[[], None]) -> None:
        """The client's tools have answered. Raises `UpstreamError`."""
        self.plan, self._release, self.state = plan, release, "running"
        self._awaited.clear()
        missing = {answer.call_id: answer for answer in plan.answers}
        try:
            async with asyncio.timeout(REPLY_S):
                # The child may ask for one only when another is answered.
                while missing and self.lost_by is None:
                    for call_id in [call_id for call_id in missing if call_id in self.asked]:
                        await self.server.answer(self.asked.pop(call_id), _result(missing.pop(call_id)))
                    if missing:
                        self._news.clear()
                        await self._news.wait()
        except TimeoutError:
            raise UpstreamUnavailable("the child did not ask for a tool that its model named") from None
        if self.lost_by is not None:
            raise self.lost_by
        if self._held:
            # The model asked for more than one, and the client takes one at a time.
            self._tell(*self._held.popleft())
            self._pause(counts={})

    async def end(self) -> None:
        """Nobody waits for it any more."""
        if self._settle is not None:
            self._settle.cancel()
        try:
            if self.state != "over" and self._turn_id:
                await self.server.request("turn/interrupt", {"threadId": self._thread_id, "turnId": self._turn_id})
            if self._thread_id:
                await self.server.request("thread/unsubscribe", {"threadId": self._thread_id})
        except UpstreamError:
            # Refused: it was over in between. Lost: it is over as well.
            pass
        finally:
            self.state = "over"
            self.server.threads.pop(self._thread_id, None)
            self.let_go()
            # The child may have left something there, and a small tree is gone at once.
            shutil.rmtree(self.directory, ignore_errors=True)

    def let_go(self) -> None:
        """Give its place to somebody else."""
        release, self._release = self._release, None
        if release is not None:
            release()

    # --- what it is told by the child

    def heard(self, method: str, request_id: int | str | None, line: bytes, params: bytes) -> None:
        """See `Thread.heard`."""
        if self.state in ("cut", "over") or self.lost_by is not None:
            return
        if method == "turn/started":
            self._begun = True
        elif not self._begun and method != "turn/completed":
            return
        if method in _PASSED_ON:
            self._put(line)
            self._note(method, params)
        elif method == "item/tool/call" and request_id is not None:
            self._tool_asked(_params(params), request_id, line)
        elif method == "rawResponseItem/completed":
            self._raw_item(_params(params).item or _Item(), line)
        elif method == "rawResponse/completed":
            self._exact = True
            self._put(line)
            if self._awaited:
                self._pause()
        elif method == "thread/tokenUsage/updated":
            if not self._exact:
                self._put(line)
        elif method == "item/started":
            if (_params(params).item or _Item()).type == "contextCompaction" and not self._own_tools:
                self._put(json.encode({"method": "turn/completed", "params": {"turn": _TOO_LONG}}))
                self.state = "cut"
        elif method == "turn/completed":
            self.state = "over"
            if self.server.limits is not None:
                # It is said of no turn, and tells until when one that failed for it need not be tried again.
                self._put(self.server.limits)
            self._put(line)
            self.let_go()

    def lost(self, error: UpstreamError) -> None:
        """See `Thread.lost`."""
        self.lost_by = error
        self._news.set()
        if self.when_lost is not None:
            self.when_lost()

    def _note(self, method: str, params: bytes) -> None:
        if method == "item/agentMessage/delta":
            self._said = True
        elif method == "item/completed":
            item = _params(params).item
            self._said |= item is not None and item.type == "agentMessage"
        elif method == "error" and (self._said or self._awaited) and self.state == "running" and _params(params).will_retry:
            self.state = "cut"

    def _raw_item(self, item: _Item, line: bytes) -> None:
        if item.type == "reasoning":
            self._put(line)
        elif item.type == "function_call" and item.call_id is not None and (item.name in self._names or not self._own_tools):
            # A function that nobody offered, or that the child cannot read: the client hears of it, and the child, which answers its
            # model itself, must not go on.
            readable = _is_json(item.arguments)
            self.answerable &= item.name in self._names and readable
            self._calls[item.call_id] = (item.name or "", json.loads(item.arguments) if readable else None)
            self._announce(item.call_id, line)

    def _announce(self, call_id: str, line: bytes) -> None:
        self._told.add(call_id)
        if self._awaited and self.plan.one_tool_at_a_time:
            self._held.append((call_id, line))
        else:
            self._tell(call_id, line)

    def _tell(self, call_id: str, line: bytes) -> None:
        """The client is to use a tool."""
        self._awaited.add(call_id)
        self._put(line)

    def _tool_asked(self, params: _Params, request_id: int | str, line: bytes) -> None:
        call_id = params.call_id
        self.asked[call_id] = request_id
        self._news.set()
        if call_id in self._told or self.state != "running":
            return
        self._calls[call_id] = (params.tool, params.arguments)
        self._announce(call_id, line)
        if self._settle is not None:
            self._settle.cancel()
        self._settle = asyncio.get_running_loop().call_later(_ALL_ASKED_S, self._pause)

    def _pause(self, counts: dict[str, int] | None = None) -> None:
        """`counts`: those of this leg where the child tells of none."""
        if self.state == "running":
            self._put(json.encode({"method": PAUSED_FOR_TOOLS, "params": {"usage": counts}}))
            self.state = "paused"

    def _put(self, line: bytes) -> None:
        self._waiting.append(sse.encode_data(line.rstrip()))
        self._waiting_bytes += len(line)
        if self._waiting_bytes > _MAX_WAITING_BYTES:
            self.lost(UpstreamUnavailable("the client read too slowly"))
            self.server.spawn(self.end())
        self._news.set()

    async def next(self, wait_s: float) -> bytes | None:
        """See `Exchange.chunk`."""
        if not self._waiting:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(wait_s):
                    while not self._waiting and self.state == "running" and self.lost_by is None:
                        self._news.clear()
                        await self._news.wait()
        if self._waiting:
            data = b"".join(self._waiting)
            self._waiting.clear()
            self._waiting_bytes = 0
            return data
        if self.lost_by is not None:
            raise self.lost_by
        return None if self.state == "running" else b""


def _is_json(text: Any) -> bool:
    try:
        json.loads(text if isinstance(text, str) else "")
    except ValueError:
        return False
    return True


def _result(answer: Answer) -> dict[str, Any]:
    return {"success": answer.success, "contentItems": answer.content_items}


class Leg(Pulled):
    """An `Exchange`: what one call sees of a turn. `left` is told when the call has left, with how the turn stands."""

    status = 200
    headers: Mapping[str, str] = {"content-type": "text/event-stream"}

    def __init__(self, turn: Turn, setting_out: asyncio.Task[None], left: Callable[[Turn], None]) -> None:
        self._turn = turn
        self._setting_out = setting_out
        self._left: Callable[[Turn], None] | None = left

    async def head(self, wait_s: float) -> bool:
        """See `Exchange.head`."""
        done, _ = await asyncio.wait((self._setting_out,), timeout=wait_s)
        if not done:
            return False
        self._setting_out.result()
        return True

    async def chunk(self, wait_s: float) -> bytes | None:
        """See `Exchange.chunk`."""
        return await self._turn.next(wait_s)

    def close(self) -> None:
        """See `Exchange.close`."""
        left, self._left = self._left, None
        if left is None:
            return

        def leave(setting_out: asyncio.Task[None]) -> None:
            if not setting_out.cancelled():
                # Whoever waited for it has been told.
                setting_out.exception()
            left(self._turn)

        if self._setting_out.done():
            leave(self._setting_out)
        else:
            self._setting_out.add_done_callback(leave)
