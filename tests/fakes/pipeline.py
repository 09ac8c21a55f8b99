"""A gateway with everything around it made of lists: scripted upstreams, a client that collects, a clock that only moves when told."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from fkproxy.access import KeyRing
from fkproxy.adapters.base import Credential, Exchange, Pulled, Timeouts, UpstreamCall
from fkproxy.adapters.secret import StaticSecret
from fkproxy.attempts import RetryPolicy
from fkproxy.call import Call, Headers, StreamPolicy
from fkproxy.clientele import Clientele
from fkproxy.dialects import DIALECTS
from fkproxy.dialects.base import ModelEntry, Operation
from fkproxy.directory import Directory
from fkproxy.fleet import Fleet
from fkproxy.gateway import Gateway
from fkproxy.intake import FREE_BYTES, Intake
from fkproxy.limits.breaker import Breaker
from fkproxy.limits.bucket import Buckets
from fkproxy.limits.retry_budget import RetryBudget
from fkproxy.limits.slots import Slots
from fkproxy.limits.standing import Standing
from fkproxy.model.errors import RequestTooLarge
from fkproxy.routing import Member, RoutingTable, Rule
from fkproxy.seals import SealStore
from fkproxy.telemetry.record import CallRecord
from fkproxy.upstream import Terms, Upstream

NOON_S = 1_795_003_200.0
"""2026-11-18 12:00 UTC, a Wednesday."""

KEY = "sk-test-0123456789abcdef"


class Clock:
    """Monotonic seconds that stand still until somebody waits."""

    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


class Pause:
    """A silent upstream, for so many seconds."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds


class Hang(Pause):
    """Silent for ever, and really so: the task that waits can only be cancelled."""

    def __init__(self) -> None:
        super().__init__(float("inf"))
        self.reached = asyncio.Event()


Step = bytes | Pause | Exception


class ScriptedExchange(Pulled):
    """Plays a reply: pauses before the head, then pieces of the body. Waiting moves the clock."""

    def __init__(self, clock: Clock, status: int, headers: Mapping[str, str], head: Sequence[Step], body: Sequence[Step]) -> None:
        self.status = status
        self.headers = headers
        self._clock = clock
        self._head = list(head)
        self._body = list(body)
        self.closed = False

    async def head(self, wait_s: float) -> bool:
        return await self._play(self._head, wait_s) is not None

    async def chunk(self, wait_s: float) -> bytes | None:
        return await self._play(self._body, wait_s)

    async def _play(self, steps: list[Step], wait_s: float) -> bytes | None:
        if not steps:
            return b""
        step = steps[0]
        if isinstance(step, Hang):
            step.reached.set()
            await asyncio.Event().wait()
        if isinstance(step, Pause):
            spent = min(wait_s, step.seconds)
            self._clock.now_s += spent
            step.seconds -= spent
            if step.seconds > 0:
                return None
            steps.pop(0)
            return await self._play(steps, wait_s)
        steps.pop(0)
        if isinstance(step, Exception):
            raise step
        return step

    def close(self) -> None:
        self.closed = True


class ScriptedAdapter:
    """An upstream that gives one scripted reply after another and remembers what it was asked."""

    address = None
    children = None

    def __init__(self, clock: Clock, provider_key: str, dialect: str, models: tuple[str, ...] = ("*",), credential: str = "") -> None:
        self.provider_key = provider_key
        self.credential: Credential = StaticSecret(credential, "secret")
        self.dialect = dialect
        self.models = models
        self.spoken = frozenset((dialect,))
        self.operations: frozenset[Operation] = frozenset(("chat", "count_tokens", "embeddings"))
        self.listed = [ModelEntry(id=f"{provider_key}-model", owned_by=provider_key)]
        self.calls: list[UpstreamCall] = []
        self.exchanges: list[ScriptedExchange] = []
        self._clock = clock
        self._replies: list[ScriptedExchange | Exception] = []

    def replies(
        self, *body: Step, status: int = 200, content_type: str = "application/json", head: Sequence[Step] = (), **headers: str
    ) -> None:
        """Queue a reply."""
        named = {"content-type": content_type, **{name.replace("_", "-"): value for name, value in headers.items()}}
        self._replies.append(ScriptedExchange(self._clock, status, named, head, body))

    def streams(self, *body: Step, head: Sequence[Step] = ()) -> None:
        """Queue a streamed reply."""
        self.replies(*body, content_type="text/event-stream", head=head)

    def refuses(self, error: Exception) -> None:
        """Queue a failure to connect."""
        self._replies.append(error)

    async def send(self, call: UpstreamCall) -> Exchange:
        self.calls.append(call)
        reply = self._replies.pop(0)
        if isinstance(reply, Exception):
            raise reply
        self.exchanges.append(reply)
        return reply

    async def list_models(self) -> list[ModelEntry]:
        return self.listed

    async def verify(self) -> None:
        return None

    async def aclose(self) -> None:
        return None


class ListClient:
    """A client that keeps what it is sent."""

    def __init__(self, body: bytes) -> None:
        self.gone = self.in_pieces = False
        self.status: int | None = None
        self.headers: dict[str, str] = {}
        self.pieces: list[bytes] = []
        self.finished = False
        self.watched = False
        self.array = False
        self._body = body

    async def read_body(self, limit_bytes: int, make_room: Callable[[int], Awaitable[None]]) -> bytes:
        if len(self._body) > limit_bytes:
            raise RequestTooLarge(limit_bytes)
        if len(self._body) > FREE_BYTES:
            await make_room(len(self._body))
        return self._body

    def as_json_array(self) -> None:
        self.array = True

    def watch(self) -> None:
        self.watched = True

    async def start(self, status: int, headers: Headers) -> None:
        assert self.status is None, "a reply has one head"
        self.status = status
        self.headers = {name.decode(): value.decode() for name, value in headers}

    def write(self, data: bytes) -> Awaitable[None] | None:
        assert self.status is not None
        assert not self.finished
        self.pieces.append(data)
        return None

    def keep_alive(self, data: bytes) -> Awaitable[None] | None:
        return self.write(data)

    async def finish(self, data: bytes = b"") -> None:
        assert not self.finished, "a reply ends once"
        self.pieces.append(data)
        self.finished = True

    @property
    def body(self) -> bytes:
        return b"".join(self.pieces)


class Bench:
    """A gateway over scripted adapters."""

    def __init__(
        self,
        *adapters: tuple[str, str],
        require_key: bool = False,
        capacity: int = 1000,
        max_streams: int = 0,
        max_request_bytes: int = 1_000_000,
        timeouts: Timeouts | None = None,
        stream: StreamPolicy | None = None,
        failure_threshold: int = 3,
        observer: Any = None,
        terms: Terms | None = None,
        retries: RetryPolicy | None = None,
        budget: RetryBudget | None = None,
        intake: Intake | None = None,
        fleet: Fleet | None = None,
        directory: Directory | None = None,
    ) -> None:
        self.clock = Clock()
        self.now_s = NOON_S
        self.records: list[CallRecord] = []
        self.adapters = [
            ScriptedAdapter(self.clock, key.partition("/")[0], dialect, credential=key.partition("/")[2]) for key, dialect in adapters
        ]
        self.gateway = Gateway(
            fleet=fleet or self.fleet(terms or Terms(timeouts=timeouts or Timeouts()), failure_threshold),
            clientele=Clientele(KeyRing([KEY], required=require_key), max_wait_s=0.05, now=self.clock, now_s=lambda: self.now_s),
            buckets=Buckets(capacity, 1.0),
            slots=Slots(max_streams),
            seals=SealStore(),
            timeouts=timeouts or Timeouts(),
            stream=stream or StreamPolicy(),
            retries=retries or RetryPolicy(max_wait_s=0.0),
            budget=budget or RetryBudget(100),
            meters=None,
            turnstile=None,
            intake=intake,
            max_request_bytes=max_request_bytes,
            observers=[self.records.append, *([observer] if observer else [])],
            now=self.clock,
            sleep=self.sleep,
        )
        if directory is not None:
            self.gateway.clientele.replace(directory)

    async def sleep(self, seconds: float) -> None:
        self.clock.now_s += seconds

    def fleet(self, terms: Terms, failure_threshold: int = 3) -> Fleet:
        """One provider for each adapter; adapters with one provider_key are its credentials."""
        keys = list(dict.fromkeys(adapter.provider_key for adapter in self.adapters))
        by_key = [[adapter for adapter in self.adapters if adapter.provider_key == key] for key in keys]
        upstreams = [
            Upstream(adapter, DIALECTS[adapter.dialect], self._breaker(failure_threshold), Standing(), terms)
            for adapters in by_key
            for adapter in adapters
        ]
        rules = [
            Rule(provider_key=key, models=adapters[0].models, members=tuple(Member() for _ in adapters))
            for key, adapters in zip(keys, by_key, strict=True)
        ]
        return Fleet(upstreams, RoutingTable(rules))

    @staticmethod
    def _breaker(failure_threshold: int) -> Breaker:
        return Breaker(failure_threshold=failure_threshold, window_s=60.0, open_s=60.0, success_threshold=1)

    def call(self, dialect: str = "openai_chat", **fields: Any) -> Call:
        """A call as `web/` makes it."""
        return Call(
            request_id=f"req-{len(self.records)}", dialect=DIALECTS[dialect], method="POST", route="/test", now=self.clock, **fields
        )

    async def send(self, body: bytes, dialect: str = "openai_chat", **fields: Any) -> ListClient:
        """One call from start to end."""
        client = ListClient(body)
        await self.gateway.serve(self.call(dialect, **fields), client)
        return client

    @property
    def record(self) -> CallRecord:
        return self.records[-1]
