"""A GenerateContentResponse, whole or streamed, decoded into events. Floor 1. Pure but for the ids of calls that came without one.

Source: ai.google.dev/api/generate-content#v1beta.GenerateContentResponse, read 2026-11. A streamed reply is a sequence of the same
objects, each with what is new. Function calls come whole. There is no end marker: the stream's end is the reply's, if every candidate
has a finish reason; that is why `ChoiceFinished` waits for the end, for some frames follow the finish reason.
"""

from __future__ import annotations

import secrets
from datetime import datetime
from operator import attrgetter
from typing import Any

import msgspec

from fkproxy.dialects.gemini.errors import error_of
from fkproxy.dialects.media import kind_of
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
    SealAttached,
    Started,
    TextDelta,
    ToolCallDelta,
    ToolCallStarted,
    UsageReported,
)
from fkproxy.model.parts import Media, Opaque, Seal
from fkproxy.model.usage import Tier, Usage, tier_of
from fkproxy.wire import json
from fkproxy.wire.sse import Frame

__all__ = ["FINISH_REASONS", "StreamDecoder", "decode_reply"]

FINISH_REASONS: dict[str, FinishReason] = {
    "STOP": "stop",
    "FINISH_REASON_UNSPECIFIED": "stop",
    "MAX_TOKENS": "length",
    "SAFETY": "content_filter",
    "RECITATION": "content_filter",
    "LANGUAGE": "content_filter",
    "BLOCKLIST": "content_filter",
    "PROHIBITED_CONTENT": "content_filter",
    "SPII": "content_filter",
    "IMAGE_SAFETY": "content_filter",
    "IMAGE_PROHIBITED_CONTENT": "content_filter",
    "IMAGE_RECITATION": "content_filter",
    "MODEL_ARMOR": "content_filter",
    "ESCALATION": "content_filter",
    "PUP_LIMITED_DISABLED": "content_filter",
    "CONTINUATION": "pause",
    "MALFORMED_FUNCTION_CALL": "error",
    "UNEXPECTED_TOOL_CALL": "error",
    "TOO_MANY_TOOL_CALLS": "error",
    "MISSING_THOUGHT_SIGNATURE": "error",
    "MALFORMED_RESPONSE": "error",
    "NO_IMAGE": "error",
    "IMAGE_OTHER": "error",
    "OTHER": "error",
}


class _Wire(msgspec.Struct, rename="camel", gc=False):
    """Names as the API writes them. Any field may be null, which says no more than leaving it out (protobuf.dev, "ProtoJSON Format", read
    2026-11): a server that writes google-genai's own types names all that it does not say.
    """


class _FunctionCall(_Wire):
    name: str | None = None
    args: dict[str, Any] | None = None
    id: str | None = None


class _Blob(_Wire):
    mime_type: str | None = None
    data: str | None = None


class _File(_Wire):
    file_uri: str
    mime_type: str | None = None


class _Part(_Wire):
    text: str | None = None
    thought: bool | None = None
    thought_signature: str | None = None
    function_call: _FunctionCall | None = None
    inline_data: _Blob | None = None
    file_data: _File | None = None
    executable_code: Any = None
    code_execution_result: Any = None
    tool_call: Any = None
    tool_response: Any = None


class _Content(_Wire):
    parts: list[_Part] | None = None


class _Candidate(_Wire):
    index: int | None = None
    content: _Content | None = None
    finish_reason: str | None = None
    finish_message: str | None = None
    safety_ratings: Any = None
    citation_metadata: Any = None
    grounding_metadata: Any = None
    url_context_metadata: Any = None
    logprobs_result: dict[str, Any] | None = None


class _Modality(_Wire):
    modality: str | None = None
    token_count: int | None = None


class _UsageMetadata(_Wire):
    prompt_token_count: int | None = None
    candidates_token_count: int | None = None
    total_token_count: int | None = None
    cached_content_token_count: int | None = None
    thoughts_token_count: int | None = None
    tool_use_prompt_token_count: int | None = None
    prompt_tokens_details: list[_Modality] | None = None
    candidates_tokens_details: list[_Modality] | None = None
    service_tier: Any = None
    traffic_type: Any = None


class _Feedback(_Wire):
    block_reason: str | None = None


class _Response(_Wire):
    candidates: list[_Candidate] | None = None
    prompt_feedback: _Feedback | None = None
    usage_metadata: _UsageMetadata | None = None
    model_version: str | None = None
    response_id: str | None = None
    create_time: str | None = None
    error: dict[str, Any] | None = None


_decode = msgspec.json.Decoder(_Response).decode
_decode_array = msgspec.json.Decoder(list[_Response]).decode
_decode_any = msgspec.json.Decoder(_Response | list[_Response]).decode
_NOT_SAID = Usage()
_DONE = Done()
_TRAFFIC: dict[str, Tier] = {"ON_DEMAND_PRIORITY": "fast", "ON_DEMAND_FLEX": "flex"}
"""Vertex AI's; the Gemini API says `serviceTier` (google-genai 3.4, `TrafficType` and `ServiceTier`; vercel/ai#15488, read 2026-11)."""
_OPAQUE = (
    ("executable_code", "executableCode"),
    ("code_execution_result", "codeExecutionResult"),
    ("tool_call", "toolCall"),
    ("tool_response", "toolResponse"),
)
"""What the vendor's own tools say: no other dialect has a word for it."""
_TOLD = (
    ("finish_message", "finishMessage"),
    ("safety_ratings", "safetyRatings"),
    ("citation_metadata", "citationMetadata"),
    ("grounding_metadata", "groundingMetadata"),
    ("url_context_metadata", "urlContextMetadata"),
)
"""What is said about a candidate beside its content, in whichever of its frames."""
_told_of = attrgetter(*(field for field, _ in _TOLD))


def _response(data: bytes) -> _Response:
    try:
        return _decode(data)
    except json.MALFORMED as error:
        raise UpstreamProtocolError("the upstream sent something that is not a GenerateContentResponse") from error


def decode_reply(body: bytes) -> list[Event]:
    """The events of a whole reply. Raises `UpstreamProtocolError`."""
    decoder = StreamDecoder()
    if body.lstrip()[:1] == b"[":
        # A stream that was not asked for as events comes as an array.
        try:
            responses = _decode_array(body)
        except json.MALFORMED as error:
            raise UpstreamProtocolError("the upstream sent something that is not a GenerateContentResponse") from error
        events = [event for response in responses for event in decoder.read(response)]
    else:
        events = decoder.read(_response(body))
    events += decoder.end()
    return events


class StreamDecoder:
    """See `dialects.base.StreamDecoder`."""

    __slots__ = ("_after_call", "_calls", "_ended", "_finished", "_metadata", "_seen", "_started", "_told", "_usage", "_went_on")

    def __init__(self) -> None:
        self._started = False
        self._ended = False
        self._usage = _NOT_SAID
        self._metadata: _UsageMetadata | None = None
        """As last said: most frames repeat it."""
        self._calls: dict[int, int] = {}
        self._after_call: set[int] = set()
        self._seen: set[int] = set()
        self._finished: dict[int, tuple[FinishReason, str]] = {}
        self._told: dict[int, dict[str, Any]] = {}
        self._went_on = False
        """Some servers finish in each frame, or in empty ones in front (BerriAI/litellm#2195; Chevey339/kelivo#1003, read 2026-11)."""

    @property
    def finished(self) -> bool:
        """See `dialects.base.StreamDecoder.finished`."""
        return bool(self._finished) and self._seen <= self._finished.keys()

    @property
    def complete(self) -> bool:
        """See `dialects.base.StreamDecoder.complete`."""
        return self.finished and not self._went_on

    def skims(self, frame: Frame) -> bytes:
        """See `dialects.base.StreamDecoder.skims`. Every frame may count tokens."""
        return b""

    def feed(self, frame: Frame) -> list[Event]:
        """See `dialects.base.StreamDecoder.feed`."""
        if self._ended:
            return []
        if not frame.data:
            return self._bare(frame.raw)
        return self.read(_response(frame.data))

    def _bare(self, raw: bytes) -> list[Event]:
        """A frame without data: nothing, unless it is the JSON of an error.

        That is how Google ends some streams of events, with no `data:` in front and over several lines. Source: the streams that
        google-genai for JavaScript reads (`processStreamResponse`), 2026-11.
        """
        if not raw.startswith((b"{", b"[")):
            return []
        try:
            found = _decode_any(raw)
        except json.MALFORMED:
            return []
        errors = (response for response in (found if isinstance(found, list) else [found]) if response.error is not None)
        return [event for response in errors for event in self.read(response)][:1]

    def end(self) -> list[Event]:
        """See `dialects.base.StreamDecoder.end`."""
        if self._ended:
            return []
        self._ended = True
        if not self.finished:
            return [Failed(UpstreamProtocolError("the upstream's stream ended before the reply was complete"))]
        events = self._nothing_made()
        for choice, (reason, native) in self._finished.items():
            events.append(self._finish(choice, reason, native))
        events.append(_DONE)
        return events

    def _nothing_made(self) -> list[Event]:
        """Of a count that is 0 the vendor says nothing: a prompt that was blocked is all that the total holds."""
        usage, metadata = self._usage, self._metadata
        total = metadata.total_token_count if metadata is not None else None
        if total is None or total != usage.input_tokens or usage.output_tokens is not None:
            return []
        return [UsageReported(usage=msgspec.structs.replace(usage, output_tokens=0))]

    def read(self, response: _Response) -> list[Event]:
        """The events of one response object."""
        if response.error is not None:
            self._ended = True
            return [Failed(error_of(response.error))]
        events: list[Event] = []
        if not self._started:
            self._started = True
            created_s = None if response.create_time is None else _unix_s(response.create_time)
            events.append(Started(id=response.response_id, model=response.model_version, created_s=created_s))
        for candidate in response.candidates or ():
            choice = candidate.index or 0
            self._seen.add(choice)
            if candidate.content is not None and candidate.content.parts:
                self._went_on |= choice in self._finished
                for part in candidate.content.parts:
                    self._part(part, choice, events)
            if candidate.logprobs_result is not None and (tokens := _logprobs(candidate.logprobs_result)):
                events.append(LogprobsReported(tokens=tokens, choice=choice))
            if candidate.finish_reason is not None:
                self._finished[choice] = (FINISH_REASONS.get(candidate.finish_reason, "stop"), candidate.finish_reason)
            if (
                candidate.safety_ratings
                or candidate.grounding_metadata
                or candidate.citation_metadata
                or candidate.finish_message
                or candidate.url_context_metadata
            ):
                for value, (_, name) in zip(_told_of(candidate), _TOLD, strict=True):
                    if value:
                        self._told.setdefault(choice, {})[name] = value
        if not response.candidates and response.prompt_feedback is not None and response.prompt_feedback.block_reason is not None:
            self._finished[0] = ("content_filter", response.prompt_feedback.block_reason)
        if response.usage_metadata is not None and response.usage_metadata != self._metadata:
            self._metadata = response.usage_metadata
            usage = _usage(self._metadata)
            # The frames of Vertex AI before the last one name nothing but the kind of traffic.
            if usage.counts and usage != self._usage:
                self._usage = usage
                events.append(UsageReported(usage=usage))
        return events

    def _part(self, part: _Part, choice: int, events: list[Event]) -> None:
        index: int | None = None
        media: Media | None = None
        if part.text:
            events.append(ReasoningDelta(text=part.text, choice=choice) if part.thought else TextDelta(text=part.text, choice=choice))
        elif part.function_call is not None:
            call = part.function_call
            index = self._calls.get(choice, 0)
            self._calls[choice] = index + 1
            # Most replies name no id; it must not repeat in a conversation, and signatures are remembered by it.
            call_id = call.id or f"call_{secrets.token_hex(12)}"
            events.append(ToolCallStarted(index=index, id=call_id, name=call.name or "", choice=choice))
            # In front of the arguments: clients that act upon a call as soon as they are complete would do so again for what follows.
            self._sign(part, choice, index, events)
            events.append(ToolCallDelta(index=index, arguments=json.encode(call.args or {}).decode(), choice=choice))
        elif (media := _media(part)) is not None:
            events.append(_draft(media, choice) if part.thought else MediaReceived(media=media, choice=choice))
        else:
            for field, name in _OPAQUE:
                if (value := getattr(part, field)) is not None:
                    events.append(OpaqueReceived(part=Opaque(dialect="gemini", kind=name, value={name: value}), choice=choice))
        if self._after_call:
            self._behind_call(part, choice, events)
        if index is not None:
            self._after_call.add(choice)
        elif media is None:
            self._sign(part, choice, None, events)

    def _sign(self, part: _Part, choice: int, index: int | None, events: list[Event]) -> None:
        if part.thought_signature:
            events.append(SealAttached(seal=Seal(dialect="gemini", data=part.thought_signature), choice=choice, index=index))

    def _behind_call(self, part: _Part, choice: int, events: list[Event]) -> None:
        """Behind a call, a signature in an empty part of its own must not be taken for the call's: an empty text carries it."""
        if choice in self._after_call and part.function_call is None:
            self._after_call.discard(choice)
            if part.text == "" and part.thought_signature:
                events.append(TextDelta(text="", choice=choice))

    def _finish(self, choice: int, reason: FinishReason, native: str) -> ChoiceFinished:
        if reason == "stop" and self._calls.get(choice):
            reason = "tool_calls"
        return ChoiceFinished(reason=reason, choice=choice, native=native, extra=self._told.get(choice, {}))


def _unix_s(time: str) -> int | None:
    """Seconds of an RFC 3339 time; None for what is none."""
    try:
        return int(datetime.fromisoformat(time).timestamp())
    except ValueError:
        return None


def _media(part: _Part) -> Media | None:
    """With its signature, which models that make images want back on it."""
    seal = Seal(dialect="gemini", data=part.thought_signature) if part.thought_signature else None
    if (blob := part.inline_data) is not None:
        mime_type = blob.mime_type or "application/octet-stream"
        return Media(kind=kind_of(mime_type), mime_type=mime_type, data=blob.data or "", seal=seal)
    if (file := part.file_data) is not None:
        return Media(kind=kind_of(file.mime_type or ""), mime_type=file.mime_type, url=file.file_uri, seal=seal)
    return None


def _draft(media: Media, choice: int) -> OpaqueReceived:
    """An image that the model made while it thought, and that is no answer: in other dialects only words are thoughts."""
    field = "inlineData" if media.data is not None else "fileData"
    inner = {"mimeType": media.mime_type, **({"data": media.data} if media.data is not None else {"fileUri": media.url})}
    return OpaqueReceived(part=Opaque(dialect="gemini", kind="thought", value={field: inner, "thought": True}), choice=choice)


def _logprobs(result: dict[str, Any]) -> list[dict[str, Any]]:
    """LogprobsResult in the shape of the hub, which is OpenAI's."""
    try:
        found = msgspec.convert(result, _Logprobs)
    except msgspec.ValidationError as error:
        raise UpstreamProtocolError("the upstream's logprobsResult is not what its name says") from error
    tops = found.top or []
    tokens: list[dict[str, Any]] = []
    for index, entry in enumerate(found.chosen or ()):
        alternatives = (tops[index].candidates or []) if index < len(tops) else []
        tokens.append({**_token(entry), "top_logprobs": [_token(other) for other in alternatives]})
    return tokens


class _Token(msgspec.Struct):
    token: str = ""
    logprob: float = msgspec.field(name="logProbability", default=0.0)


class _Top(msgspec.Struct):
    candidates: list[_Token] | None = None


class _Logprobs(msgspec.Struct):
    chosen: list[_Token] | None = msgspec.field(name="chosenCandidates", default=None)
    top: list[_Top] | None = msgspec.field(name="topCandidates", default=None)


def _token(entry: _Token) -> dict[str, Any]:
    return {"token": entry.token, "logprob": entry.logprob, "bytes": list(entry.token.encode())}


def _of(modality: str, details: list[_Modality]) -> int | None:
    for detail in details:
        if detail.modality == modality:
            return detail.token_count
    return None


def _usage(metadata: _UsageMetadata) -> Usage:
    """Gemini counts cached tokens within the prompt's, thoughts beside the candidates', and tools' own prompts beside the prompt."""
    given, made = metadata.prompt_token_count, metadata.candidates_token_count
    thoughts, tools = metadata.thoughts_token_count, metadata.tool_use_prompt_token_count
    of_input, of_output = metadata.prompt_tokens_details, metadata.candidates_tokens_details
    return Usage(
        input_tokens=None if given is None and tools is None else (given or 0) + (tools or 0),
        output_tokens=None if made is None and thoughts is None else (made or 0) + (thoughts or 0),
        cached_input_tokens=metadata.cached_content_token_count,
        reasoning_tokens=thoughts,
        audio_input_tokens=_of("AUDIO", of_input) if of_input else None,
        audio_output_tokens=_of("AUDIO", of_output) if of_output else None,
        image_output_tokens=_of("IMAGE", of_output) if of_output else None,
        tier=tier_of(metadata.service_tier) or _TRAFFIC.get(str(metadata.traffic_type)),
    )
