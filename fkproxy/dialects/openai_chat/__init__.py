"""OpenAI chat completions. Floor 1. Pure.

peek.py             what routing needs; a request on its way to a server of the same dialect
request.py          a request, decoded        parts.py   its messages
request_encode.py   a request, encoded          mistral.py   as one vendor wants it
response.py         a reply, decoded
response_encode.py  a reply, encoded
embedding.py        embeddings, both ends
azure.py            what clients of Azure OpenAI say otherwise
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from fkproxy.dialects import openai_errors as errors
from fkproxy.dialects import openai_list
from fkproxy.dialects.base import Encoded, Peek, ReplyContext, Route
from fkproxy.dialects.conversation import ConversationMarks
from fkproxy.dialects.openai_chat import azure, peek, reasoning, request, request_encode, response, response_encode
from fkproxy.dialects.openai_chat.embedding import Embedder
from fkproxy.dialects.openai_models import taken_effort
from fkproxy.model.errors import FkproxyError
from fkproxy.model.events import Event
from fkproxy.model.request import ChatRequest, Loss, ReasoningConfig
from fkproxy.wire import json, sse
from fkproxy.wire.sse import Frame

__all__ = ["DIALECT", "OpenAiChat"]


class OpenAiChat:
    """See `dialects.base.Dialect`."""

    name = request.NAME
    routes: tuple[Route, ...] = (
        Route("/v1/chat/completions", "chat_completions"),
        Route("/v1/embeddings", "embeddings", "embeddings"),
        *azure.routes("/chat/completions", "chat_completions"),
        *azure.routes("/embeddings", "embeddings", "embeddings"),
    )
    models_paths: tuple[str, ...] = ("/v1/models",)
    client_headers: tuple[bytes, ...] = ()
    request_id_header: bytes | None = None
    overloaded_status = 503
    tells_media = True
    awaits_results = False
    stores_replies = False
    conversation = ConversationMarks(fields=("prompt_cache_key", "conversation_id", "user"), opening=("messages",))
    known_fields = request.KNOWN_FIELDS
    counter = None
    embedder = Embedder()
    keep_alive = sse.encode_comment("keep-alive")

    encode_request = staticmethod(request_encode.encode_request)
    forward_request = staticmethod(peek.forward_request)
    reasoning_of = staticmethod(reasoning.reasoning_of)
    decode_reply = staticmethod(response.decode_reply)
    hear_reply = staticmethod(response.hear_reply)
    stream_decoder = response.StreamDecoder
    encode_reply = staticmethod(response_encode.encode_reply)
    decode_error = staticmethod(errors.decode_error)
    encode_models = staticmethod(openai_list.encode_models)
    decode_models = staticmethod(openai_list.decode_models)

    def peek(self, body: bytes, target: str, query: str) -> Peek:
        """See `Dialect.peek`."""
        return peek.peek(body)

    def decode_request(self, body: bytes, asked: Peek) -> ChatRequest:
        """See `Dialect.decode_request`."""
        return request.decode_request(body, asked.model)

    def apply_reasoning(self, body: bytes, config: ReasoningConfig, model: str) -> Encoded:
        """See `Dialect.apply_reasoning`."""
        losses: list[Loss] = []
        return Encoded(reasoning.apply_effort(body, taken_effort(config, model, losses)), tuple(losses))

    def stream_encoder(self, context: ReplyContext) -> response_encode.StreamEncoder:
        """See `Dialect.stream_encoder`."""
        return response_encode.StreamEncoder(context)

    def forward_frame(self, frame: Frame, events: Sequence[Event], asked: Peek) -> bytes:
        """See `Dialect.forward_frame`. A usage frame is one without choices."""
        if asked.include_usage or frame.data is None or frame.data.find(b'"usage"') < 0 or _Choices.present(frame.data):
            return frame.raw
        return b""

    def encode_error(self, error: FkproxyError, request_id: str) -> bytes:
        """See `Dialect.encode_error`."""
        return json.encode(errors.encode_error(error, request_id))


class _Choices(msgspec.Struct):
    choices: list[msgspec.Raw] | None = None
    error: Any = None

    @staticmethod
    def present(data: bytes) -> bool:
        """The chunk says something besides its usage."""
        try:
            chunk = msgspec.json.decode(data, type=_Choices)
        except json.MALFORMED:
            return True
        return bool(chunk.choices) or chunk.error is not None


DIALECT = OpenAiChat()
