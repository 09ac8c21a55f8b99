"""One `codex app-server`: JSON-RPC 2.0 without its version field, one message a line, over the child's stdin and stdout. Floor 2.

Source: `codex app-server generate-json-schema --experimental` of Codex CLI 0.169.

Requests go both ways. Those of the child that belong to a turn are that turn's; every other one is refused, so that nothing waits for an
approval that nobody will give.
"""

from __future__ import annotations

import asyncio
import re
import shutil
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, Protocol, TypeVar

import msgspec

from fkproxy.adapters.codex.command import Found
from fkproxy.adapters.codex.process import Process, whole
from fkproxy.dialects.codex.response import LIMITS
from fkproxy.model.errors import (
    UpstreamError,
    UpstreamFailed,
    UpstreamProtocolError,
    UpstreamRejected,
    UpstreamTimeout,
    UpstreamUnavailable,
)
from fkproxy.wire import json

__all__ = ["REPLY_S", "AppServer", "Thread", "read_reply"]

T = TypeVar("T")

REPLY_S = 15.0
"""Requests are answered at once, whatever the model does; a child that does not answer hangs."""

_VERSION = re.compile(r"/(\d+(?:\.\d+)+)")
_METHOD_NOT_FOUND = -32601
_INVALID = (-32600, -32602)
"""Codes of JSON-RPC for a request that is to blame itself."""
_DECLINED = {"decision": "decline"}
_DECLINE: dict[str, dict[str, Any]] = {
    "item/commandExecution/requestApproval": _DECLINED,
    "item/fileChange/requestApproval": _DECLINED,
    "applyPatchApproval": {"decision": "denied"},
    "execCommandApproval": {"decision": "denied"},
    "mcpServer/elicitation/request": {"action": "decline", "content": None},
}
"""What the child is told when it asks for an approval: nobody is there who could give it."""


class Thread(Protocol):
    """Who is told what the child says about one thread."""

    def heard(self, method: str, request_id: int | str | None, line: bytes, params: bytes) -> None:
        """A notification, or with an id a request of the child."""
        ...

    def lost(self, error: UpstreamError) -> None:
        """The child is gone."""
        ...


class _Error(msgspec.Struct):
    code: int = 0
    message: str = ""


class _Message(msgspec.Struct):
    id: int | str | None = None
    method: str | None = None
    params: msgspec.Raw = msgspec.Raw(b"{}")
    result: msgspec.Raw = msgspec.Raw(b"null")
    error: _Error | None = None


class _About(msgspec.Struct, rename="camel"):
    thread_id: str | None = None


class _Hello(msgspec.Struct, rename="camel"):
    user_agent: str = ""


_decode = msgspec.json.Decoder(_Message).decode
_about = msgspec.json.Decoder(_About).decode


class AppServer:
    """One child, from its handshake on. `directory` is its own and removed with it, `found` what was in its home when it was started.

    `limits`: what it said last of those of its login. `leaving`: no new turns, and when the last one is over it ends. Times are monotonic.
    """

    def __init__(
        self,
        process: Process,
        directory: Path,
        ended: Callable[[AppServer], None],
        found: Found = (),
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self.process = process
        self.directory = directory
        self.found = found
        self.threads: dict[str, Thread] = {}
        self.version = ""
        self.limits: bytes | None = None
        self.turns = 0
        self.served = 0
        self.since = now()
        self.idle_since = self.since
        self.leaving = False
        self.leave_by = 0.0
        self.resident_bytes = 0
        self.lost: UpstreamError | None = None
        self._ended = ended
        self._now = now
        self._replies: dict[int, asyncio.Future[msgspec.Raw]] = {}
        self._asked_at: dict[int, float] = {}
        self._number = 0
        self._tasks: set[asyncio.Task[None]] = set()
        self._reading = asyncio.create_task(self._read())

    async def shake_hands(self, version: str, timeout_s: float) -> None:
        """Raises `UpstreamError`."""
        client = {"name": "fkproxy", "title": "fkproxy", "version": version}
        raw = await self.request("initialize", {"clientInfo": client, "capabilities": {"experimentalApi": True}}, timeout_s)
        found = _VERSION.search(read_reply(raw, _Hello).user_agent)
        self.version = found.group(1) if found is not None else ""
        await self.send({"method": "initialized"})
        if self.lost is not None:
            # What came with the handshake was its last, and nobody who counts children has been told.
            raise self.lost
        self.process.settled = True

    async def request(self, method: str, params: Any, timeout_s: float = REPLY_S) -> msgspec.Raw:
        """The result. Raises `UpstreamError`: a refusal in the child's words, or that it is gone or hangs; then it is ended."""
        if self.lost is not None:
            raise self.lost
        self._number += 1
        number = self._number
        reply: asyncio.Future[msgspec.Raw] = asyncio.get_running_loop().create_future()
        self._replies[number], self._asked_at[number] = reply, self._now()
        try:
            await self.send({"id": number, "method": method, "params": params})
            async with asyncio.timeout(timeout_s):
                return await reply
        except TimeoutError:
            self.fail(UpstreamTimeout("child", timeout_s))
            assert self.lost is not None
            raise self.lost from None
        finally:
            self._replies.pop(number, None)
            self._asked_at.pop(number, None)
            if reply.done() and not reply.cancelled():
                reply.exception()

    def silent_s(self) -> float:
        """How long it has owed an answer; what it is asked it answers at once, unless it hangs."""
        return self._now() - next(iter(self._asked_at.values())) if self._asked_at else 0.0

    async def send(self, message: dict[str, Any]) -> None:
        """Raises `UpstreamError`."""
        try:
            await self.process.write(json.encode(message))
        except OSError as error:
            # That it ended is told by its input too, and on a busy host sooner than by its output.
            hangs = isinstance(error, TimeoutError)
            self.fail(UpstreamUnavailable("the child does not read what it is told" if hangs else "the child ended"))
            assert self.lost is not None
            raise self.lost from None

    def answer(self, request_id: int | str, result: Any) -> Coroutine[Any, Any, None]:
        """Answer a request of the child. Raises `UpstreamError`."""
        return self.send({"id": request_id, "result": result})

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """Do something beside; whoever asked does not wait for it."""
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None and not isinstance(error, UpstreamError):
            raise error

    def fail(self, error: UpstreamError) -> None:
        """It is of no use any more: whoever waits for it is told, and it is ended."""
        if self.lost is not None:
            return
        self.lost = error
        for reply in self._replies.values():
            if not reply.done():
                reply.set_exception(error)
        threads, self.threads = self.threads, {}
        for thread in threads.values():
            thread.lost(error)
        self.process.kill()
        self._ended(self)

    async def aclose(self, grace_s: float) -> None:
        """End it: it may finish what it does. May be called twice. Who is cancelled meanwhile does not leave before the end."""
        await whole(asyncio.ensure_future(self._close(grace_s)))

    async def _close(self, grace_s: float) -> None:
        await self.process.stop(grace_s)
        self._reading.cancel()
        self.fail(UpstreamUnavailable("the child was ended"))
        await asyncio.gather(self._reading, return_exceptions=True)
        while self._tasks:
            # None of them can wait for anything now, and they tidy up.
            await asyncio.gather(*self._tasks, return_exceptions=True)
        shutil.rmtree(self.directory, ignore_errors=True)

    # --- what it says

    async def _read(self) -> None:
        try:
            while line := await self.process.read_line():
                self._take(line)
        except (ValueError, OSError) as error:
            self.fail(UpstreamProtocolError(f"the child broke its protocol: {type(error).__name__}"))
        self.fail(UpstreamUnavailable("the child ended"))

    def _take(self, line: bytes) -> None:
        try:
            message = _decode(line)
        except json.MALFORMED as error:
            raise ValueError("no JSON-RPC message") from error
        if message.method is None:
            reply = self._replies.get(message.id) if isinstance(message.id, int) else None
            if reply is None or reply.done():
                return
            if message.error is not None:
                reply.set_exception(_refusal(message.error))
            else:
                reply.set_result(msgspec.Raw(bytes(message.result)))
            return
        if message.method == LIMITS:
            self.limits = line
        params = bytes(message.params)
        try:
            thread = self.threads.get(_about(params).thread_id or "")
        except json.MALFORMED:
            thread = None
        if thread is not None:
            try:
                thread.heard(message.method, message.id, line, params)
            except json.MALFORMED:
                # One turn's misfortune, not that of all.
                thread.lost(UpstreamProtocolError(f"the child's {message.method} is not what its protocol says"))
        if message.id is not None and (thread is None or message.method != "item/tool/call"):
            self._refuse(message.id, message.method)

    def _refuse(self, request_id: int | str, method: str) -> None:
        if method in _DECLINE:
            self.spawn(self.answer(request_id, _DECLINE[method]))
        elif method == "currentTime/read":
            self.spawn(self.answer(request_id, {"currentTimeAt": int(time.time())}))
        else:
            self.spawn(self.send({"id": request_id, "error": {"code": _METHOD_NOT_FOUND, "message": f"{method} is not done here"}}))


def read_reply(raw: msgspec.Raw, kind: type[T]) -> T:
    """A result. Raises `UpstreamProtocolError`."""
    try:
        return msgspec.json.decode(raw, type=kind)
    except json.MALFORMED as error:
        raise UpstreamProtocolError("the child's answer is not what its protocol says") from error


def _refusal(error: _Error) -> UpstreamError:
    if error.code in _INVALID:
        return UpstreamRejected(400, error.message[:1000], native_code="invalid_request_error")
    return UpstreamFailed(error.message[:1000] or f"the child answered with error {error.code}")
