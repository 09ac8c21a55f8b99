"""Gemini generateContent, as the Gemini API and Vertex AI share it. Floor 1. Pure.

request.py          a request, decoded     forward.py  on its way to a server of the same dialect
request_encode.py   a request, encoded     schema.py  JSON Schema for it     thinking.py  effort, budget, level
response.py         a reply, decoded
response_encode.py  a reply, encoded
errors.py           errors, both ways
counting.py         a count of tokens, both ends          embedding.py  embeddings, both ends
vertex.py           what clients of Vertex AI say otherwise
"""

from __future__ import annotations

from collections.abc import Sequence
from urllib.parse import parse_qs, unquote

import msgspec

from fkproxy.dialects.base import Encoded, ModelEntry, Operation, Peek, Route
from fkproxy.dialects.conversation import ConversationMarks
from fkproxy.dialects.gemini import errors, forward, request, request_encode, response, response_encode, thinking, vertex
from fkproxy.dialects.gemini.counting import Counter
from fkproxy.dialects.gemini.embedding import Embedder
from fkproxy.model.errors import FkproxyError, InvalidRequest, UpstreamProtocolError
from fkproxy.model.events import Event, Failed
from fkproxy.model.request import ChatRequest, Loss, ReasoningConfig
from fkproxy.wire import json, late_event
from fkproxy.wire.sse import Frame

__all__ = ["DIALECT", "Gemini"]

_METHODS: dict[str, Operation] = {
    "generateContent": "chat",
    "streamGenerateContent": "chat",
    "countTokens": "count_tokens",
    "embedContent": "embeddings",
    "batchEmbedContents": "embeddings",
}
_LISTED = frozenset(("generateContent", "embedContent"))
_ENDINGS = tuple(f":{name}" for name in _METHODS)


class Gemini:
    """See `dialects.base.Dialect`. The model and the method stand in the path: `{model}:{method}`."""

    name = request.NAME
    # google-genai 3.4 asks under v1; REST examples and command line tools ask under v1beta, and under v1alpha for what is new: by and by
    # v1beta, under which the API itself is asked, has that as well.
    routes: tuple[Route, ...] = (
        Route("/v1beta/models/{target}", "generate_content", endings=_ENDINGS),
        Route("/v1/models/{target}", "generate_content_v1", endings=_ENDINGS),
        Route("/v1alpha/models/{target}", "generate_content_v1alpha", endings=_ENDINGS),
        *(
            Route(f"/{version}/{where}publishers/google/models/{{target}}", f"{name}_{version}", endings=_ENDINGS, rewrite=vertex.rewrite)
            for version in ("v1beta1", "v1")
            for where, name in (("", "vertex_express"), ("projects/{project}/locations/{location}/", "vertex"))
        ),
    )
    models_paths: tuple[str, ...] = ("/v1beta/models", "/v1/models", "/v1alpha/models")
    client_headers: tuple[bytes, ...] = (b"x-goog-api-client", b"x-goog-api-key")
    request_id_header: bytes | None = None
    overloaded_status = 503
    tells_media = True
    awaits_results = False
    stores_replies = False
    conversation = ConversationMarks(fields=("cachedContent",), opening=("systemInstruction", "system_instruction", "contents"))
    known_fields = request.KNOWN_FIELDS
    counter = Counter()
    embedder = Embedder()
    keep_alive = late_event.BEGINNING

    encode_request = staticmethod(request_encode.encode_request)
    forward_request = staticmethod(forward.forward_request)
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
        model, colon, method = unquote(target).rpartition(":")
        if not colon or not model or method not in _METHODS:
            raise InvalidRequest(None, f"expected a path that ends in one of {', '.join(_ENDINGS)}")
        stream = method == "streamGenerateContent"
        array = stream and "sse" not in parse_qs(query).get("alt", ())
        operation = _METHODS[method]
        return Peek(model=model, stream=stream, json_array=array, operation=operation, variant=method if operation == "embeddings" else "")

    def decode_request(self, body: bytes, asked: Peek) -> ChatRequest:
        """See `Dialect.decode_request`."""
        return request.decode_request(body, asked.model, stream=asked.stream)

    def apply_reasoning(self, body: bytes, config: ReasoningConfig, model: str) -> Encoded:
        """See `Dialect.apply_reasoning`."""
        losses: list[Loss] = []
        return Encoded(thinking.apply_reasoning(body, config, model, losses), tuple(losses))

    def forward_frame(self, frame: Frame, events: Sequence[Event], asked: Peek) -> bytes:
        """See `Dialect.forward_frame`. An upstream's own error has behind it what ours have."""
        if events and type(events[-1]) is Failed and frame.data is not None:
            return frame.raw + response_encode.BROKEN_OFF
        return frame.raw

    def encode_error(self, error: FkproxyError, request_id: str) -> bytes:
        """See `Dialect.encode_error`."""
        return json.encode(errors.encode_error(error, request_id))

    def decode_models(self, body: bytes) -> list[ModelEntry]:
        """See `Dialect.decode_models`. Models that neither talk nor embed, such as those that only predict, are left out."""
        try:
            listed = msgspec.json.decode(body, type=_Models).models
        except json.MALFORMED as error:
            raise UpstreamProtocolError("the upstream's list of models is not one") from error
        return [
            ModelEntry(
                id=model.name.removeprefix("models/"),
                owned_by="google",
                display_name=model.display_name,
                input_token_limit=model.input_token_limit,
                output_token_limit=model.output_token_limit,
                embeds=None if model.methods is None else "generateContent" not in model.methods,
            )
            for model in listed
            if model.methods is None or not model.methods.isdisjoint(_LISTED)
        ]


class _Model(msgspec.Struct, rename="camel"):
    name: str
    display_name: str | None = None
    input_token_limit: int | None = None
    output_token_limit: int | None = None
    methods: frozenset[str] | None = msgspec.field(name="supportedGenerationMethods", default=None)


class _Models(msgspec.Struct):
    models: list[_Model] = []


DIALECT = Gemini()
