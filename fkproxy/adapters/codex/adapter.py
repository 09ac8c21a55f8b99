"""The upstream that a crew of children makes. Floor 2."""

from __future__ import annotations

import asyncio
import functools
import hashlib
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from fkproxy.adapters.base import Children, CredentialStatus, Exchange, UpstreamCall
from fkproxy.adapters.codex.app_server import AppServer, read_reply
from fkproxy.adapters.codex.crew import Crew
from fkproxy.adapters.codex.turn import Leg, Turn
from fkproxy.dialects.base import ModelEntry, Operation
from fkproxy.dialects.codex.plan import NAME, Plan
from fkproxy.model.errors import UpstreamRefusedCredential, UpstreamUnavailable
from fkproxy.wire import json

__all__ = ["CodexCli", "Login"]

_MOST_PAUSED = 200
"""Turns that may wait for the client's tools; the one that waits longest goes first."""

_MAX_PAGES = 20


class _Model(msgspec.Struct):
    id: str


class _Models(msgspec.Struct, rename="camel"):
    data: list[_Model]
    next_cursor: str | None = None


class _Login(msgspec.Struct, rename="camel"):
    account: Any = None
    requires_openai_auth: bool = False


class Login:
    """The CLI's own login, which lies in its home. A `Credential` that we never see."""

    renewable = False

    def __init__(self, name: str) -> None:
        self.name = name
        self.missing = False

    async def token(self, now: float) -> str:
        """See `Credential.token`. There is none to be sent."""
        return ""

    async def renew(self, refused: str, now: float) -> bool:
        """See `Credential.renew`. The CLI renews its own."""
        return False

    def describe(self, now: float) -> CredentialStatus:
        """See `Credential.describe`."""
        return CredentialStatus(state="reauth_required" if self.missing else "active")


class CodexCli:
    """See `Adapter`. `settings` go into every `thread/start`; `own_tools`: the child may use its own, in its sandbox.

    `parallel_tools`: clients that do not say otherwise are asked for several of theirs at once.

    A turn that waits for the client's tools is kept for `tool_wait_s`. The client's next call goes on with it if it comes with the
    same key, says the same up to where the model asked, has the model's calls as it made them, and brings what every tool gave; any
    other one starts a turn of its own with the whole conversation.
    """

    dialect = NAME
    spoken = frozenset((NAME,))
    operations: frozenset[Operation] = frozenset(("chat",))
    address = None

    def __init__(
        self,
        crew: Crew,
        *,
        provider_key: str,
        models: tuple[str, ...],
        name: str,
        settings: dict[str, Any],
        own_tools: bool,
        parallel_tools: bool = True,
        tool_wait_s: float,
    ) -> None:
        self.crew = crew
        self.provider_key = provider_key
        self.models = models
        self.credential = Login(name)
        self._settings = settings
        self._own_tools = own_tools
        self._parallel_tools = parallel_tools
        self._tool_wait_s = tool_wait_s
        self._paused: dict[tuple[str, frozenset[str]], _Paused] = {}

    @property
    def children(self) -> Children:
        """See `Adapter.children`."""
        return msgspec.structs.replace(self.crew.status(), waiting=len(self._paused))

    async def send(self, call: UpstreamCall) -> Exchange:
        """See `Adapter.send`. Raises also `UpstreamSpawnFailed` and `UpstreamOverloaded`."""
        plan = msgspec.json.decode(call.body, type=Plan)
        if not self._parallel_tools:
            plan = msgspec.structs.replace(plan, one_tool_at_a_time=True)
        turn = self._take_paused(plan, call.caller)
        if turn is not None:
            turn.server.turns += 1
            return Leg(turn, asyncio.create_task(turn.go_on(plan, self._release(turn.server))), self._left)
        server = await self.crew.take()
        release = self._release(server)
        try:
            directory = Path(tempfile.mkdtemp(prefix="call-", dir=server.directory))
        except OSError as error:
            release()
            if not os.path.isdir(server.directory):  # noqa: ASYNC240, PTH112 - `Path.is_dir` minds one not to be looked into
                # Somebody has removed it, or it is not ours any more, and no call would get one there.
                server.fail(UpstreamUnavailable("the child's directory is gone"))
            raise UpstreamUnavailable(f"no working directory can be made for the call: {error.strerror}") from None
        turn = Turn(server, plan, call.caller, directory, release)
        return Leg(turn, asyncio.create_task(turn.begin(self._settings, self._own_tools)), self._left)

    def _release(self, server: AppServer) -> Callable[[], None]:
        return lambda: self.crew.give_back(server)

    # --- turns that wait for tools

    def _left(self, turn: Turn) -> None:
        """A call has left its turn."""
        if turn.state == "paused" and turn.answerable and turn.lost_by is None:
            self._keep(turn)
        else:
            turn.server.spawn(turn.end())

    def _keep(self, turn: Turn) -> None:
        turn.let_go()
        key = (turn.caller, turn.call_ids)
        drop = asyncio.get_running_loop().call_later(self._tool_wait_s, self._drop, key)
        turn.when_lost = functools.partial(self._drop, key)
        before = self._paused.pop(key, None)
        self._paused[key] = _Paused(turn, len(turn.plan.items), _digest(turn.plan, len(turn.plan.items)), drop)
        if before is not None:
            before.end()
        while len(self._paused) > _MOST_PAUSED:
            self._drop(next(iter(self._paused)))

    def _drop(self, key: tuple[str, frozenset[str]]) -> None:
        paused = self._paused.pop(key, None)
        if paused is not None:
            paused.end()

    def _take_paused(self, plan: Plan, caller: str) -> Turn | None:
        if not plan.answers:
            return None
        paused = self._paused.pop((caller, frozenset(answer.call_id for answer in plan.answers)), None)
        if paused is None:
            return None
        turn = paused.turn
        same = plan.asked == paused.asked and _digest(plan, plan.asked) == paused.digest
        if turn.state == "paused" and same and turn.says_as_much(plan):
            paused.leave()
            return turn
        paused.end()
        return None

    # --- besides calls

    async def list_models(self) -> list[ModelEntry]:
        """See `Adapter.list_models`."""
        server = await self.crew.take()
        try:
            found: list[ModelEntry] = []
            cursor: str | None = None
            for _ in range(_MAX_PAGES):
                page = read_reply(await server.request("model/list", {"cursor": cursor} if cursor else {}), _Models)
                found += [ModelEntry(id=entry.id, owned_by=self.provider_key) for entry in page.data]
                cursor = page.next_cursor
                if not cursor:
                    break
            return found
        finally:
            self.crew.give_back(server)

    async def verify(self) -> None:
        """See `Adapter.verify`. A child starts, and has a login where its provider needs one."""
        server = await self.crew.take()
        try:
            login = read_reply(await server.request("account/read", {"refreshToken": False}), _Login)
        finally:
            self.crew.give_back(server)
        self.credential.missing = login.requires_openai_auth and login.account is None
        if self.credential.missing:
            raise UpstreamRefusedCredential("the Codex CLI is not signed in: run `codex login` with its CODEX_HOME", upstream_status=401)

    async def aclose(self) -> None:
        """The crew is shared and closed by its owner."""


class _Paused:
    """A turn that waits. `asked`: how many items of the conversation it knows, `digest`: of these."""

    def __init__(self, turn: Turn, asked: int, digest: bytes, timer: asyncio.TimerHandle) -> None:
        self.turn = turn
        self.asked = asked
        self.digest = digest
        self.timer = timer

    def leave(self) -> None:
        self.timer.cancel()
        self.turn.when_lost = None

    def end(self) -> None:
        self.leave()
        self.turn.server.spawn(self.turn.end())


def _digest(plan: Plan, items: int) -> bytes:
    """Of everything that the model was told before it asked."""
    whole = hashlib.blake2b(json.encode((plan.model, plan.instructions, plan.tools, plan.effort, plan.output_schema)), digest_size=16)
    for item in plan.items[:items]:
        whole.update(b"\n")
        whole.update(bytes(item))
    return whole.digest()
