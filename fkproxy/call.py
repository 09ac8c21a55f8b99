"""One client request under way, and what the pipeline needs of the client's side. Floor 3."""

from __future__ import annotations

import re
import time
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from typing import Protocol

import msgspec

from fkproxy.access import ANONYMOUS, Caller
from fkproxy.adapters.base import Timeouts
from fkproxy.allowances import Allowance
from fkproxy.dialects.base import Dialect, Operation, Peek, ReplyContext, Seen, StreamDecoder, StreamEncoder
from fkproxy.dialects.call_ids import NewIds, call_ids, with_new_ids
from fkproxy.dialects.tool_names import ClientNames, client_names, for_client
from fkproxy.estimate import expected_usage
from fkproxy.hedging import Hedger
from fkproxy.intake import Hold, Intake
from fkproxy.limits.bucket import Verdict
from fkproxy.limits.budget import Reservation
from fkproxy.limits.tokens import TokenMeter
from fkproxy.model.errors import FkproxyError
from fkproxy.model.events import Event, collect
from fkproxy.model.request import ChatRequest, Loss, ReasoningConfig
from fkproxy.model.usage import Usage
from fkproxy.telemetry.record import USAGE_ESTIMATED, Attempt, Skipped
from fkproxy.upstream import Lease

__all__ = ["JSON_TYPE", "Call", "Client", "ClientGone", "Headers", "Rendered", "StreamPolicy"]

Headers = list[tuple[bytes, bytes]]

_NO_TIMEOUTS = Timeouts()
_UNSAID = Usage()
_UNSEEN = Seen()

JSON_TYPE = (b"content-type", b"application/json")
_MAX_HEADER_CHARS = 2000
_KIND = re.compile(r"[A-Za-z0-9_.-]{1,40}")
_NOT_IN_HEADERS = re.compile(r"[^ -~]")


class ClientGone(Exception):
    """The client hung up before it had its answer."""


class Client(Protocol):
    """The client's side of a call. `gone` becomes True when it has hung up, `in_pieces` when its body was not there at once."""

    gone: bool
    in_pieces: bool

    async def read_body(self, limit_bytes: int, make_room: Callable[[int], Awaitable[None]]) -> bytes:
        """The whole body, plain. `make_room` is asked for as much as it may become, before more than `FREE_BYTES` of it are read.

        Raises `RequestTooLarge`, `UnsupportedCoding`, `InvalidRequest` (a damaged coding), `ClientGone`, and as `make_room`.
        """
        ...

    def as_json_array(self) -> None:
        """Send a stream's events as the elements of one JSON array."""
        ...

    def watch(self) -> None:
        """From now on cancel the current task when the client hangs up."""
        ...

    def start(self, status: int, headers: Headers) -> Awaitable[None]:
        """Send the head."""
        ...

    def write(self, data: bytes) -> Awaitable[None] | None:
        """Send a piece of the body. None when it was taken, else what to await before the next one."""
        ...

    def keep_alive(self, data: bytes) -> Awaitable[None] | None:
        """Send what a dialect has for it (see `Dialect.keep_alive`), between two events. See `write`."""
        ...

    def finish(self, data: bytes = b"") -> Awaitable[None]:
        """Send the last piece."""
        ...


class StreamPolicy(msgspec.Struct, frozen=True, kw_only=True):
    """How a silent upstream is bridged; seconds."""

    keep_alive_s: float = 10.0
    commit_after_s: float = 10.0


class Rendered(msgspec.Struct, frozen=True, gc=False):
    """A call's request as one upstream gets it.

    `reasoning`: what it says about thinking; `losses`: what the upstream's dialect could not say; `note`: a decision out of the ordinary.
    """

    body: bytes
    reasoning: str | None
    losses: tuple[Loss, ...] = ()
    note: str = ""


class Call:
    """One client request under way: what is known of it so far.

    `allowance` and `reservation` are those of a pool's key, `meter` has taken what is expected of it. `renamed`: the body does not name
    the model that is asked for; `asked_model`: what the client asked for where its key enforces another one. `ended`: why it was ended from
    outside. `finishing`: its upstream need say nothing more. `kept_alive`: what keeps a stream alive went out. `over`: its last words are
    being said, and nothing may end it any more.
    """

    __slots__ = (
        "_expected",
        "_skipped",
        "allowance",
        "asked_model",
        "attempts",
        "auth",
        "body",
        "caller",
        "client_headers",
        "committed",
        "content_sent",
        "credential",
        "dialect",
        "encoder",
        "ended",
        "error",
        "error_sent",
        "events_sent",
        "finish_reason",
        "finishing",
        "hedger",
        "hold",
        "intake",
        "kept_alive",
        "lease",
        "losses",
        "meter",
        "method",
        "model_id",
        "notes",
        "operation",
        "over",
        "peek",
        "peer",
        "presented_key",
        "provider_key",
        "query",
        "reasoning",
        "reasoning_applied",
        "reasoning_requested",
        "recorded_losses",
        "renamed",
        "reply_id",
        "request",
        "request_bytes",
        "request_id",
        "reservation",
        "response_bytes",
        "route",
        "spare",
        "started",
        "started_s",
        "status",
        "target",
        "timeouts",
        "tool_ids",
        "tries",
        "ttft_s",
        "upstream_dialect",
        "upstream_s",
        "upstream_status",
        "usage",
        "user_agent",
        "verdict",
        "waited_s",
        "watched",
        "written_at",
    )

    def __init__(
        self,
        request_id: str,
        dialect: Dialect,
        method: str,
        route: str,
        target: str = "",
        query: str = "",
        operation: Operation = "chat",
        presented_key: bytes | None = None,
        peer: str | None = None,
        user_agent: str | None = None,
        client_headers: Mapping[bytes, bytes] | None = None,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self.request_id = request_id
        self.dialect = dialect
        self.method = method
        self.route = route
        self.target = target
        self.query = query
        self.operation = operation
        self.presented_key = presented_key
        self.peer = peer
        self.user_agent = user_agent
        self.client_headers = client_headers
        self.started = now()
        self.started_s = time.time()
        self.auth = "none"
        self.caller: Caller = ANONYMOUS
        self.allowance: Allowance | None = None
        self.reservation: Reservation | None = None
        self.asked_model: str | None = None
        self.renamed = False
        self.ended: FkproxyError | None = None
        self.over = False
        self.verdict: Verdict | None = None
        self.body = b""
        self.intake: Intake | None = None
        self.hold: Hold | None = None
        self._expected: Usage | None = None
        self.meter: TokenMeter | None = None
        self.request_bytes = 0
        self.peek: Peek | None = None
        self.request: ChatRequest | None = None
        self.losses: tuple[str, ...] = ()
        self.recorded_losses: tuple[str, ...] = ()
        self.reasoning: ReasoningConfig | None = None
        self.reasoning_requested: str | None = None
        self.reasoning_applied: str | None = None
        self.attempts = 0
        self.tries: tuple[Attempt, ...] = ()
        self._skipped: dict[tuple[str, str, str], Skipped] = {}
        self.notes: tuple[str, ...] = ()
        self.waited_s = 0.0
        self.lease: Lease | None = None
        self.hedger: Hedger | None = None
        self.spare: Callable[[Dialect], Lease | None] | None = None
        self.timeouts = _NO_TIMEOUTS
        self.reply_id: str | None = None
        self.provider_key: str | None = None
        self.credential = ""
        self.model_id: str | None = None
        self.upstream_dialect: str | None = None
        self.upstream_status: int | None = None
        self.upstream_s = 0.0
        self.ttft_s: float | None = None
        self.usage: Usage | None = None
        self.finish_reason: str | None = None
        self.error: FkproxyError | None = None
        self.error_sent = False
        self.status = 499
        self.committed = False
        self.content_sent = False
        self.kept_alive = self.finishing = False
        self.watched = False
        self.written_at = self.started
        self.response_bytes = self.events_sent = 0
        self.tool_ids: dict[tuple[int, int], str] = {}
        self.encoder: StreamEncoder | None = None

    @property
    def payer(self) -> str:
        """Whose limits the call counts against: the key, or the peer's address where there is none."""
        return self.caller.key_id or f"peer:{self.peer}"

    @property
    def expected_usage(self) -> Usage:
        """What its request may use, roughly. To be asked while there is a `body`."""
        usage = self._expected
        if usage is None:
            seen = self.peek.seen if self.peek is not None else _UNSEEN
            usage = expected_usage(self.body, seen.max_output_tokens, seen.choices)
            if self.operation != "chat":
                usage = Usage(input_tokens=usage.input_tokens, output_tokens=0)
            self._expected = usage
        return usage

    @property
    def expected_tokens(self) -> int:
        """The same, all together."""
        usage = self._expected or self.expected_usage
        return (usage.input_tokens or 0) + (usage.output_tokens or 0)

    @property
    def stream(self) -> bool:
        """The client asked for a stream."""
        return self.peek is not None and self.peek.stream

    @property
    def used_tokens(self) -> int | None:
        """What an upstream counted so far; None where it said nothing."""
        if self.operation == "count_tokens":
            return 0
        usage = self.usage
        if usage is None:
            return None
        return (usage.input_tokens or 0) + (usage.output_tokens or 0)

    def charged(self, client_gone: bool) -> Usage | None:
        """What is recorded as used and counts against a key's limits, now that the call is over; None: nothing, or nobody knows.

        What was not said is as it was expected, and a reply that broke off made no less than that: what was said of its use is not the
        whole of it. Nor did a stream make fewer tokens than it had events: OpenAI's models make one of each token, others of several. One
        that broke off before there was any reply costs nothing, unless it was the client who did not wait for it. For a caller
        whom nothing limits it is what the upstream said otherwise. What it did not say is noted.
        """
        broken = self.error is not None or client_gone
        if self.operation == "count_tokens" or (broken and not self.content_sent and not (client_gone and self.attempts)):
            return None
        usage, expected = self.usage, self._expected
        if expected is None or (self.allowance is None and self.meter is None):
            return usage
        if usage is None:
            usage = _UNSAID
        given, made = usage.input_tokens, usage.output_tokens
        if given is not None and made is not None and not broken:
            return usage
        output = max(made or 0, expected.output_tokens or 0, self.events_sent)
        if given is not None and made == output:
            return usage
        self.note(USAGE_ESTIMATED)
        more = Usage(input_tokens=0, output_tokens=output - (made or 0), tier=usage.tier, price_factor=usage.price_factor)
        return msgspec.structs.replace(
            usage,
            input_tokens=expected.input_tokens if given is None else given,
            output_tokens=output,
            parts=usage.parts and (*usage.parts, more),
        )

    @property
    def skipped(self) -> tuple[Skipped, ...]:
        """The upstreams that were passed over, each as it was when the call last came by."""
        return tuple(self._skipped.values())

    def skip(self, skipped: Skipped) -> None:
        """Note an upstream that was passed over."""
        self._skipped[skipped.provider_key, skipped.credential, skipped.model_id] = skipped

    def meet(self, lease: Lease) -> None:
        """The call goes to this upstream now."""
        self.lease = lease
        if self._skipped:
            self._skipped.pop((lease.upstream.provider_key, lease.upstream.credential, lease.model), None)

    def watch(self, client: Client) -> None:
        """From now on the call ends when its client hangs up."""
        if not self.watched:
            self.watched = True
            client.watch()

    def note(self, what: str) -> None:
        """Note a decision that is out of the ordinary; see `CallRecord.notes`."""
        if what not in self.notes:
            self.notes += (what,)

    def note_usage(self, usage: Usage | None) -> None:
        """What the upstream says it counted; nothing where it names no count, or nobody can have used that."""
        self.usage = usage if usage is not None and usage.counts and usage.credible else None

    def forget_reply(self) -> None:
        """What an upstream said before another one is asked is no part of the call's reply."""
        self.upstream_status = self.usage = self.finish_reason = self.reply_id = self.ttft_s = self.reasoning_applied = None
        self.losses = self.recorded_losses = ()
        if self.tool_ids:
            self.tool_ids = {}

    def forget_request(self) -> None:
        """Nobody will be asked again: what was asked, which may be large, need not be kept as long as a stream lasts."""
        self.body, self.request = b"", None
        if self.hold is not None:
            self.hold.leave()
        if self.peek is not None:
            self.peek.seen.forget()

    async def make_room(self, size_bytes: int) -> None:
        """Wait until there is room for such a body. Raises `ConcurrencyExceeded`."""
        if self.intake is not None:
            self.hold = await self.intake.enter(self.payer, size_bytes)

    def answered(self, now: float) -> None:
        """The upstream's first content is on its way to the client."""
        if self.lease is not None:
            self.lease.answered(now)

    def told(self, rendered: Rendered) -> None:
        """Note how the upstream was asked whose reply this one is."""
        self.reasoning_applied = rendered.reasoning
        if rendered.losses or self.losses:
            self.lose(rendered.losses)
        if rendered.note:
            self.note(rendered.note)

    def lose(self, losses: Sequence[Loss]) -> None:
        """Note what an upstream's dialect could not say."""
        known = self.dialect.known_fields
        self.losses = tuple(loss.field for loss in losses)
        # The client may read its own words back; what is kept of a call holds none of them. `name.*` is what is inside a field.
        self.recorded_losses = tuple(
            dict.fromkeys("other" if loss.from_client and loss.field.removesuffix(".*") not in known else loss.field for loss in losses)
        )

    def explained(self) -> str:
        """Why it went where it went, as far as that is known when the reply's head goes out; `explain.py` has the whole."""
        parts = [f"{_name(skipped)}={skipped.reason}{_waits(skipped.retry_after_s)}" for skipped in self.skipped]
        parts += [f"{_name(attempt)}={attempt.outcome}{f'({attempt.status})' if attempt.status else ''}" for attempt in self.tries]
        if self.lease is not None and len(self.tries) < self.attempts:
            parts.append(f"{self.lease.upstream.key}:{self.lease.model}=serving")
        if self.waited_s:
            parts.append(f"waited={self.waited_s:.3f}s")
        return "; ".join([*parts, *self.notes])[:_MAX_HEADER_CHARS]

    def lose_of_reply(self, kind: str) -> None:
        """Note a part of the reply that the client's dialect could not tell. `kind` is the vendor's own word for it."""
        name = f"reply.{kind if _KIND.fullmatch(kind) else 'other'}"
        if name not in self.losses:
            self.losses += (name,)
            self.recorded_losses += (name,)

    def reply_headers(self) -> Headers:
        """What every reply tells about its self."""
        request_id = self.request_id.encode()
        headers = [(b"x-request-id", request_id)]
        if self.dialect.request_id_header is not None:
            headers.append((self.dialect.request_id_header, request_id))
        verdict = self.verdict
        if verdict is not None:
            headers += [
                (b"x-ratelimit-limit", b"%d" % verdict.limit),
                (b"x-ratelimit-remaining", b"%d" % verdict.remaining),
                (b"x-ratelimit-reset", b"%d" % (self.started_s + verdict.reset_after_s + 0.999)),
            ]
        if self.provider_key is not None:
            headers.append((b"x-fkproxy-provider", self.provider_key.encode()))
        if self.client_headers is not None and self.client_headers.get(b"x-fkproxy-explain") == b"1":
            headers.append((b"x-fkproxy-explain", _NOT_IN_HEADERS.sub("?", self.explained()).encode()))
        if self.losses:
            headers.append((b"x-fkproxy-losses", _NOT_IN_HEADERS.sub("?", ", ".join(self.losses))[:2000].encode()))
        return headers

    def reply_context(self, peek: Peek) -> ReplyContext:
        """What an encoder of the reply needs."""
        return ReplyContext(
            reply_id=self.request_id,
            model=peek.model,
            created_s=int(self.started_s),
            include_usage=peek.include_usage,
            tools=self.request.tools if self.request is not None else (),
            output=self.request.output if self.request is not None else None,
            compacts=self.request is not None and self.request.compacts and self.upstream_dialect != self.dialect.name,
            begun_id=self.reply_id if self.content_sent else None,
        )

    def stream_encoder(self, peek: Peek) -> StreamEncoder:
        """A new encoder of the reply. It is kept, for who ends the reply."""
        self.encoder = self.dialect.stream_encoder(self.reply_context(peek))
        if self.request is not None and (names := client_names(self.request.tools)):
            self.encoder = ClientNames(self.encoder, names)
        return self.encoder

    def decode_reply(self, codec: Dialect, body: bytes) -> list[Event]:
        """The events of a reply in the dialect `codec`, with ids of calls that are new to the client. Raises `UpstreamProtocolError`."""
        events, known = codec.decode_reply(body), self._known_ids(codec)
        return with_new_ids(events, known) if known else events

    def stream_decoder(self, codec: Dialect) -> StreamDecoder:
        """The same of a stream."""
        decoder, known = codec.stream_decoder(), self._known_ids(codec)
        return NewIds(decoder, known) if known else decoder

    def _known_ids(self, codec: Dialect) -> Collection[str]:
        return call_ids(self.request) if self.request is not None and codec is not self.dialect and not codec.awaits_results else ()

    def encode_reply(self, events: list[Event], peek: Peek) -> bytes:
        """The body of a reply that was not streamed. Raises as `collect`."""
        names = client_names(self.request.tools) if self.request is not None else {}
        reply = collect([for_client(event, names) for event in events] if names else events)
        return self.dialect.encode_reply(reply, self.reply_context(peek))


def _name(at: Attempt | Skipped) -> str:
    return f"{at.upstream}:{at.model_id}"


def _waits(seconds: float | None) -> str:
    return f"({seconds:.1f}s)" if seconds is not None else ""
