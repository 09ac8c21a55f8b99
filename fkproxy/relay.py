"""The reply of one upstream on its way to the client: waiting, keeping alive, committing, relaying.

Floor 3. `gateway.py` tells when; this file tells how. The commit point is explained there.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from functools import partial
from typing import TypeVar

from fkproxy.adapters.base import Exchange
from fkproxy.adapters.secret import without
from fkproxy.call import JSON_TYPE, Call, Client, StreamPolicy
from fkproxy.dialects.base import Dialect, Peek, StreamDecoder
from fkproxy.dialects.unsure import Unsure
from fkproxy.model.errors import UpstreamError, UpstreamProtocolError, UpstreamTimeout
from fkproxy.model.events import (
    ChoiceFinished,
    Done,
    Event,
    Failed,
    MediaReceived,
    OpaqueReceived,
    SealAttached,
    Started,
    TextDelta,
    ToolCallStarted,
    UsageReported,
)
from fkproxy.seals import SealStore
from fkproxy.wire import json
from fkproxy.wire.sse import Frame, SseDecoder, TextPattern

__all__ = ["Relay"]

T = TypeVar("T")

_MAX_REPLY_BYTES = 128 * 1024 * 1024
_MAX_HELD_BYTES = 1024 * 1024
"""What may be held back before the commit point; a model's first content comes within a few hundred bytes."""

_WATCH_AFTER_S = 0.1
"""A reply faster than this is not worth watching for a client that leaves."""

_DRAIN_S = 1.0
"""How long a finished upstream may take to end its body, so that its connection can be used again, and a failed one to tell the rest."""

_EVENT_STREAM: tuple[tuple[bytes, bytes], ...] = (
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-cache"),
    (b"x-accel-buffering", b"no"),
)


class Relay:
    """What every call's reply is relayed by. Holds no call."""

    def __init__(self, *, seals: SealStore, total_s: float, stream: StreamPolicy, now: Callable[[], float]) -> None:
        self._seals = seals
        self._total_s = total_s
        self._stream = stream
        self.now = now

    # --- waiting

    async def wait(self, call: Call, client: Client, take: Callable[[float], Awaitable[T]], phase: str, limit_s: float) -> T:
        """What `take` gives, asked again and again until a deadline, while the client is watched and its stream kept alive.

        Raises `UpstreamTimeout` naming the deadline that passed.
        """
        now = self.now
        at = began = now()
        total_at = call.started + self._total_s
        due = began + limit_s if began + limit_s < total_at else total_at
        try:
            while True:
                if at >= due:
                    raise UpstreamTimeout("total", self._total_s) if at >= total_at else UpstreamTimeout(phase, limit_s)
                pause_s = self._pause_s(call, at)
                got = await take(pause_s if at + pause_s < due else due - at)
                if got is not None and got is not False:
                    return got
                if not call.watched:
                    call.watch(client)
                elif call.stream:
                    await self._keep_alive(call, client)
                at = now()
        finally:
            call.upstream_s += now() - began

    def _pause_s(self, call: Call, at: float) -> float:
        if not call.watched:
            return _WATCH_AFTER_S
        if not call.stream:
            return self._total_s
        patience_s = self._stream.keep_alive_s if call.committed else self._stream.commit_after_s
        return max(0.001, call.written_at + patience_s - at)

    async def _keep_alive(self, call: Call, client: Client) -> None:
        patience_s = self._stream.keep_alive_s if call.committed else self._stream.commit_after_s
        if self.now() < call.written_at + patience_s:
            return
        if call.finishing:
            # No event may come any more, and none is begun.
            call.written_at = self.now()
            return
        call.kept_alive = True
        await self._commit(call, client)
        await self._write(call, client.keep_alive, call.dialect.keep_alive)

    async def read(self, call: Call, client: Client, exchange: Exchange, limit_bytes: int) -> bytes:
        body = exchange.at_once()
        if body is not None and len(body) <= limit_bytes:
            return body
        pieces: list[bytes] = []
        size_bytes = len(body) if body is not None else 0
        while size_bytes <= limit_bytes:
            piece = await self.wait(call, client, exchange.chunk, "silence", call.timeouts.silence_s)
            if not piece:
                return pieces[0] if len(pieces) == 1 else b"".join(pieces)
            size_bytes += len(piece)
            pieces.append(piece)
        raise UpstreamProtocolError(f"the upstream's reply is larger than {limit_bytes} bytes")

    # --- replies

    async def whole(self, call: Call, client: Client, peek: Peek, codec: Dialect, exchange: Exchange) -> None:
        body = await self.read(call, client, exchange, _MAX_REPLY_BYTES)
        same = codec is call.dialect
        try:
            events = codec.hear_reply(body) if same and not peek.stream else call.decode_reply(codec, body)
        except UpstreamProtocolError:
            if not same or peek.stream:
                raise
            # The client may be able to read what we are not, but nobody reads what is no JSON: another upstream may do better.
            json.decode_reply(body)
            events = []
        for event in events:
            if type(event) is Failed:
                raise event.error
            self.listen(call, codec, event)
        if peek.stream:
            encoder = call.stream_encoder(peek)
            await self.send_content(call, client, b"".join(encoder.encode(event) for event in events))
            call.over = True
            await client.finish()
            return
        out = body if same else call.encode_reply(events, peek)
        now = self.now()
        if call.ttft_s is None and events:
            call.ttft_s = now - call.started
        call.answered(now)
        call.committed = call.content_sent = call.over = True
        call.status = 200
        call.response_bytes = len(out)
        await client.start(200, [JSON_TYPE, (b"content-length", b"%d" % len(out)), *call.reply_headers()])
        await client.finish(out)

    async def stream(self, call: Call, client: Client, peek: Peek, codec: Dialect, exchange: Exchange) -> None:
        reply = _Stream(self, call, client, peek, codec)
        pour = partial(reply.pour, exchange)
        while not reply.over:
            try:
                await self.wait(call, client, pour, "silence", min(call.timeouts.silence_s, reply.until_s - self.now()))
            except UpstreamError:
                if not reply.broke_off():
                    raise
            if reply.ready:
                await self.send_content(call, client, reply.release())
            if reply.blocked is not None:
                blocked, reply.blocked = reply.blocked, None
                await blocked
            if reply.error is not None:
                raise reply.error
        call.over = True
        await client.finish()
        await self._drain(exchange)

    async def _drain(self, exchange: Exchange) -> None:
        """Take the rest of a body whose content is over. What goes wrong now is nobody's concern but the connection's."""
        until_s = self.now() + _DRAIN_S
        with suppress(UpstreamError):
            while (rest_s := until_s - self.now()) > 0 and await exchange.chunk(rest_s):
                pass

    def listen(self, call: Call, codec: Dialect, event: Event) -> bool:
        """Note what the record needs of `event`; True when it is the kind of event that the reply's head may go out with."""
        kind = type(event)
        if kind is UsageReported:
            assert isinstance(event, UsageReported)
            call.note_usage(event.usage)
            return False
        if kind is Started:
            assert isinstance(event, Started)
            call.reply_id = event.id if codec is call.dialect else None
            return False
        if kind is ChoiceFinished:
            assert isinstance(event, ChoiceFinished)
            if call.finish_reason is None:
                call.finish_reason = event.reason
            return True
        if kind is Done:
            return True
        if kind is not TextDelta:
            if kind is ToolCallStarted:
                assert isinstance(event, ToolCallStarted)
                call.tool_ids[event.choice, event.index] = event.id
            elif kind is SealAttached:
                assert isinstance(event, SealAttached)
                self._keep_seal(call, codec, event)
            elif kind is OpaqueReceived or kind is MediaReceived:
                self._look_for_loss(call, codec, event)
        if call.ttft_s is None:
            call.ttft_s = self.now() - call.started
        return True

    def _look_for_loss(self, call: Call, codec: Dialect, event: Event) -> None:
        """What the client's dialect has no place for; a reply's head may have gone out by now, the record has it all the same."""
        if codec is call.dialect:
            return
        if isinstance(event, OpaqueReceived) and event.part.dialect != call.dialect.name:
            call.lose_of_reply(event.part.kind)
        elif isinstance(event, MediaReceived) and not call.dialect.tells_media:
            call.lose_of_reply(event.media.kind)

    def _keep_seal(self, call: Call, codec: Dialect, event: SealAttached) -> None:
        if event.index is None or codec is call.dialect:
            return
        call_id = call.tool_ids.get((event.choice, event.index))
        if call_id is not None:
            self._seals.remember(call.caller.key_id, call_id, event.seal, self.now())

    # --- the client's side

    async def send_content(self, call: Call, client: Client, data: bytes) -> None:
        if not call.content_sent:
            call.answered(self.now())
            await self._commit(call, client)
            call.content_sent = True
            call.forget_request()
        if data:
            await self._write(call, client.write, data)

    async def _commit(self, call: Call, client: Client) -> None:
        if call.committed:
            return
        call.committed = True
        call.status = 200
        call.watch(client)
        await client.start(200, [*_EVENT_STREAM, *call.reply_headers()])

    async def _write(self, call: Call, write: Callable[[bytes], Awaitable[None] | None], data: bytes) -> None:
        call.response_bytes += len(data)
        blocked = write(data)
        if blocked is not None:
            await blocked
        call.written_at = self.now()


class _Stream:
    """A streamed reply under way. `take` is given what the upstream sends at the moment it comes, outside of the call's task.

    Until the reply's head has gone out, what there is to send is held; once it is `ready` the task sends it. From then on it is sent
    right here, which costs no task a step. `blocked`: to be awaited before anything further; `error`: what the task is to raise;
    `until_s`: when it has to be over.
    """

    __slots__ = (
        "_call",
        "_client",
        "_codec",
        "_content",
        "_content_s",
        "_decoder",
        "_encoder",
        "_framer",
        "_held",
        "_held_bytes",
        "_now",
        "_own_s",
        "_peek",
        "_pieces",
        "_relay",
        "_same",
        "_sending",
        "_sent_bytes",
        "_sent_s",
        "_text",
        "_told",
        "_whole",
        "blocked",
        "error",
        "over",
        "ready",
        "until_s",
    )

    def __init__(self, relay: Relay, call: Call, client: Client, peek: Peek, codec: Dialect) -> None:
        self.ready = self.over = False
        self.blocked: Awaitable[None] | None = None
        self.error: Exception | None = None
        self.until_s = float("inf")
        self._relay = relay
        self._now = relay.now
        self._call = call
        self._client = client
        self._peek = peek
        self._codec = codec
        self._same = codec is call.dialect
        self._framer = SseDecoder()
        self._text = TextPattern()
        self._decoder: StreamDecoder = call.stream_decoder(codec)
        self._encoder = call.stream_encoder(peek)
        self._held: list[bytes] = []
        self._held_bytes = 0
        self._content = False  # there was some in the bytes that came last
        self._content_s = self._sent_s = relay.now()
        self._sent_bytes, self._pieces, self._own_s = 0, 0, 0.0
        """What the call is not told yet: how much has gone out; how many events came in all; how long that took us."""
        self._sending = self._whole = self._told = False
        """Pieces go out as they come; they do, and the last one ended an event; the client has the failure as the upstream said it."""

    async def pour(self, exchange: Exchange, wait_s: float) -> bool:
        """See `Exchange.pour`. The call learns afterwards what came of it, and not with each piece: between two of them the processor's
        caches forget a stream, and each further object that a piece touches takes longer than what is done with it.
        """
        try:
            return await exchange.pour(self.take, wait_s)
        finally:
            self._settle()

    def _settle(self) -> None:
        call = self._call
        call.upstream_s -= self._own_s
        self._own_s = 0.0
        call.events_sent = self._pieces
        call.finishing = self._same and self._sending and self._decoder.finished
        if self._sent_bytes:
            call.response_bytes += self._sent_bytes
            call.written_at = self._sent_s
            self._sent_bytes = 0

    def take(self, chunk: bytes) -> bool:
        """The next bytes of the body, b"" at its end. False when the task has something to do. See `Exchange.pour`."""
        now = self._now
        began_s = now()
        try:
            if self._whole and self._text.fits(chunk):
                data, self._content_s = chunk, began_s
                self._pieces += 1
            else:
                data = self._read(chunk, began_s)
            if not self._sending:
                self._held.append(data)
                self._held_bytes += len(data)
                self.ready = self.ready or self.over or self._held_bytes > _MAX_HELD_BYTES
            elif data:
                self._sent_bytes += len(data)
                self._sent_s = began_s
                self.blocked = self._client.write(data)
        except Exception as error:  # noqa: BLE001 - it is raised where it belongs, by the task
            self.error = error
        self._own_s += now() - began_s
        return not (self.ready or self.over or self.blocked is not None or self.error is not None)

    def broke_off(self) -> bool:
        """The body did. True if nothing is missing but its end: this is it then. Of a reply of nothing another upstream may make more."""
        if whole := self._sending and self._decoder.complete:
            self.take(b"")
            self._settle()
        return whole

    def release(self) -> bytes:
        """What was held. From now on pieces go out as they come."""
        data = b"".join(self._held)
        self._held.clear()
        self.ready = False
        self._sending = True
        self._whole = not self._framer.rest
        return data

    def _read(self, chunk: bytes, now: float) -> bytes:
        """What the client gets for it."""
        same = self._same
        out: list[bytes] = []
        self._content = False
        failed: Failed | None = None
        for frame in self._framer.feed(chunk) if chunk else ():
            if same and (self._text.fits(frame.raw) or self._skims(frame)):
                self._content = True
                out.append(frame.raw)
                continue
            events: Sequence[Event] = ()
            try:
                events = self._decoder.feed(frame)
            except UpstreamProtocolError as error:
                if not same:
                    failed = Failed(error)
                    break
                self._pass_on(frame)
                out.append(self._forward(frame, (), failing=True))
                continue
            failed = self._hear(events, out)
            if failed is not None:
                if self._tell(frame, events, out):
                    break
                failed = None
            elif same:
                out.append(self._forward(frame, events))
        stalled = not self._content and now - self._content_s > self._call.timeouts.stall_s
        if not chunk or (stalled and failed is None and self._sending and self._decoder.complete):
            self.over = True
            failed = self._end(out)
        self._whole = self._sending and not self._framer.rest
        if self._content or self.over:
            self._content_s = now
            self.ready = not self._sending
        elif stalled:
            raise UpstreamTimeout("stall", self._call.timeouts.stall_s)
        if failed is not None:
            if not (self._content or self._sending):
                self.ready = False
                raise failed.error
            self._call.error_sent = self._told
            self.error = failed.error
        self._pieces += len(out)
        return b"".join(out)

    def _end(self, out: list[bytes]) -> Failed | None:
        """The body is over: hear its last frame, if that has no blank line, and what the end itself tells."""
        for frame in self._framer.tail():
            if frame.data == b"":
                continue
            try:
                events = self._decoder.feed(frame)
            except UpstreamProtocolError:
                # Half of it: nobody can read that.
                return Failed(UpstreamProtocolError("the upstream's stream ended within an event, before the reply was complete"))
            failed = self._hear(events, out)
            if failed is not None:
                if self._tell(frame, events, out):
                    return failed
            elif self._same and frame.data is not None:
                out.append(self._forward(frame, events))
        return self._hear(self._decoder.end(), out)

    def _tell(self, frame: Frame, events: Sequence[Event], out: list[bytes]) -> bool:
        """Hand a same-dialect error frame on; one without data not into an array or behind half an event. False: another tells the rest."""
        self._told = self._same and (frame.data is not None or not (self._peek.json_array or self._call.kept_alive))
        if self._told:
            out.append(self._forward(frame, events, failing=True))
        heard = (self._content or self._sending) and (self._told or not self._same)
        if more := heard and self._decoder.complete and not self._decoder.finished:
            self.until_s, self._told = self._now() + _DRAIN_S, False
            self.ready = True  # the task is to wait no longer
        return not more

    def _forward(self, frame: Frame, events: Sequence[Event], *, failing: bool = False) -> bytes:
        """A same-dialect frame; where it tells of a failure without our key, which some repeat. A text may hold what a header has."""
        told, lease = self._codec.forward_frame(frame, events, self._peek), self._call.lease
        failing = failing or (not events and self._decoder.complete)
        return told if lease is None or not failing else without(told, lease.upstream.secrets)

    def _pass_on(self, frame: Frame) -> None:
        """The client may be able to read what we are not: its bytes go on, but our count is not to be trusted."""
        if not (self._content or self._sending):
            json.decode_reply(frame.data or b"")
        decoder = self._decoder
        if not isinstance(decoder, Unsure):
            decoder = self._decoder = Unsure(decoder)
            self._call.usage = None
        decoder.missed = frame
        # Nothing goes past the decoder before it has seen that this is not the last frame.
        self._text = TextPattern()
        self._content = True

    def _skims(self, frame: Frame) -> bool:
        if not (mark := self._decoder.skims(frame)):
            return False
        self._text.learn(frame.raw, mark)
        if self._call.ttft_s is None:
            self._call.ttft_s = self._relay.now() - self._call.started
        return True

    def _hear(self, events: Sequence[Event], out: list[bytes]) -> Failed | None:
        """Note what is said and put its translation, where it needs one, into `out`. The failure that it ends with, if it does."""
        for event in events:
            if type(event) is Failed:
                return event
            if self._relay.listen(self._call, self._codec, event):
                self._content = True
            if type(event) is Done:
                self.over = True
            if not self._same:
                out.append(self._encoder.encode(event))
        return None
