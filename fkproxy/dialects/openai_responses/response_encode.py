"""A response, whole or streamed, encoded from events. Floor 1. Pure.

Grammar of the stream, as OpenAI writes it: `response.created`, `response.in_progress`; then for each item `output_item.added`, what is new
in it, `output_item.done`; then one of `response.completed`, `response.incomplete` and `response.failed` with the whole response in it.
In front of `response.failed` comes `error`: it is what the SDKs raise, and many clients take the other for an end like any.
Every event has its `sequence_number`. A whole reply is the `response` of the last event, so the two cannot disagree.
"""

from __future__ import annotations

from typing import Any

from fkproxy.dialects.base import ReplyContext
from fkproxy.dialects.envelope import close_envelope
from fkproxy.dialects.openai_errors import encode_error
from fkproxy.dialects.openai_responses.compaction import COMPACTION, SUMMARY
from fkproxy.dialects.openai_responses.items import NAME
from fkproxy.dialects.openai_responses.request_encode import encode_format
from fkproxy.dialects.statuses import MAX_MESSAGE_CHARS
from fkproxy.model.errors import FkproxyError, UpstreamOverloaded, UpstreamRateLimited, UpstreamRejected
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
    Reply,
    SealAttached,
    Started,
    TextDelta,
    ToolCallDelta,
    ToolCallStarted,
    UsageReported,
)
from fkproxy.model.parts import Media, Opaque, Reasoning, Refusal, Seal, Text, ToolCall
from fkproxy.model.request import Tool
from fkproxy.model.usage import Usage
from fkproxy.wire import json, sse

__all__ = ["StreamEncoder", "encode_reply", "error_of", "stream_encoder"]

_INCOMPLETE: dict[FinishReason, str] = {
    "length": "max_output_tokens",
    "content_filter": "content_filter",
    "refusal": "content_filter",
    "error": "content_filter",
}


def error_of(error: FkproxyError) -> dict[str, Any]:
    """`response.error`. The codes are those that clients act upon."""
    code = error.code
    match error:
        case UpstreamRateLimited():
            code = "rate_limit_exceeded"
        case UpstreamOverloaded():
            code = "server_is_overloaded"
        case UpstreamRejected():
            code = error.native_code or "invalid_prompt"
        case _ if error.status >= 500:
            code = "server_error"
    return {"code": code, "message": str(error)[:MAX_MESSAGE_CHARS]}


def stream_encoder(context: ReplyContext) -> StreamEncoder:
    """See `dialects.base.Dialect.stream_encoder`."""
    return _SummaryEncoder(context) if context.compacts else StreamEncoder(context)


def encode_reply(reply: Reply, context: ReplyContext) -> bytes:
    """The body of a whole response. Raises `UpstreamRejected` for one that is no summary where that was asked for."""
    encoder = stream_encoder(context)
    encoder.encode(Started(id=reply.id, model=reply.model, created_s=reply.created_s))
    choice = reply.choices[0] if reply.choices else None
    number = 0
    if choice is not None and choice.logprobs is not None:
        encoder.encode(LogprobsReported(tokens=choice.logprobs))
    for part in choice.parts if choice is not None else ():
        match part:
            case Text():
                encoder.encode(TextDelta(text=part.text))
            case Refusal():
                encoder.encode(RefusalDelta(text=part.text))
            case Reasoning():
                encoder.encode(ReasoningDelta(text=part.text))
            case ToolCall():
                encoder.encode(ToolCallStarted(index=number, id=part.id, name=part.name))
                encoder.encode(ToolCallDelta(index=number, arguments=part.arguments))
                number += 1
                continue
            case Media():
                encoder.encode(MediaReceived(media=part))
                continue
            case Opaque():
                encoder.encode(OpaqueReceived(part=part))
                continue
            case _:
                continue
        if not isinstance(part, Refusal) and part.seal is not None:
            encoder.encode(SealAttached(seal=part.seal))
    if reply.usage is not None:
        encoder.encode(UsageReported(usage=reply.usage))
    encoder.encode(ChoiceFinished(reason=(choice.reason if choice is not None else None) or "stop"))
    encoder.close()
    return json.encode(encoder.response())


class _Item:
    """One item under way: its value as it stands now, and the pieces of its text."""

    __slots__ = ("done", "index", "pieces", "tool", "value")

    def __init__(self, index: int, value: dict[str, Any], tool: Tool | None = None) -> None:
        self.done = False
        self.index = index
        self.value = value
        self.pieces: list[str] = []
        self.tool = tool

    @property
    def text(self) -> str:
        return "".join(self.pieces)

    @property
    def place(self) -> dict[str, Any]:
        return {"item_id": self.value["id"], "output_index": self.index}


class StreamEncoder:
    """See `dialects.base.StreamEncoder`."""

    def __init__(self, context: ReplyContext) -> None:
        self._context = context
        self._id = context.begun_id or f"resp_{context.reply_id}"
        self._created_s = context.created_s
        self._sequence = 0
        self._begun = context.begun_id is not None
        self._output: list[dict[str, Any]] = []
        self._open: _Item | None = None
        self._calls: dict[int, _Item] = {}
        self._grown: dict[int, _Item] = {}
        """Calls whose arguments have come since the last item began."""
        self._logprobs: list[dict[str, Any]] = []
        self._text_format = {"format": encode_format(context.output)}
        self._tools = {tool.name: tool for tool in context.tools}
        self._usage: Usage | None = None
        self._reason: FinishReason = "stop"
        self._status = "in_progress"
        self._error: dict[str, Any] | None = None

    def encode(self, event: Event) -> bytes:
        """See `dialects.base.StreamEncoder.encode`."""
        if type(event) is TextDelta:  # `match` makes a set for a case that fits
            return b"" if event.choice else self._text("output_text", event.text)
        if isinstance(event, Failed):
            return self._fail(event.error)
        if getattr(event, "choice", 0):
            return b""
        match event:
            case Started():
                return self._begin(event)
            case ReasoningDelta():
                return self._reasoning(event.text)
            case RefusalDelta():
                return self._text("refusal", event.text)
            case ToolCallStarted():
                return self._call(event)
            case ToolCallDelta():
                return self._arguments(event)
            case SealAttached():
                return self._seal(event)
            case MediaReceived(media=media):
                return self._media(media) + (self._seal(SealAttached(seal=media.seal)) if media.seal is not None else b"")
            case OpaqueReceived():
                return self._opaque(event.part)
            case LogprobsReported():
                self._logprobs += map(_logprob, event.tokens)
                return b""
            case UsageReported():
                self._usage = event.usage
                return b""
            case ChoiceFinished():
                self._reason = event.reason
                return b""
            case Done():
                return self._end()
        return b""

    # --- the response

    def response(self) -> dict[str, Any]:
        """As it stands now."""
        incomplete = _INCOMPLETE.get(self._reason) if self._status == "incomplete" else None
        return {
            "id": self._id,
            "object": "response",
            "created_at": self._created_s,
            "status": self._status,
            "background": False,
            "error": self._error,
            "incomplete_details": {"reason": incomplete} if incomplete is not None else None,
            "instructions": None,
            "metadata": {},
            "model": self._context.model,
            "output": list(self._output),
            "parallel_tool_calls": True,
            "temperature": None,
            "top_p": None,
            "tool_choice": "auto",
            "tools": [],
            "store": False,
            "text": self._text_format,
            "usage": _usage(self._usage) if self._usage is not None else None,
        }

    def _event(self, kind: str, fields: dict[str, Any]) -> bytes:
        data = json.encode({"type": kind, "sequence_number": self._sequence, **fields})
        self._sequence += 1
        return sse.encode_event(kind, data)

    def _begin(self, event: Started | None = None) -> bytes:
        if self._begun:
            return b""
        self._begun = True
        if event is not None and event.created_s is not None:
            self._created_s = event.created_s
        response = self.response()
        return self._event("response.created", {"response": response}) + self._event("response.in_progress", {"response": response})

    def close(self) -> bytes:
        """End what is open, and say how it went."""
        self._status = "incomplete" if self._reason in _INCOMPLETE else "completed"
        return self._close() + b"".join(self._close_call(item) for item in self._calls.values())

    def _end(self) -> bytes:
        begun = self._begin()
        out = self.close()
        return begun + out + self._event(f"response.{self._status}", {"response": self.response()})

    def _fail(self, error: FkproxyError) -> bytes:
        begun = self._begin()
        self._status, self._error = "failed", error_of(error)
        told = {**encode_error(error, "", of_responses=True)["error"], **self._error}
        fields = {name: told[name] for name in ("code", "message", "param")}
        raised = self._event("error", {**fields, "error": {"type": told["type"], **fields}})
        return begun + raised + self._event("response.failed", {"response": self.response()})

    # --- items

    def _start(self, prefix: str, value: dict[str, Any], tool: Tool | None = None) -> tuple[_Item, bytes]:
        """An item behind the others. Clients keep and run items in the order they are done: calls that are complete are so before it."""
        closed = b"".join(self._close_call(item) for item in self._grown.values() if json.try_object(item.text) is not None)
        self._grown.clear()
        index = len(self._output)
        item = _Item(index, {"id": f"{prefix}_{self._context.reply_id}_{index}", **value}, tool)
        self._output.append(item.value)
        return item, closed + self._event("response.output_item.added", {"output_index": index, "item": dict(item.value)})

    def _done(self, item: _Item) -> bytes:
        if "status" in item.value:
            item.value["status"] = "incomplete" if self._status == "incomplete" else "completed"
        return self._event("response.output_item.done", {"output_index": item.index, "item": item.value})

    def _text(self, kind: str, text: str) -> bytes:
        out = self._begin()
        item = self._open
        if item is None or item.value["type"] != "message" or item.value["content"][0]["type"] != kind:
            out += self._close()
            part = {"type": kind, "text": "", "annotations": [], "logprobs": []} if kind == "output_text" else {"type": kind, "refusal": ""}
            item, added = self._start("msg", {"type": "message", "status": "in_progress", "role": "assistant", "content": []})
            item.value["content"] = [part]
            self._open = item
            out += added + self._event("response.content_part.added", {**item.place, "content_index": 0, "part": part})
        item.pieces.append(text)
        more: dict[str, Any] = {"logprobs": []} if kind == "output_text" else {}
        return out + self._event(f"response.{kind}.delta", {**item.place, "content_index": 0, "delta": text, **more})

    def _reasoning(self, text: str) -> bytes:
        out = self._begin()
        item = self._open
        if item is None or item.value["type"] != "reasoning" or "encrypted_content" in item.value:
            out += self._close()
            item, added = self._start("rs", {"type": "reasoning", "summary": []})
            self._open = item
            out += added
        if not text:
            return out
        if not item.value["summary"]:
            part = {"type": "summary_text", "text": ""}
            item.value["summary"] = [part]
            out += self._event("response.reasoning_summary_part.added", {**item.place, "summary_index": 0, "part": part})
        item.pieces.append(text)
        return out + self._event("response.reasoning_summary_text.delta", {**item.place, "summary_index": 0, "delta": text})

    def _seal(self, event: SealAttached) -> bytes:
        """A thought's goes with it; one of a text goes behind it, in a thought of its own. Those of calls are remembered elsewhere."""
        if event.index is not None:
            return b""
        out = b""
        if self._open is None or self._open.value["type"] != "reasoning":
            out = self._reasoning("")
        assert self._open is not None
        self._open.value["encrypted_content"] = close_envelope(event.seal, NAME)
        return out

    def _close(self) -> bytes:
        item, self._open = self._open, None
        if item is None:
            return b""
        if item.value["type"] == "reasoning":
            return self._close_reasoning(item)
        part = item.value["content"][0]
        place = {**item.place, "content_index": 0}
        field = "text" if part["type"] == "output_text" else "refusal"
        part[field] = item.text
        more: dict[str, Any] = {}
        if field == "text":
            part["logprobs"] = more["logprobs"] = self._logprobs
            self._logprobs = []
        out = self._event(f"response.{part['type']}.done", {**place, field: item.text, **more})
        return out + self._event("response.content_part.done", {**place, "part": part}) + self._done(item)

    def _close_reasoning(self, item: _Item) -> bytes:
        out = b""
        if item.value["summary"]:
            part = item.value["summary"][0]
            part["text"] = item.text
            place = {**item.place, "summary_index": 0}
            out = self._event("response.reasoning_summary_text.done", {**place, "text": item.text})
            out += self._event("response.reasoning_summary_part.done", {**place, "part": part})
        return out + self._done(item)

    def _opaque(self, part: Opaque) -> bytes:
        if part.dialect != NAME:
            return b""
        out = self._begin() + self._close()
        item, added = self._start("it", {**part.value})
        return out + added + self._done(item)

    def _media(self, media: Media) -> bytes:
        if media.kind != "image" or media.data is None:
            return b""
        out = self._begin() + self._close()
        value: dict[str, Any] = {"type": "image_generation_call", "status": "in_progress", "result": media.data}
        if media.mime_type is not None:
            value["output_format"] = media.mime_type.removeprefix("image/")
        item, added = self._start("ig", value)
        return out + added + self._done(item)

    # --- calls

    def _call(self, event: ToolCallStarted) -> bytes:
        out = self._begin() + self._close()
        tool = self._tools.get(event.name)
        form = tool.extra if tool is not None else {}
        value: dict[str, Any] = {"status": "in_progress", "call_id": event.id}
        if "$search" not in form:
            value["name"] = form.get("$name", event.name)
        if "$namespace" in form:
            value["namespace"] = form["$namespace"]
        if "$search" in form:
            item, added = self._start("tsc", {"type": "tool_search_call", "execution": "client", "arguments": {}, **value}, tool)
        elif "$custom" in form:
            item, added = self._start("ctc", {"type": "custom_tool_call", "input": "", **value}, tool)
        else:
            item, added = self._start("fc", {"type": "function_call", "arguments": "", **value}, tool)
        self._calls[event.index] = item
        return out + added

    def _arguments(self, event: ToolCallDelta) -> bytes:
        item = self._calls[event.index]
        if item.done:
            return b""
        self._grown[event.index] = item
        item.pieces.append(event.arguments)
        if item.value["type"] != "function_call" or not event.arguments:
            return b""
        return self._event("response.function_call_arguments.delta", {**item.place, "delta": event.arguments})

    def _close_call(self, item: _Item) -> bytes:
        if item.done:
            return b""
        item.done = True
        if item.value["type"] == "function_call":
            item.value["arguments"] = item.text or "{}"
            done = {**item.place, "name": item.value["name"], "arguments": item.value["arguments"]}
            return self._event("response.function_call_arguments.done", done) + self._done(item)
        given = json.try_object(item.text)
        if item.value["type"] == "tool_search_call":
            item.value["arguments"] = given if given is not None else item.text or {}
            return self._done(item)
        text = given.get("input") if given is not None else item.text
        item.value["input"] = text if isinstance(text, str) else item.text
        out = self._event("response.custom_tool_call_input.delta", {**item.place, "delta": item.value["input"]})
        return out + self._event("response.custom_tool_call_input.done", {**item.place, "input": item.value["input"]}) + self._done(item)


class _SummaryEncoder(StreamEncoder):
    """A reply whose text is a summary: one item, in place of all texts and thoughts. See `compaction`."""

    def __init__(self, context: ReplyContext) -> None:
        super().__init__(context)
        self._summary: _Item | None = None

    def _text(self, kind: str, text: str) -> bytes:
        if kind != "output_text":
            return super()._text(kind, text)
        out = self._begin()
        if self._summary is None:
            self._summary, added = self._start("cmp", {"type": COMPACTION, "encrypted_content": ""})
            out += added
        self._summary.pieces.append(text)
        return out + self._event("response.compaction.compacting", self._summary.place)

    def _reasoning(self, text: str) -> bytes:
        return self._text("output_text", "")

    def _seal(self, event: SealAttached) -> bytes:
        return b""

    def close(self) -> bytes:
        """See `StreamEncoder.close`. Raises `UpstreamRejected` for no summary: it would stand for all that was said."""
        closed, item = super().close(), self._summary
        written = item is not None and bool(item.text.strip())
        if self._status == "completed" and (self._calls or not written):
            # The upstream works: others go on being served by it. As a 4xx, for at a 5xx Codex CLI sends all of it five times as often.
            raise UpstreamRejected(
                422, "the upstream's model wrote no summary of the conversation", native_code="server_error", elsewhere=True
            )
        if item is None:
            return closed
        item.value["encrypted_content"] = close_envelope(Seal(dialect=SUMMARY, data=item.text), NAME)
        return closed + self._done(item)


def _logprob(token: dict[str, Any]) -> dict[str, Any]:
    """One token's; no list in it is null here."""
    listed = token.get("top_logprobs")
    others = [
        {**other, "bytes": other.get("bytes") or []} for other in (listed if isinstance(listed, list) else ()) if isinstance(other, dict)
    ]
    return {**token, "bytes": token.get("bytes") or [], "top_logprobs": others}


def _usage(usage: Usage) -> dict[str, Any]:
    given, made = usage.input_tokens or 0, usage.output_tokens or 0
    return {
        "input_tokens": given,
        "input_tokens_details": {"cached_tokens": usage.cached_input_tokens or 0, "cache_write_tokens": usage.cache_write_tokens or 0},
        "output_tokens": made,
        "output_tokens_details": {"reasoning_tokens": usage.reasoning_tokens or 0},
        "total_tokens": given + made,
    }
