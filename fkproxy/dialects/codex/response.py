"""The child's notifications, decoded. Floor 1. Pure.

A frame's data is one JSON-RPC message of the child. The adapter has left out what is another turn's, and adds one of its own:
`fkproxy/tools` says that the model waits for tools, so the reply is whole; with counts where the vendor was not asked for it.

Counts are those of `rawResponse/completed`, one for each answer of the vendor within a turn; a child that does not send them is
believed in `thread/tokenUsage/updated`.

A turn that goes on with what tools gave starts no second time, and yet its reply is one of its own. Where the vendor breaks off, the child
asks it again from the start; what was said by then cannot be taken back, so the reply is over.
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from fkproxy.dialects.codex.failures import failure
from fkproxy.dialects.codex.names import name_for_client
from fkproxy.dialects.codex.plan import NAME
from fkproxy.dialects.retry_after import believed_s
from fkproxy.model.errors import UpstreamFailed, UpstreamProtocolError, UpstreamUnavailable
from fkproxy.model.events import (
    ChoiceFinished,
    Done,
    Event,
    Failed,
    OpaqueReceived,
    ReasoningDelta,
    SealAttached,
    Started,
    TextDelta,
    ToolCallDelta,
    ToolCallStarted,
    UsageReported,
)
from fkproxy.model.parts import Opaque, Seal
from fkproxy.model.usage import Usage
from fkproxy.wire import json
from fkproxy.wire.sse import Frame, SseDecoder

__all__ = ["LIMITS", "PAUSED_FOR_TOOLS", "StreamDecoder", "decode_reply"]

PAUSED_FOR_TOOLS = "fkproxy/tools"
LIMITS = "account/rateLimits/updated"
"""Comes before the end of a turn that failed because one of them is used up (0.169)."""

_CUT_SHORT = "Incomplete response returned, reason: "
"""How the child tells, somewhere in its message, that the vendor's answer was incomplete (codex-rs/codex-api, 0.169)."""

_OWN_ITEMS = frozenset(("agentMessage", "reasoning", "userMessage", "dynamicToolCall", "hookPrompt", "functionCallOutput"))
"""Items that are told otherwise, or that the client said itself."""


class _Counts(msgspec.Struct, frozen=True, rename="camel"):
    input_tokens: int = 0
    output_tokens: int = 0
    cached_input_tokens: int = 0
    cache_write_input_tokens: int = 0
    reasoning_output_tokens: int = 0


class _Totals(msgspec.Struct):
    last: _Counts
    total: _Counts = _Counts()


class _Error(msgspec.Struct, rename="camel"):
    message: str = ""
    codex_error_info: Any = None
    additional_details: str | None = None


class _Turn(msgspec.Struct):
    id: str = ""
    status: str = ""
    error: _Error | None = None


class _Window(msgspec.Struct, rename="camel"):
    used_percent: float = 0.0
    resets_at: float = 0.0


class _Limits(msgspec.Struct):
    primary: _Window | None = None
    secondary: _Window | None = None


class _Params(msgspec.Struct, rename="camel"):
    delta: str = ""
    item_id: str = ""
    summary_index: int = 0
    item: dict[str, Any] = {}
    usage: _Counts | None = None
    token_usage: _Totals | None = None
    turn: _Turn | None = None
    error: _Error | None = None
    will_retry: bool = False
    tool: str = ""
    call_id: str = ""
    arguments: Any = None
    rate_limits: Any = None


class _Message(msgspec.Struct, rename="camel"):
    method: str = ""
    params: _Params | None = None
    emitted_at_ms: float = 0.0


_NOTHING = _Counts()
_decode = msgspec.json.Decoder(_Message).decode


class StreamDecoder:
    """See `dialects.base.StreamDecoder`."""

    finished = complete = False

    def __init__(self) -> None:
        self._began: Literal["no", "here", "before"] = "no"
        self._speaking: str | None = None
        self._thinking: str | None = None
        self._calls = 0
        self._counts: _Counts | None = None
        self._exact = False
        self._over = False
        self._now_s = 0.0
        self._used_up_until_s = 0.0

    def skims(self, frame: Frame) -> bytes:
        """See `StreamDecoder.skims`. No client speaks this."""
        return b""

    def feed(self, frame: Frame) -> list[Event]:
        """See `StreamDecoder.feed`."""
        if frame.data is None or self._over:
            return []
        try:
            message = _decode(frame.data)
        except json.MALFORMED as error:
            raise UpstreamProtocolError("the child's message is not what its protocol says") from error
        self._now_s = message.emitted_at_ms / 1000
        tell = _TOLD.get(message.method)
        events = tell(self, message.params or _Params()) if tell is not None else []
        if events and self._began == "no" and not isinstance(events[0], Failed):
            self._began = "before"
            events.insert(0, Started())
        return events

    def end(self) -> list[Event]:
        """See `StreamDecoder.end`."""
        return [] if self._over else [Failed(UpstreamUnavailable("the child ended before its turn was complete"))]

    # --- what is said

    def _started(self, params: _Params) -> list[Event]:
        if self._began != "no":
            return []
        self._began = "here"
        return [Started(id=params.turn.id if params.turn is not None else None)]

    def _text(self, params: _Params) -> list[Event]:
        return self._say(params.item_id, params.delta)

    def _say(self, item_id: str, text: str) -> list[Event]:
        if not text:
            return []
        apart = self._speaking is not None and item_id != self._speaking
        self._speaking, self._thinking = item_id, None
        return [TextDelta(text=f"\n\n{text}" if apart else text)]

    def _thought(self, params: _Params) -> list[Event]:
        if not params.delta:
            return []
        apart = self._thinking is not None and params.item_id != self._thinking
        self._thinking = params.item_id
        return [ReasoningDelta(text=f"\n\n{params.delta}" if apart else params.delta)]

    def _thought_part(self, params: _Params) -> list[Event]:
        return [ReasoningDelta(text="\n\n")] if params.summary_index and params.item_id == self._thinking else []

    def _raw_item(self, params: _Params) -> list[Event]:
        item = params.item
        match item.get("type"):
            case "function_call":
                call_id, name = item.get("call_id"), item.get("name")
                if not isinstance(call_id, str) or not isinstance(name, str):
                    raise UpstreamProtocolError("the child's function call has no name or no id")
                return self._call(call_id, name, str(item.get("arguments") or "{}"))
            case "reasoning" if item.get("encrypted_content"):
                self._thinking = None
                return [ReasoningDelta(text=""), SealAttached(seal=Seal(dialect=NAME, data=str(item["encrypted_content"])))]
        return []

    def _asked_tool(self, params: _Params) -> list[Event]:
        return self._call(params.call_id, params.tool, json.encode(params.arguments).decode())

    def _call(self, call_id: str, name: str, arguments: str) -> list[Event]:
        index = self._calls
        self._calls += 1
        self._thinking = None
        return [ToolCallStarted(index=index, id=call_id, name=name_for_client(name)), ToolCallDelta(index=index, arguments=arguments)]

    def _item(self, params: _Params) -> list[Event]:
        """What the child did on its own, where it has tools of its own; and a text of which nothing was told while it came."""
        item = params.item
        kind = str(item.get("type", ""))
        if kind == "agentMessage" and item.get("id") != self._speaking:
            return self._say(str(item.get("id")), str(item.get("text") or ""))
        return [] if kind in _OWN_ITEMS or not kind else [OpaqueReceived(part=Opaque(dialect=NAME, kind=kind, value=item))]

    # --- counts and the end

    def _exact_usage(self, params: _Params) -> list[Event]:
        if params.usage is None:
            return []
        if not self._exact:
            self._exact, self._counts = True, None
        return self._add(params.usage)

    def _usage(self, params: _Params) -> list[Event]:
        told = params.token_usage
        if self._exact or told is None:
            return []
        if told.last != _NOTHING:
            return self._add(told.last)
        # Of an answer that was cut short it knows the sum alone, which is that of the thread: of this reply if it began here.
        if self._began != "here" or told.total == _NOTHING:
            return []
        self._counts = None
        return self._add(told.total)

    def _add(self, more: _Counts) -> list[Event]:
        if not more.input_tokens and not more.output_tokens:
            # The vendor did not say: of an answer that it broke off the child tells noughts.
            return []
        so_far = self._counts or _NOTHING
        names = _Counts.__struct_fields__
        self._counts = total = _Counts(**{name: getattr(so_far, name) + getattr(more, name) for name in names})
        return [_reported(total)]

    def _limited(self, params: _Params) -> list[Event]:
        try:
            limits = msgspec.convert(params.rate_limits, _Limits)
        except msgspec.ValidationError:
            # Nobody's reply depends on it.
            return []
        windows = (limits.primary, limits.secondary)
        self._used_up_until_s = max((each.resets_at for each in windows if each is not None and each.used_percent >= 100), default=0.0)
        return []

    def _broken_off(self, error: _Error) -> list[Event]:
        message = error.additional_details or error.message
        _, cut_short, why = message.partition(_CUT_SHORT)
        if cut_short:
            return [ChoiceFinished(reason="content_filter" if "content_filter" in why else "length", native=why[:100]), Done()]
        wait_s = believed_s(self._used_up_until_s - self._now_s) if self._now_s else None
        return [Failed(failure(error.codex_error_info, message, wait_s))]

    def _paused(self, params: _Params) -> list[Event]:
        self._over = True
        counted = [_reported(params.usage)] if params.usage is not None else []
        return [*counted, ChoiceFinished(reason="tool_calls", native="item/tool/call"), Done()]

    def _tries_again(self, params: _Params) -> list[Event]:
        if params.error is None or not params.will_retry or (self._speaking is None and not self._calls):
            return []
        self._over = True
        return self._broken_off(params.error)

    def _completed(self, params: _Params) -> list[Event]:
        self._over = True
        turn = params.turn or _Turn()
        if turn.status == "completed":
            return [ChoiceFinished(reason="stop", native="completed"), Done()]
        error = turn.error
        if error is None:
            return [Failed(UpstreamFailed(f"the child's turn was {turn.status or 'ended'}"))]
        return self._broken_off(error)


def _reported(counts: _Counts) -> Event:
    return UsageReported(
        usage=Usage(
            input_tokens=counts.input_tokens,
            output_tokens=counts.output_tokens,
            cached_input_tokens=counts.cached_input_tokens,
            cache_write_tokens=counts.cache_write_input_tokens,
            reasoning_tokens=counts.reasoning_output_tokens,
        )
    )


_TOLD = {
    "turn/started": StreamDecoder._started,
    "item/agentMessage/delta": StreamDecoder._text,
    "item/reasoning/summaryTextDelta": StreamDecoder._thought,
    "item/reasoning/textDelta": StreamDecoder._thought,
    "item/reasoning/summaryPartAdded": StreamDecoder._thought_part,
    "rawResponseItem/completed": StreamDecoder._raw_item,
    "item/tool/call": StreamDecoder._asked_tool,
    "item/completed": StreamDecoder._item,
    "rawResponse/completed": StreamDecoder._exact_usage,
    "thread/tokenUsage/updated": StreamDecoder._usage,
    PAUSED_FOR_TOOLS: StreamDecoder._paused,
    LIMITS: StreamDecoder._limited,
    "error": StreamDecoder._tries_again,
    "turn/completed": StreamDecoder._completed,
}


def decode_reply(body: bytes) -> list[Event]:
    """The events of a stream that is over. Raises `UpstreamProtocolError`."""
    framer, decoder = SseDecoder(), StreamDecoder()
    frames = [*framer.feed(body), *framer.tail()]
    return [*(event for frame in frames for event in decoder.feed(frame)), *decoder.end()]
