"""A chat completion, whole or streamed, decoded into events. Floor 1. Pure but for the ids of calls that came without one.

Source: OpenAI API reference, "Chat completion object" and "Chat completion chunk", read 2026-11. `reasoning_content` (or `reasoning`),
`extra_content` and `images` are what OpenAI-compatible servers add.

Servers differ in what they leave out: a tool call's index, its id, or both after the first delta; some repeat them in every delta;
some give a whole reply's usage with the last choice instead of behind it; some end without `[DONE]`. All of that is read.
"""

from __future__ import annotations

import secrets
from typing import Any

import msgspec

from fkproxy.dialects.openai_chat.parts import seal_of
from fkproxy.dialects.openai_errors import error_event
from fkproxy.model.errors import UpstreamProtocolError
from fkproxy.model.events import (
    ChoiceFinished,
    Done,
    Event,
    Failed,
    FinishReason,
    LogprobsReported,
    MediaReceived,
    OpaqueReceived,
    ReasoningDelta,
    RefusalDelta,
    SealAttached,
    Started,
    TextDelta,
    ToolCallDelta,
    ToolCallStarted,
    UsageReported,
)
from fkproxy.model.parts import Media, Opaque
from fkproxy.model.usage import Usage, tier_of
from fkproxy.wire import json
from fkproxy.wire.sse import Frame

__all__ = ["FINISH_REASONS", "StreamDecoder", "decode_reply", "hear_reply"]

FINISH_REASONS: dict[str, FinishReason] = {
    "stop": "stop",
    "length": "length",
    "tool_calls": "tool_calls",
    "function_call": "tool_calls",
    "content_filter": "content_filter",
    "error": "error",
    # Words of other servers: Mistral; Google's behind some gateways; vLLM; DeepSeek.
    "model_length": "length",
    "max_tokens": "length",
    "safety": "content_filter",
    "abort": "error",
    "insufficient_system_resource": "error",
}
"""In lower case."""


class _Function(msgspec.Struct, gc=False):
    name: str | None = None
    arguments: str | dict[str, Any] | None = None


class _ToolCall(msgspec.Struct):
    index: int | None = None
    id: str | None = None
    type: str | None = None
    function: _Function | None = None
    custom: dict[str, Any] | None = None
    extra_content: dict[str, Any] | None = None


class _Message(msgspec.Struct):
    """A message, or what is new in one."""

    role: str | None = None
    content: str | list[Any] | None = None
    refusal: str | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None
    tool_calls: list[_ToolCall] | None = None
    function_call: _Function | None = None
    extra_content: dict[str, Any] | None = None
    images: list[Any] | None = None
    audio: dict[str, Any] | None = None
    annotations: list[Any] | None = None


class _Choice(msgspec.Struct):
    index: int | None = None
    delta: _Message | None = None
    message: _Message | None = None
    finish_reason: str | None = None
    logprobs: dict[str, Any] | None = None
    content_filter_results: Any = None


class _Details(msgspec.Struct, gc=False):
    cached_tokens: int | None = None
    cache_write_tokens: int | None = None
    audio_tokens: int | None = None
    reasoning_tokens: int | None = None


class _Usage(msgspec.Struct, gc=False):
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    total_tokens: int | None = None
    prompt_tokens_details: _Details | None = None
    completion_tokens_details: _Details | None = None
    prompt_cache_hit_tokens: int | None = None


class _Uncounted(msgspec.Struct):
    """A completion, or a chunk of one, but for its usage."""

    id: str | None = None
    model: str | None = None
    created: Any = None
    choices: list[_Choice] | None = None
    error: Any = None
    system_fingerprint: str | None = None
    service_tier: str | None = None


class _Completion(_Uncounted):
    """The whole of it."""

    usage: _Usage | None = None


class _HeardChoice(msgspec.Struct, gc=False):
    index: int | None = None
    finish_reason: str | None = None


class _Heard(msgspec.Struct):
    """A completion without what is said in it."""

    id: str | None = None
    choices: list[_HeardChoice] | None = None
    usage: _Usage | None = None
    error: Any = None
    service_tier: Any = None


_decode = msgspec.json.Decoder(_Completion).decode
_decode_uncounted = msgspec.json.Decoder(_Uncounted).decode
_hear = msgspec.json.Decoder(_Heard).decode


def _completion(data: bytes) -> _Completion:
    """Some servers count fractions, or write numbers as texts: what they say is no worse for it, and they have said no usage."""
    try:
        return _decode(data)
    except json.MALFORMED:
        try:
            return _Completion(**msgspec.structs.asdict(_decode_uncounted(data)))
        except json.MALFORMED as error:
            raise UpstreamProtocolError("the upstream sent something that is not a chat completion") from error


def decode_reply(body: bytes) -> list[Event]:
    """The events of a whole reply. Raises `UpstreamProtocolError`."""
    completion = _completion(body)
    if completion.error is not None:
        return [error_event(completion.error)]
    if not completion.choices:
        raise UpstreamProtocolError("the upstream's reply holds no choices")
    decoder = StreamDecoder()
    events = decoder.read(completion)
    return [*events, *decoder.end()]


def hear_reply(body: bytes) -> list[Event]:
    """The events of a whole reply without its content, at half the cost. Raises `UpstreamProtocolError`."""
    try:
        if not body.isascii():
            # Text that is left out is not looked at, and what is no UTF-8 nobody can read.
            body.decode()
        heard = _hear(body)
    except json.MALFORMED:
        return decode_reply(body)
    if heard.error is not None or not heard.choices:
        return decode_reply(body)
    events: list[Event] = [Started(id=heard.id or None)]
    for choice in heard.choices:
        native = choice.finish_reason
        if not native:
            return decode_reply(body)
        events.append(ChoiceFinished(reason=FINISH_REASONS.get(native.lower(), "stop"), choice=choice.index or 0, native=native))
    if heard.usage is not None:
        events.append(UsageReported(usage=_usage(heard.usage, heard.service_tier)))
    events.append(Done())
    return events


class StreamDecoder:
    """See `dialects.base.StreamDecoder`."""

    __slots__ = ("_choices", "_ended", "_finished", "_said", "_started", "_usage")
    finished = complete = False

    def __init__(self) -> None:
        self._started = False
        self._ended = False
        self._finished: dict[int, Event] = {}
        """How a choice ended. Told at the end: some servers give a reason with every chunk."""
        self._usage: list[Event] = []
        """What was said behind that."""
        self._said: set[int] = set()
        """Choices of which there is anything."""
        self._choices: dict[int, _Calls] = {}

    def skims(self, frame: Frame) -> bytes:
        """See `dialects.base.StreamDecoder.skims`.

        A quotation mark inside of a text has a backslash before it, so the names of fields are found nowhere else. What is written in
        another way, with spaces perhaps, is read as a whole.
        """
        data = frame.data or b""
        find = data.find
        text = (
            find(b'"content":"') >= 0
            and find(b'"content":""') < 0
            and find(b'"index":0') >= 0
            and 0 in self._said
            and (find(b'"finish_reason"') < 0 or (find(b'"finish_reason":null') >= 0 and data.count(b'"finish_reason"') == 1))
            and (find(b'"usage"') < 0 or find(b'"usage":null') >= 0)
            and find(b'"error"') < 0
            and frame.looks_whole
        )
        return b'"content":"' if text else b""

    def feed(self, frame: Frame) -> list[Event]:
        """See `dialects.base.StreamDecoder.feed`."""
        data = frame.data
        if not data or self._ended:
            return []
        if data == b"[DONE]":
            return self.end()
        completion = _completion(data)
        if completion.error is not None:
            self._ended = True
            return [error_event(completion.error)]
        return self.read(completion)

    def end(self) -> list[Event]:
        """See `dialects.base.StreamDecoder.end`."""
        if self._ended:
            return []
        self._ended = True
        if not self._finished or self._said - self._finished.keys():
            return [Failed(UpstreamProtocolError("the upstream's stream ended before the reply was complete"))]
        return [*self._finished.values(), *self._usage[-1:], Done()]

    def read(self, completion: _Completion) -> list[Event]:
        """The events of one completion or chunk."""
        events: list[Event] = []
        if not self._started:
            if not completion.choices and completion.usage is None and not completion.id:
                # Azure tells what its filter thought of the prompt before anything else.
                return events
            self._started = True
            events.append(_started(completion))
        for choice in completion.choices or ():
            self._choice(choice, events)
        if completion.usage is not None:
            (self._usage if self._finished else events).append(UsageReported(usage=_usage(completion.usage, completion.service_tier)))
        return events

    def _choice(self, choice: _Choice, events: list[Event]) -> None:
        index, before = choice.index or 0, len(events)
        message = choice.delta if choice.delta is not None else choice.message
        if message is not None:
            self._message(message, index, events, message is not choice.delta)
        if choice.logprobs is not None:
            tokens = choice.logprobs.get("content")
            if isinstance(tokens, list) and tokens and all(isinstance(token, dict) for token in tokens):
                events.append(LogprobsReported(tokens=tokens, choice=index))
        says = len(events) > before
        if says:
            self._said.add(index)
        native = choice.finish_reason
        if native and (says or index not in self._finished):
            reason = FINISH_REASONS.get(native.lower(), "stop")
            extra = {} if choice.content_filter_results is None else {"content_filter_results": choice.content_filter_results}
            self._finished[index] = ChoiceFinished(reason=reason, choice=index, native=native, extra=extra)

    def _message(self, message: _Message, choice: int, events: list[Event], whole: bool) -> None:
        thought = message.reasoning_content or message.reasoning
        if thought:
            events.append(ReasoningDelta(text=thought, choice=choice))
        content = message.content
        seal = seal_of(message.extra_content) if message.extra_content is not None else None
        if content:
            if isinstance(content, str):
                events.append(TextDelta(text=content, choice=choice))
            else:
                events += _parts(content, choice)
            if seal is not None:
                # It is the content's, and not that of what follows.
                events.append(SealAttached(seal=seal, choice=choice))
        if message.refusal:
            events.append(RefusalDelta(text=message.refusal, choice=choice))
        for image in message.images or ():
            events += _image(image, choice)
        if message.audio is not None:
            events.append(OpaqueReceived(part=Opaque(dialect="openai_chat", kind="audio", value=message.audio), choice=choice))
        if message.annotations:
            events.append(OpaqueReceived(part=Opaque(dialect="openai_chat", kind="annotations", value=message.annotations), choice=choice))
        if message.tool_calls or message.function_call is not None:
            calls = self._choices.get(choice)
            if calls is None:
                calls = self._choices[choice] = _Calls(choice)
            for call in message.tool_calls or ():
                calls.read(call, events, whole)
            if message.function_call is not None:
                calls.read(_ToolCall(index=0, function=message.function_call), events)
        if seal is not None and not content:
            events.append(SealAttached(seal=seal, choice=choice))


class _Calls:
    """The tool calls of one choice, by whatever the server tells them apart by."""

    __slots__ = ("_by_id", "_by_index", "_choice", "_count", "_names", "_shared", "_waiting")

    def __init__(self, choice: int) -> None:
        self._choice = choice
        self._count = 0
        self._by_index: dict[int, int] = {}
        self._by_id: dict[str, int] = {}
        self._names: list[str] = []
        self._shared: set[str] = set()
        self._waiting: dict[int, str] = {}
        """Number → id of a call of which no more than that is known."""

    def read(self, call: _ToolCall, events: list[Event], whole: bool = False) -> None:
        """What `call` tells: all of a call if it is `whole`, else the beginning of one or more of it."""
        function = call.function or _Function()
        if call.custom is not None:
            function = _Function(name=call.custom.get("name"), arguments=call.custom.get("input"))
        at = None if whole else self._find(call, function)
        if at is None:
            at = self._count
            self._count += 1
            # It must not repeat in a conversation.
            call_id = call.id if call.id and call.id not in self._by_id else f"call_{secrets.token_hex(12)}"
            self._by_id[call_id] = at
            self._names.append("")
            self._waiting[at] = call_id
        if at in self._waiting and (function.name or function.arguments or call.extra_content is not None):
            self._names[at] = function.name or ""
            events.append(ToolCallStarted(index=at, id=self._waiting.pop(at), name=self._names[at], choice=self._choice))
        if call.index is not None:
            self._by_index[call.index] = at
        arguments = function.arguments
        if arguments:
            text = arguments if isinstance(arguments, str) else json.encode(arguments).decode()
            events.append(ToolCallDelta(index=at, arguments=text, choice=self._choice))
        if call.extra_content is not None and (seal := seal_of(call.extra_content)) is not None:
            events.append(SealAttached(seal=seal, choice=self._choice, index=at))

    def _find(self, call: _ToolCall, function: _Function) -> int | None:
        """The call that a delta goes on with, None for a new one."""
        known = self._by_index.get(call.index) if call.index is not None else None
        if call.id:
            at = self._by_id.get(call.id)
            if at is not None:
                if call.index is not None and known is None and function.name:
                    # The same id at a new index, with a function: a server that gives several calls one id.
                    self._shared.add(call.id)
                    return None
                return known if known is not None and call.id in self._shared else at
            # Another id at a known index: a new call if it names a function, else a server that makes up ids.
            return None if known is None or function.name else known
        if known is not None:
            # Another function at a known index: a server that leaves out ids and counts no further.
            other = function.name and function.arguments and self._names[known] not in ("", function.name)
            return None if other else known
        # No id: without an index or a name it can only be more of the last call.
        return self._count - 1 if call.index is None and not function.name and self._count else None


def _started(completion: _Completion) -> Started:
    extra: dict[str, Any] = {}
    if completion.system_fingerprint is not None:
        extra["system_fingerprint"] = completion.system_fingerprint
    if completion.service_tier is not None:
        extra["service_tier"] = completion.service_tier
    created = completion.created
    return Started(
        id=completion.id or None,
        model=completion.model or None,
        created_s=int(created) if isinstance(created, int | float) and created else None,
        extra=extra,
    )


def _parts(content: list[Any], choice: int) -> list[Event]:
    """Content as an array of parts, which some servers send."""
    events: list[Event] = []
    for part in content:
        kind = part.get("type") if isinstance(part, dict) else None
        if kind == "text" and isinstance(part.get("text"), str):
            events.append(TextDelta(text=part["text"], choice=choice))
        elif kind == "thinking":
            events += _thought(part.get("thinking"), choice)
        elif kind == "image_url":
            events += _image(part, choice)
        else:
            events.append(OpaqueReceived(part=Opaque(dialect="openai_chat", kind=str(kind), value=part), choice=choice))
    return events


def _thought(value: Any, choice: int) -> list[Event]:
    """Mistral's, an array of texts (docs.mistral.ai, "Reasoning", read 2026-11)."""
    pieces = [piece.get("text") if isinstance(piece, dict) else None for piece in value] if isinstance(value, list) else [value]
    return [ReasoningDelta(text=text, choice=choice) for text in pieces if isinstance(text, str) and text]


def _image(image: Any, choice: int) -> list[Event]:
    inner = image.get("image_url") if isinstance(image, dict) else None
    url = inner.get("url") if isinstance(inner, dict) else None
    if not isinstance(url, str):
        return []
    seal = seal_of(image.get("extra_content"))
    head, comma, data = url.partition(";base64,")
    if comma and head.startswith("data:"):
        return [MediaReceived(media=Media(kind="image", mime_type=head[5:] or None, data=data, seal=seal), choice=choice)]
    return [MediaReceived(media=Media(kind="image", url=url, seal=seal), choice=choice)]


def _usage(usage: _Usage, tier: Any) -> Usage:
    given = usage.prompt_tokens_details or _Details()
    made = usage.completion_tokens_details or _Details()
    output, reasoning = usage.completion_tokens, made.reasoning_tokens
    if output is not None and usage.prompt_tokens is not None and usage.total_tokens is not None:
        # Some servers leave reasoning out of completion_tokens although the total holds it, and Google's says nothing else of it: ours
        # always includes it (discuss.ai.google.dev/t/127400, read 2026-11: 9 and 1 of 103). Where details are told the rest may be else.
        beside = usage.total_tokens - usage.prompt_tokens - output
        silent = usage.prompt_tokens_details is None and usage.completion_tokens_details is None
        if beside > 0 and (silent or beside == reasoning):
            output += beside
    return Usage(
        input_tokens=usage.prompt_tokens,
        output_tokens=output,
        cached_input_tokens=given.cached_tokens if given.cached_tokens is not None else usage.prompt_cache_hit_tokens,
        cache_write_tokens=given.cache_write_tokens,
        reasoning_tokens=reasoning,
        audio_input_tokens=given.audio_tokens,
        audio_output_tokens=made.audio_tokens,
        tier=None if tier is None else tier_of(tier),
    )
