"""What a dialect is: one wire format, with both of its ends.

Floor 1. Pure.

The same format is spoken by clients to us and by us to upstreams, so a dialect decodes and encodes requests, replies and errors.
It knows no address, no credential and no clock. Its folder holds `request.py` and `response.py`; `DIALECT` in its `__init__` is
the object that the registry lists.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Literal, Protocol, TypeVar

import msgspec

from fkproxy.dialects.conversation import ConversationMarks
from fkproxy.model.embedding import EmbeddingReply, EmbeddingRequest
from fkproxy.model.errors import FkproxyError, InvalidRequest, UpstreamError
from fkproxy.model.events import Event, Reply
from fkproxy.model.request import ChatRequest, Loss, OutputFormat, ReasoningConfig, Tool
from fkproxy.model.usage import Usage
from fkproxy.wire import json
from fkproxy.wire.sse import Frame

__all__ = [
    "UNREADABLE_REASONING",
    "Dialect",
    "EmbeddingCodec",
    "Encoded",
    "ModelEntry",
    "Operation",
    "Peek",
    "ReplyContext",
    "Route",
    "Seen",
    "StreamDecoder",
    "StreamEncoder",
    "TokenCounter",
    "head_of",
    "limit_of",
    "may_say",
    "seen_by",
]

Operation = Literal["chat", "count_tokens", "embeddings"]


class Route(msgspec.Struct, frozen=True):
    """A path clients post to. `{target}` in it stands for the rest of the path, which `peek` gets; a call's ends in one of `endings`.

    Without such an ending it is something else that has the same path. Another name in braces stands for one segment, whatever it says.
    `rewrite` makes of a body and its target the body that the dialect's other routes would have got. Raises `InvalidRequest`.
    """

    path: str
    name: str
    operation: Operation = "chat"
    endings: tuple[str, ...] = ("",)
    rewrite: Callable[[bytes, str], bytes] | None = None


class Seen(msgspec.Struct, eq=False):
    """What a request says besides, seen on the way to its model; no part of what is asked for, so two of them are equal.

    `fields` has as attributes what tells the conversation (see `ConversationMarks`), as raw JSON, which keeps the whole body in memory
    until `forget`; None: nobody has looked. `max_output_tokens`: what the request allows for each answer, 0 where it does not say; None:
    nobody has looked, nor for how many answers it asks. `choices`: so many, 0 where it does not say.
    """

    fields: object = None
    max_output_tokens: int | None = None
    choices: int = 0

    def __eq__(self, other: object) -> bool:
        """See above."""
        return isinstance(other, Seen)

    def forget(self) -> None:
        """Nobody will ask for the conversation any more."""
        self.fields = None


class Peek(msgspec.Struct, frozen=True, kw_only=True):
    """What routing needs, found without decoding the whole body.

    `include_usage`: the client wants a usage in its stream. `json_array`: it wants its stream as the elements of one JSON array instead
    of events. `variant` is the dialect's own name where it has several for one operation. `may_think` False: it is seen on the way that
    the request says nothing about thinking, and nobody need look for it.
    """

    model: str
    stream: bool = False
    include_usage: bool = True
    json_array: bool = False
    operation: Operation = "chat"
    variant: str = ""
    may_think: bool = True
    seen: Seen = msgspec.field(default_factory=Seen)


def limit_of(*values: object) -> int:
    """The first that is a number of tokens, or of answers; 0 where none is."""
    for value in values:
        if type(value) is int and value > 0:
            return value
    return 0


def explained(body: bytes, error: msgspec.ValidationError) -> InvalidRequest:
    """What a dialect's decoder found wrong with a request, in the words of the other checks: which field, what was expected."""
    value = json.decode_request(body)
    if value.get("model") is None:
        return InvalidRequest("model", "expected a string, but it is missing")
    text, _, path = str(error).partition(" - at `$")
    return InvalidRequest(path.strip("`").removeprefix(".") or None, text[:1].lower() + text[1:])


class Head(Protocol):
    """What every dialect's decoder sees of a request that names its model in its body."""

    model: str


HeadT = TypeVar("HeadT", bound=Head)
T = TypeVar("T")
_LETTER = re.compile(rb"\\u00[4-7]")


def head_of(decode: Callable[[bytes], HeadT], body: bytes) -> HeadT:
    """What `decode` sees of a request that says its model. Raises `InvalidRequest`."""
    head = seen_by(decode, body)
    if not head.model:
        raise InvalidRequest("model", "must not be empty")
    return head


def seen_by(decode: Callable[[bytes], T], body: bytes) -> T:
    """What `decode` sees of a request. Raises `InvalidRequest`."""
    try:
        return decode(body)
    except msgspec.ValidationError as error:
        raise explained(body, error) from error
    except json.MALFORMED as error:
        raise json.refused(body) from error


UNREADABLE_REASONING = "other"
"""What is written down of a request that says something about thinking which nobody here can read. It counts as the most there is."""


def may_say(body: bytes, *names: bytes) -> bool:
    """Whether one of these strings, each with its quotation mark in front, may be in a request: as it is, or with letters that are
    escaped, which readers take for the same.
    """
    return any(body.find(name) >= 0 for name in names) or (body.find(b"\\u00") >= 0 and _LETTER.search(body) is not None)


class Encoded(msgspec.Struct, frozen=True):
    """A request body for an upstream, and what could not be said in it. `may_think` as in `Peek`."""

    body: bytes
    losses: tuple[Loss, ...] = ()
    may_think: bool = True


class ReplyContext(msgspec.Struct, frozen=True, kw_only=True):
    """What an encoder may need that the reply itself does not say.

    `reply_id` is unique, which upstreams' ids need not be: Ollama has 999 of them and KoboldCpp one, and Claude Code takes the messages of
    one id for one message. `model` is the name the client asked for, `created_s` unix seconds.
    `tools` and `output` are those of the request, where it had to be decoded, and so is `compacts`, where the reply is of another dialect.
    `begun_id`: the id of a reply that has begun at the client in the upstream's own words, which are of the same dialect.
    """

    reply_id: str
    model: str
    created_s: int
    include_usage: bool = True
    tools: tuple[Tool, ...] = ()
    output: OutputFormat | None = None
    compacts: bool = False
    begun_id: str | None = None


class ModelEntry(msgspec.Struct, frozen=True, kw_only=True):
    """One line of a model list. `embeds`: it makes embeddings and no text; None: its list does not say."""

    id: str
    owned_by: str
    created_s: int = 0
    display_name: str | None = None
    input_token_limit: int | None = None
    output_token_limit: int | None = None
    embeds: bool | None = None


class StreamDecoder(Protocol):
    """An upstream's stream, frame by frame."""

    @property
    def finished(self) -> bool:
        """The reply would be whole if its stream ended here. False where the end itself is told."""
        ...

    @property
    def complete(self) -> bool:
        """Only its end is missing: it is `finished`, and never yet did more come behind that; or it is not, and has to repeat a failure."""
        ...

    def skims(self, frame: Frame) -> bytes:
        """Behind which bytes the text begins, for a further piece of text of a reply that has begun, as far as a look at its bytes tells;
        b"" for all else. Who passes them on, and listens for what else is said, need not `feed` it: that is most of a stream, and reading
        it is most of what listening costs.
        """
        ...

    def feed(self, frame: Frame) -> list[Event]:
        """Events of one frame. An error frame gives `Failed`. Raises `UpstreamProtocolError` for bytes that are not the dialect."""
        ...

    def end(self) -> list[Event]:
        """The upstream closed. Completes the events, or `Failed` if the reply was not whole."""
        ...


class StreamEncoder(Protocol):
    """A client's stream, event by event."""

    def encode(self, event: Event) -> bytes:
        """The bytes for one event, b"" when the dialect says nothing for it (yet)."""
        ...


class TokenCounter(Protocol):
    """A dialect's question how many tokens a request has."""

    def decode_request(self, body: bytes, peek: Peek, /) -> ChatRequest:
        """The request to be counted. Raises `InvalidRequest`."""
        ...

    def encode_request(self, request: ChatRequest, model: str, /) -> Encoded:
        """The question. Raises `Unrepresentable`."""
        ...

    def decode_reply(self, body: bytes) -> int:
        """Input tokens. Raises `UpstreamProtocolError`."""
        ...

    def encode_reply(self, input_tokens: int) -> bytes:
        """The answer."""
        ...


class EmbeddingCodec(Protocol):
    """A dialect's way to ask for vectors."""

    def decode_request(self, body: bytes, peek: Peek, /) -> EmbeddingRequest:
        """The whole request, checked. Raises `InvalidRequest` and `Unrepresentable`."""
        ...

    def encode_request(self, request: EmbeddingRequest, model: str, /) -> Encoded:
        """The body for an upstream that calls the model `model`."""
        ...

    def decode_reply(self, body: bytes) -> EmbeddingReply:
        """The vectors. Raises `UpstreamProtocolError`."""
        ...

    def hear_reply(self, body: bytes) -> Usage | None:
        """What was used, of a reply that goes to the client as it is. Raises `UpstreamProtocolError`."""
        ...

    def encode_reply(self, reply: EmbeddingReply, request: EmbeddingRequest, /) -> bytes:
        """The answer to that request."""
        ...


class Dialect(Protocol):
    """One wire format, both ends."""

    name: str
    routes: tuple[Route, ...]
    models_paths: tuple[str, ...]
    """Paths at which clients ask for the list of models."""
    client_headers: tuple[bytes, ...]
    """Headers that only this dialect's clients send; they tell who asks where two dialects share a path."""
    request_id_header: bytes | None
    """Where its clients look for a call's id; None where that is `x-request-id`, which every reply has."""
    overloaded_status: int
    """The status of a reply that says that the upstream has more to do than it can."""
    conversation: ConversationMarks
    """Where its clients say which conversation a call belongs to."""
    tells_media: bool
    """A reply may hold images and sounds."""
    awaits_results: bool
    """Who made a call waits for its result under the id that it gave."""
    stores_replies: bool
    """Its vendor keeps replies unless a request says that it should not."""
    known_fields: frozenset[str]
    """Names that the fields of a request may have; any other name is the client's own word and must not be logged."""
    keep_alive: bytes
    """Bytes that keep a client's stream alive and mean nothing: a whole event or comment, or `late_event.BEGINNING`."""

    @property
    def counter(self) -> TokenCounter | None:
        """None for a dialect in which tokens cannot be asked for."""
        ...

    @property
    def embedder(self) -> EmbeddingCodec | None:
        """None for a dialect without embeddings."""
        ...

    # --- requests
    def peek(self, body: bytes, target: str, query: str, /) -> Peek:
        """Model and stream flag. `target` is the path's rest ("" without one), `query` the raw query string. Raises `InvalidRequest`."""
        ...

    def decode_request(self, body: bytes, peek: Peek, /) -> ChatRequest:
        """The whole request, checked. Raises `InvalidRequest` naming the field, and `Unrepresentable` for what only its vendor can read."""
        ...

    def encode_request(self, request: ChatRequest, model: str, /) -> Encoded:
        """The body for an upstream that calls the model `model`. Streams always ask for usage. Raises `Unrepresentable`."""
        ...

    def forward_request(self, body: bytes, peek: Peek, model: str, /) -> bytes:
        """A client's own bytes for an upstream of the same dialect: the model renamed, usage asked for in streams, all else untouched."""
        ...

    def reasoning_of(self, body: bytes) -> str | None:
        """What a request body says about thinking, in a few words without content; None when it says nothing, and
        `UNREADABLE_REASONING` when nobody can tell. Never raises.
        """
        ...

    def apply_reasoning(self, body: bytes, reasoning: ReasoningConfig, model: str, /) -> Encoded:
        """A body of this dialect that asks for `reasoning` instead of what it says itself; all else untouched. Raises `InvalidRequest`."""
        ...

    # --- replies
    def decode_reply(self, body: bytes) -> list[Event]:
        """The events of a non-streamed reply, `Started` to `Done`. Raises `UpstreamProtocolError`."""
        ...

    def hear_reply(self, body: bytes) -> list[Event]:
        """The same for who passes the bytes on and only listens: what is said in it may be left out."""
        ...

    def stream_decoder(self) -> StreamDecoder:
        """A decoder for one streamed reply."""
        ...

    def encode_reply(self, reply: Reply, context: ReplyContext) -> bytes:
        """The body of a non-streamed reply."""
        ...

    def stream_encoder(self, context: ReplyContext) -> StreamEncoder:
        """An encoder for one streamed reply. `Failed` is encoded as the dialect's own error event."""
        ...

    def forward_frame(self, frame: Frame, events: Sequence[Event], peek: Peek, /) -> bytes:
        """A same-dialect frame on its way to the client: its own bytes, or b"" for a usage frame only we asked for. Behind one with the
        upstream's error stands what the dialect has behind ours."""
        ...

    # --- errors and lists
    def encode_error(self, error: FkproxyError, request_id: str) -> bytes:
        """The JSON body of an error reply; the status is `error.status`."""
        ...

    def decode_error(self, status: int, headers: Mapping[str, str], body: bytes) -> UpstreamError:
        """An upstream's error reply as one of ours, with Retry-After from wherever the vendor puts it."""
        ...

    def encode_models(self, models: list[ModelEntry]) -> bytes:
        """The list of models as this dialect shows it."""
        ...

    def decode_models(self, body: bytes) -> list[ModelEntry]:
        """An upstream's list of models. Raises `UpstreamProtocolError`."""
        ...
