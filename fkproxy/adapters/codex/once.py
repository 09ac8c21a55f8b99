"""`codex exec --json`: a process for each call, which is told one message and ends. Floor 2.

For calls that must share nothing with others, memory and temporary files included, and for programs whose app-server is not to be trusted.
It starts in the call's time, has no deltas, and knows neither a client's tools nor what was said before: such calls are refused.

Source: the events of Codex CLI 0.169, one JSON object a line. They are told on as the app-server would tell them.
"""

from __future__ import annotations

import asyncio
import logging
import re
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import msgspec

from fkproxy.adapters.base import Children, Exchange, Pulled, UpstreamCall
from fkproxy.adapters.codex.adapter import Login
from fkproxy.adapters.codex.catalogue import Catalogue
from fkproxy.adapters.codex.command import Command
from fkproxy.adapters.codex.crew import resident_bytes
from fkproxy.adapters.codex.options import version_of
from fkproxy.adapters.codex.process import Process
from fkproxy.dialects.base import ModelEntry, Operation
from fkproxy.dialects.codex.plan import NAME, OWN_MODEL, Plan
from fkproxy.model.errors import (
    Unrepresentable,
    UpstreamError,
    UpstreamModelMissing,
    UpstreamProtocolError,
    UpstreamRejected,
    UpstreamSpawnFailed,
    UpstreamUnavailable,
)
from fkproxy.wire import json, sse

__all__ = ["CodexOnce"]

_GRACE_S = 1.0
_STATUS = re.compile(r"(?:last|unexpected) status:? (\d{3})")
"""Where the vendor's HTTP status stands in words only."""

_INFO_BY_WORDS = {
    "hit your usage limit": "usageLimitExceeded",
    "Quota exceeded": "usageLimitExceeded",
    "To use Codex with your ChatGPT plan": "usageLimitExceeded",
    "ran out of room in the model's context window": "contextWindowExceeded",
    "model is at capacity": "serverOverloaded",
}
"""What the app-server tells beside these words (0.169) stands in them alone."""

_NO_INSTRUCTIONS = "Answer."
"""An empty file is refused, and without one the program has instructions of its own."""

_MAX_CHARS = 1 << 20
"""A longer message is refused by the program, which does not say so in its events."""

_MAX_MODEL_CHARS = 256

_HINT = "this upstream runs `codex exec`, which is told one message"


class _Event(msgspec.Struct):
    type: str = ""
    item: dict[str, Any] = {}
    usage: dict[str, int] = {}
    error: dict[str, Any] = {}


class _Message(msgspec.Struct):
    role: str = ""
    content: list[dict[str, Any]] = []


logger = logging.getLogger("fkproxy.codex")

_decode = msgspec.json.Decoder(_Event).decode


class CodexOnce:
    """See `Adapter`. `model`: for names that stand for no model of their own."""

    dialect = NAME
    spoken = frozenset((NAME,))
    operations: frozenset[Operation] = frozenset(("chat",))
    address = None

    def __init__(
        self,
        command: Command,
        *,
        provider_key: str,
        models: tuple[str, ...],
        name: str,
        model: str | None,
        sandbox: str,
        start_s: float = 20.0,
    ) -> None:
        self.provider_key = provider_key
        self.models = models
        self.credential = Login(name)
        self._command = command
        self._model = model
        self._sandbox = sandbox
        self._start_s = start_s
        self._catalogue = Catalogue()
        self._running: set[Process] = set()
        self._ending: set[asyncio.Task[None]] = set()

    @property
    def children(self) -> Children:
        """See `Adapter.children`."""
        return Children(processes=len(self._running), resident_bytes=sum(resident_bytes(process.pid) for process in self._running))

    async def send(self, call: UpstreamCall) -> Exchange:
        """See `Adapter.send`. Raises also `UpstreamSpawnFailed`, `UpstreamRejected` and `Unrepresentable`."""
        plan = msgspec.json.decode(call.body, type=Plan)
        text = _told(plan)
        process, directory = await self._command.start(lambda directory: self._args(plan, directory), self._catalogue, self._start_s)
        self._running.add(process)
        run = _Run(process, lambda: self._end(process, directory))
        try:
            await process.write(text.encode(), b"")
            process.end_input()
        except TimeoutError:
            run.close()
            raise UpstreamUnavailable("the program does not read what it is told") from None
        except OSError:
            # It has ended, and who reads its output is told how.
            pass
        except BaseException:
            run.close()
            raise
        return run

    def _args(self, plan: Plan, directory: Path) -> list[str]:
        """What was said goes into files: everybody on the host can read a process's arguments."""
        args = ["exec", "--json", "--skip-git-repo-check", "--ephemeral", "--color", "never", "--sandbox", self._sandbox]
        model = plan.model if plan.model != OWN_MODEL else self._model
        if model is not None:
            args.append(f"--model={_checked(model)}")
        args += ["-c", f'model_reasoning_summary="{plan.summary}"']
        if plan.effort is not None:
            args += ["-c", f'model_reasoning_effort="{plan.effort}"']
        instructions = directory / "instructions.md"
        instructions.write_text(plan.instructions or _NO_INSTRUCTIONS, encoding="utf-8")
        args += ["-c", f'model_instructions_file="{instructions}"']
        if plan.output_schema is not None:
            schema = directory / "schema.json"
            schema.write_bytes(json.encode(plan.output_schema))
            args += ["--output-schema", str(schema)]
        return [*args, "-"]

    def _end(self, process: Process, directory: Path) -> None:
        async def end() -> None:
            await process.stop(0.0 if process.running else _GRACE_S)
            self._running.discard(process)
            shutil.rmtree(directory, ignore_errors=True)

        task = asyncio.create_task(end())
        self._ending.add(task)
        task.add_done_callback(self._ending.discard)

    async def list_models(self) -> list[ModelEntry]:
        """See `Adapter.list_models`. It has no list."""
        return []

    async def verify(self) -> None:
        """See `Adapter.verify`. It can be started; whether it has a login only a call would show."""
        await asyncio.to_thread(version_of, self._command)

    async def aclose(self) -> None:
        """Calls have left by now; what they left is waited for."""
        while self._ending:
            # Not `gather`, which is cancelled together with what it gathers.
            await asyncio.wait(self._ending)


class _Run(Pulled):
    """An `Exchange`: the output of one process."""

    status = 200
    headers: Mapping[str, str] = {"content-type": "text/event-stream"}

    def __init__(self, process: Process, end: Callable[[], None]) -> None:
        self._process = process
        self._end: Callable[[], None] | None = end
        self._over = False

    async def head(self, wait_s: float) -> bool:
        """See `Exchange.head`. What it says comes all at once, so nothing is decided before."""
        return True

    async def chunk(self, wait_s: float) -> bytes | None:
        """See `Exchange.chunk`."""
        if self._over:
            return b""
        try:
            async with asyncio.timeout(wait_s):
                line = await self._process.read_line()
        except TimeoutError:
            return None
        except ValueError as error:
            raise UpstreamProtocolError(str(error)) from error
        if not line:
            raise await self._broken_off()
        self._process.settled = True
        try:
            event = _decode(line)
        except json.MALFORMED as error:
            raise UpstreamProtocolError("the program's output is not what its version says") from error
        self._over = event.type in ("turn.completed", "turn.failed")
        return b"".join(sse.encode_data(json.encode({"method": method, "params": params})) for method, params in _as_told(event)) or None

    async def _broken_off(self) -> UpstreamError:
        process = self._process
        await process.stop(_GRACE_S)
        if process.settled:
            return UpstreamUnavailable(f"the program ended before its turn was complete: {process.ended()}")
        failed = UpstreamSpawnFailed(process.binary, process.why_ended())
        logger.error("program could not be started", extra={"binary": failed.binary, "reason": failed.why})
        return failed

    def close(self) -> None:
        """See `Exchange.close`."""
        end, self._end = self._end, None
        if end is not None:
            end()


def _as_told(event: _Event) -> list[tuple[str, dict[str, Any]]]:
    """The event in the words of the app-server."""
    item = event.item
    match event.type:
        case "thread.started":
            return [("turn/started", {"turn": {}})]
        case "item.completed" if item.get("type") == "agent_message":
            return [("item/completed", {"item": {"type": "agentMessage", "id": item.get("id", ""), "text": item.get("text", "")}})]
        case "item.completed" if item.get("type") == "reasoning":
            return [("item/reasoning/summaryTextDelta", {"delta": item.get("text", "")})]
        case "item.completed" if item.get("type") not in (None, "error"):
            return [("item/completed", {"item": item})]
        case "turn.completed":
            counts = {_CAMEL[name]: count for name, count in event.usage.items() if name in _CAMEL}
            return [("rawResponse/completed", {"usage": counts}), ("turn/completed", {"turn": {"status": "completed"}})]
        case "turn.failed":
            message = str(event.error.get("message", ""))
            info: Any = next((info for words, info in _INFO_BY_WORDS.items() if words in message), None)
            if (status := _STATUS.search(message)) is not None:
                info = {"httpStatus": {"httpStatusCode": int(status.group(1))}}
            return [("turn/completed", {"turn": {"status": "failed", "error": {"message": message, "codexErrorInfo": info}}})]
    return []


_CAMEL = {
    "input_tokens": "inputTokens",
    "output_tokens": "outputTokens",
    "cached_input_tokens": "cachedInputTokens",
    "cache_write_input_tokens": "cacheWriteInputTokens",
    "reasoning_output_tokens": "reasoningOutputTokens",
}


def _told(plan: Plan) -> str:
    """The text of the one message. Raises `Unrepresentable` for everything that is more than that, and `UpstreamRejected`."""
    if plan.tools:
        raise Unrepresentable("tools", NAME, _HINT)
    if len(plan.items) != 1:
        raise Unrepresentable("a conversation with earlier turns", NAME, _HINT)
    message = msgspec.json.decode(plan.items[0], type=_Message)
    if message.role != "user":
        raise Unrepresentable(f"a message of {message.role or 'nobody'}", NAME, _HINT)
    if any(part.get("type") != "input_text" for part in message.content):
        # It takes images as files and tells its model where they lie.
        raise Unrepresentable("an image or a file", NAME, _HINT)
    text = "\n".join(str(part.get("text", "")) for part in message.content)
    if not text.strip():
        raise Unrepresentable("an empty message", NAME, _HINT)
    if len(text) > _MAX_CHARS:
        told = f"the message has {len(text)} characters, and {_MAX_CHARS} are the most"
        raise UpstreamRejected(400, told, native_code="context_length_exceeded")
    return text


def _checked(model: str) -> str:
    """A name that stays one where it is an argument: another one ends at its first NUL. Raises `UpstreamModelMissing`."""
    if not model.isprintable() or len(model) > _MAX_MODEL_CHARS:
        raise UpstreamModelMissing(404, "no model has such a name", param="model", native_code="model_not_found")
    return model
