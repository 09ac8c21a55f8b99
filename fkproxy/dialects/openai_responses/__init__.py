"""OpenAI Responses. Floor 1. Pure.

peek.py             what routing needs; a request on its way to a server of the same dialect
request.py          a request, decoded        items.py  its items
compaction.py       a conversation that is made shorter
request_encode.py   a request, encoded
response.py         a reply, decoded
response_encode.py  a reply, encoded
counting.py         a count of tokens, both ends
"""

from __future__ import annotations

from collections.abc import Sequence

from fkproxy.dialects import openai_errors as errors
from fkproxy.dialects import openai_list
from fkproxy.dialects.base import Encoded, Peek, Route, StreamDecoder
from fkproxy.dialects.conversation import ConversationMarks
from fkproxy.dialects.openai_models import taken_effort
from fkproxy.dialects.openai_responses import peek, request, request_encode, response, response_encode
from fkproxy.dialects.openai_responses.counting import Counter
from fkproxy.model.errors import FkproxyError
from fkproxy.model.events import Event
from fkproxy.model.request import ChatRequest, Loss, ReasoningConfig
from fkproxy.wire import json, sse
from fkproxy.wire.sse import Frame

__all__ = ["DIALECT", "OpenAiResponses"]


class OpenAiResponses:
    """See `dialects.base.Dialect`."""

    name = request.NAME
    routes: tuple[Route, ...] = (
        Route("/v1/responses", "responses"),
        Route("/v1/responses/input_tokens", "input_tokens", "count_tokens"),
        # Where Azure has it: its clients name the model in the body.
        Route("/openai/responses", "responses_azure"),
        Route("/openai/v1/responses", "responses_azure_v1"),
    )
    models_paths: tuple[str, ...] = ()
    client_headers: tuple[bytes, ...] = ()
    request_id_header: bytes | None = None
    overloaded_status = 503
    tells_media = True
    awaits_results = False
    stores_replies = True
    conversation = ConversationMarks(
        replies=("previous_response_id",), fields=("conversation", "conversation.id", "prompt_cache_key"), opening=("instructions", "input")
    )
    known_fields = request.KNOWN_FIELDS
    keep_alive = sse.encode_comment("keep-alive")
    counter = Counter()
    embedder = None

    # Usage is always told.
    forward_request = staticmethod(peek.forward_request)
    reasoning_of = staticmethod(peek.reasoning_of)
    decode_reply = staticmethod(response.decode_reply)
    stream_decoder: type[StreamDecoder] = response.StreamDecoder
    encode_reply = staticmethod(response_encode.encode_reply)
    stream_encoder = staticmethod(response_encode.stream_encoder)
    decode_error = staticmethod(errors.decode_error)
    encode_models = staticmethod(openai_list.encode_models)
    decode_models = staticmethod(openai_list.decode_models)

    def peek(self, body: bytes, target: str, query: str) -> Peek:
        """See `Dialect.peek`."""
        return peek.peek(body)

    def decode_request(self, body: bytes, asked: Peek) -> ChatRequest:
        """See `Dialect.decode_request`."""
        return request.decode_request(body, asked.model)

    def encode_request(self, asked: ChatRequest, model: str) -> Encoded:
        """See `Dialect.encode_request`."""
        return request_encode.encode_request(asked, model)

    def apply_reasoning(self, body: bytes, config: ReasoningConfig, model: str) -> Encoded:
        """See `Dialect.apply_reasoning`."""
        losses: list[Loss] = []
        return Encoded(peek.apply_effort(body, taken_effort(config, model, losses)), tuple(losses))

    def hear_reply(self, body: bytes) -> list[Event]:
        """See `Dialect.hear_reply`."""
        return self.decode_reply(body)

    def forward_frame(self, frame: Frame, events: Sequence[Event], asked: Peek) -> bytes:
        """See `Dialect.forward_frame`."""
        return frame.raw

    def encode_error(self, error: FkproxyError, request_id: str) -> bytes:
        """See `Dialect.encode_error`."""
        return json.encode(errors.encode_error(error, request_id, of_responses=True))


DIALECT = OpenAiResponses()
