"""What a reply is made of, in the order it may arrive, and how it folds into one value.

Floor 0. Values only.

The order every decoder keeps and every encoder may rely on:

    Started  ( content | UsageReported )*  ChoiceFinished+  ( UsageReported )*  Done
    ... or Failed at any point, which ends the stream like Done.

Content events carry `choice`, 0 unless several answers were asked for. A tool call is `ToolCallStarted` and then its
`ToolCallDelta`s, found by `index` (0, 1, 2 … within the choice). A part ends where another begins or the choice finishes.
`SealAttached` belongs to the part that is open in that choice (or to the tool call `index` names). A non-streamed reply decodes
into the same events, so streamed and non-streamed cannot disagree: `collect(events)` is the whole reply.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Literal, final

import msgspec

from fkproxy.model.errors import FkproxyError, UpstreamProtocolError
from fkproxy.model.parts import Extra, Media, Opaque, Part, Reasoning, Refusal, Seal, Text, ToolCall
from fkproxy.model.usage import Usage

__all__ = [
    "Choice",
    "ChoiceFinished",
    "Done",
    "Event",
    "Failed",
    "FinishReason",
    "LogprobsReported",
    "MediaReceived",
    "OpaqueReceived",
    "ReasoningDelta",
    "RefusalDelta",
    "Reply",
    "SealAttached",
    "Started",
    "TextDelta",
    "ToolCallDelta",
    "ToolCallStarted",
    "UsageReported",
    "collect",
]

FinishReason = Literal["stop", "length", "tool_calls", "content_filter", "refusal", "pause", "error"]
"""`error`: the model failed to produce an answer (Gemini MALFORMED_FUNCTION_CALL); `pause`: it wants to go on (Anthropic pause_turn)."""


class _Base(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """Common configuration: small immutable values that hold no reference cycles."""


class Started(_Base, frozen=True, tag="started"):
    """The upstream accepted and began. `id`, `model` and `created_s` (unix seconds) as it named them; None when it did not."""

    id: str | None = None
    model: str | None = None
    created_s: int | None = None
    extra: Extra = {}


@final
class TextDelta(_Base, frozen=True, tag="text"):
    text: str
    choice: int = 0


class RefusalDelta(_Base, frozen=True, tag="refusal"):
    text: str
    choice: int = 0


class ReasoningDelta(_Base, frozen=True, tag="reasoning"):
    text: str
    choice: int = 0


class SealAttached(_Base, frozen=True, tag="seal"):
    """Provider state for the open part; `index` names a tool call instead."""

    seal: Seal
    choice: int = 0
    index: int | None = None


class ToolCallStarted(_Base, frozen=True, tag="tool_call"):
    index: int
    id: str
    name: str
    choice: int = 0


class ToolCallDelta(_Base, frozen=True, tag="tool_call_delta"):
    """More of the arguments' JSON text: the piece that is new, never the whole so far."""

    index: int
    arguments: str
    choice: int = 0


class MediaReceived(_Base, frozen=True, tag="media"):
    media: Media
    choice: int = 0


class LogprobsReported(_Base, frozen=True, tag="logprobs"):
    """Log probabilities of tokens, each `{"token", "logprob", "bytes", "top_logprobs"}` as OpenAI chat writes them."""

    tokens: list[dict[str, Any]]
    choice: int = 0


class OpaqueReceived(_Base, frozen=True, tag="opaque"):
    part: Opaque
    choice: int = 0


class UsageReported(_Base, frozen=True, tag="usage"):
    """Counts so far; a later one replaces an earlier one."""

    usage: Usage


class ChoiceFinished(_Base, frozen=True, tag="finished"):
    """`native` is the upstream's own word, for the record and for dialects that carry it."""

    reason: FinishReason
    choice: int = 0
    native: str | None = None
    stop_sequence: str | None = None
    extra: Extra = {}


class Done(_Base, frozen=True, tag="done"):
    """The reply is whole."""


class Failed:
    """The reply broke off. Not a struct: it carries an exception and never goes to a file."""

    __slots__ = ("error",)

    def __init__(self, error: FkproxyError) -> None:
        self.error = error

    def __repr__(self) -> str:
        return f"Failed({type(self.error).__name__})"


Event = (
    Started
    | TextDelta
    | RefusalDelta
    | ReasoningDelta
    | SealAttached
    | ToolCallStarted
    | ToolCallDelta
    | MediaReceived
    | LogprobsReported
    | OpaqueReceived
    | UsageReported
    | ChoiceFinished
    | Done
    | Failed
)


class Choice(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """One answer. Parts stand in the order they began."""

    index: int = 0
    parts: tuple[Part, ...] = ()
    reason: FinishReason | None = None
    native: str | None = None
    stop_sequence: str | None = None
    logprobs: list[dict[str, Any]] | None = None
    extra: Extra = {}


class Reply(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """A whole answer. `usage` None: the upstream never said."""

    id: str | None = None
    model: str | None = None
    created_s: int | None = None
    choices: tuple[Choice, ...] = ()
    usage: Usage | None = None
    extra: Extra = {}


class _OpenChoice:
    """A choice while its events come in: parts as `[kind of the event they began with, text pieces, seal, event]`."""

    __slots__ = ("calls", "finish", "logprobs", "parts")

    def __init__(self) -> None:
        self.parts: list[list[Any]] = []
        self.calls: dict[int, list[Any]] = {}
        self.logprobs: list[dict[str, Any]] | None = None
        self.finish: ChoiceFinished | None = None

    def add_text(self, event: TextDelta | ReasoningDelta | RefusalDelta) -> None:
        text, kind = event.text, type(event)
        last = self.parts[-1] if self.parts else None
        # A sealed text or thought is complete: what follows is a part of its own, also a thought that only its seal tells of.
        if last is None or last[0] is not kind or (last[2] is not None and (text or kind is ReasoningDelta)):
            last = [kind, [], None, None]
            self.parts.append(last)
        last[1].append(text)

    def start_call(self, event: ToolCallStarted) -> None:
        self.calls[event.index] = entry = [ToolCallStarted, [], None, event]
        self.parts.append(entry)

    def add_arguments(self, event: ToolCallDelta) -> None:
        self.calls[event.index][1].append(event.arguments)

    def add_media(self, event: MediaReceived) -> None:
        self.parts.append([MediaReceived, [], event.media.seal, event.media])

    def add_opaque(self, event: OpaqueReceived) -> None:
        self.parts.append([OpaqueReceived, [], None, event.part])

    def add_logprobs(self, event: LogprobsReported) -> None:
        self.logprobs = (self.logprobs or []) + event.tokens

    def end(self, event: ChoiceFinished) -> None:
        self.finish = event

    def attach(self, event: SealAttached) -> None:
        if event.index is not None:
            target = self.calls.get(event.index)
        else:
            target = self.parts[-1] if self.parts else None
            if target is not None and target[0] is ToolCallStarted and target[2] is not None:
                # The call has its own: this one is that of something behind it, which is not shown.
                target = None
        if target is None:
            target = [TextDelta, [], None, None]
            self.parts.append(target)
        target[2] = event.seal

    def build(self, index: int) -> Choice:
        finish = self.finish
        return Choice(
            index=index,
            parts=tuple(map(_part, self.parts)),
            reason=finish.reason if finish else None,
            native=finish.native if finish else None,
            stop_sequence=finish.stop_sequence if finish else None,
            logprobs=self.logprobs,
            extra=finish.extra if finish else {},
        )


def _part(entry: list[Any]) -> Part:
    kind, pieces, seal, event = entry
    if kind is TextDelta:
        return Text(text="".join(pieces), seal=seal)
    if kind is ReasoningDelta:
        return Reasoning(text="".join(pieces), seal=seal)
    if kind is RefusalDelta:
        return Refusal(text="".join(pieces))
    if kind is ToolCallStarted:
        return ToolCall(id=event.id, name=event.name, arguments="".join(pieces) or "{}", seal=seal)
    if kind is MediaReceived:
        return event if seal is None else msgspec.structs.replace(event, seal=seal)  # type: ignore[no-any-return]  # a Media
    return event  # type: ignore[no-any-return]  # an Opaque


_FOLDS: dict[type, Callable[[_OpenChoice, Any], None]] = {
    TextDelta: _OpenChoice.add_text,
    ReasoningDelta: _OpenChoice.add_text,
    RefusalDelta: _OpenChoice.add_text,
    ToolCallStarted: _OpenChoice.start_call,
    ToolCallDelta: _OpenChoice.add_arguments,
    SealAttached: _OpenChoice.attach,
    MediaReceived: _OpenChoice.add_media,
    OpaqueReceived: _OpenChoice.add_opaque,
    LogprobsReported: _OpenChoice.add_logprobs,
    ChoiceFinished: _OpenChoice.end,
}


def collect(events: Iterable[Event]) -> Reply:
    """The whole reply. Raises the carried error on `Failed` and `UpstreamProtocolError` when the events end before `Done`."""
    started = Started()
    usage: Usage | None = None
    choices: dict[int, _OpenChoice] = {}
    done = False
    event: Any
    for event in events:
        kind = type(event)
        if kind in _FOLDS:
            choice = choices.get(event.choice)
            if choice is None:
                choice = choices[event.choice] = _OpenChoice()
            _FOLDS[kind](choice, event)
        elif kind is UsageReported:
            usage = event.usage
        elif kind is Started:
            started = event
        elif kind is Done:
            done = True
        elif kind is Failed:
            raise event.error
    if not done:
        raise UpstreamProtocolError("the reply ended before it was complete")
    return Reply(
        id=started.id,
        model=started.model,
        created_s=started.created_s,
        choices=tuple([choices[index].build(index) for index in sorted(choices)]),
        usage=usage,
        extra=started.extra,
    )
