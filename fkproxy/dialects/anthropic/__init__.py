"""Anthropic Messages. Floor 1. Pure.

peek.py             what routing needs; a request on its way to a server of the same dialect
request.py          a request, decoded        blocks.py  its messages
request_encode.py   a request, encoded        turns.py   the order of its messages      blocks_encode.py  what is in them
                    schema.py  JSON Schema for it     thinking.py  effort, budget, modes     models.py  what the models differ in
response.py         a reply, decoded
response_encode.py  a reply, encoded
counting.py         a count of tokens, both ends
errors.py           errors, both ways
vertex.py           what clients of Claude on Vertex AI say otherwise
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from fkproxy.dialects.anthropic import errors, peek, request, request_encode, response, response_encode, thinking, vertex
from fkproxy.dialects.anthropic.counting import Counter
from fkproxy.dialects.base import Encoded, ModelEntry, Peek, Route
from fkproxy.dialects.conversation import ConversationMarks
from fkproxy.model.errors import FkproxyError, UpstreamProtocolError
from fkproxy.model.events import Event
from fkproxy.model.request import ChatRequest, Loss, ReasoningConfig
from fkproxy.wire import json, sse
from fkproxy.wire.sse import Frame
from fkproxy.wire.times import read_time

__all__ = ["DIALECT", "Anthropic"]


class Anthropic:
    """See `dialects.base.Dialect`."""

    name = request.NAME
    routes: tuple[Route, ...] = (
        Route("/v1/messages", "messages"),
        Route("/v1/messages/count_tokens", "count_tokens", "count_tokens"),
        *vertex.ROUTES,
    )
    models_paths: tuple[str, ...] = ("/v1/models",)
    client_headers: tuple[bytes, ...] = (b"anthropic-version",)
    request_id_header: bytes | None = b"request-id"
    # Claude Code 2.1 asks three times after a 529 before it takes its fallback model, and after a 503 once (tried 2026-11).
    overloaded_status = 529
    tells_media = False
    awaits_results = False
    stores_replies = False
    conversation = ConversationMarks(headers=(b"x-claude-code-session-id",), fields=("metadata.user_id",), opening=("system", "messages"))
    known_fields = request.KNOWN_FIELDS
    counter = Counter()
    embedder = None
    # The anthropic package (2.11, `_streaming.py`) passes over pings wherever they stand, also before message_start.
    keep_alive = sse.encode_event("ping", b'{"type": "ping"}')

    encode_request = staticmethod(request_encode.encode_request)
    # Usage is always told.
    forward_request = staticmethod(peek.forward_request)
    reasoning_of = staticmethod(thinking.reasoning_of)
    decode_reply = staticmethod(response.decode_reply)
    hear_reply = staticmethod(response.decode_reply)
    stream_decoder = response.StreamDecoder
    encode_reply = staticmethod(response_encode.encode_reply)
    stream_encoder = response_encode.StreamEncoder
    decode_error = staticmethod(errors.decode_error)
    encode_models = staticmethod(response_encode.encode_models)

    def peek(self, body: bytes, target: str, query: str) -> Peek:
        """See `Dialect.peek`."""
        return peek.peek(body)

    def decode_request(self, body: bytes, asked: Peek) -> ChatRequest:
        """See `Dialect.decode_request`."""
        return request.decode_request(body, asked.model)

    def apply_reasoning(self, body: bytes, config: ReasoningConfig, model: str) -> Encoded:
        """See `Dialect.apply_reasoning`."""
        losses: list[Loss] = []
        return Encoded(thinking.apply_reasoning(body, config, model, losses), tuple(losses))

    def forward_frame(self, frame: Frame, events: Sequence[Event], asked: Peek) -> bytes:
        """See `Dialect.forward_frame`."""
        return frame.raw

    def encode_error(self, error: FkproxyError, request_id: str) -> bytes:
        """See `Dialect.encode_error`."""
        return json.encode(errors.encode_error(error, request_id))

    def decode_models(self, body: bytes) -> list[ModelEntry]:
        """See `Dialect.decode_models`."""
        try:
            listed = msgspec.json.decode(body, type=_Models).data
        except json.MALFORMED as error:
            raise UpstreamProtocolError("the upstream's list of models is not one") from error
        return [
            ModelEntry(
                id=model.id,
                owned_by="anthropic",
                created_s=int(read_time(model.created_at) or 0),
                display_name=model.display_name,
                input_token_limit=model.max_input_tokens,
                output_token_limit=model.max_tokens,
            )
            for model in listed
        ]


class _Model(msgspec.Struct):
    id: str
    display_name: str | None = None
    created_at: Any = None
    max_input_tokens: int | None = None
    max_tokens: int | None = None


class _Models(msgspec.Struct):
    data: list[_Model]


DIALECT = Anthropic()
