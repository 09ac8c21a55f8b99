"""The Gemini API and Vertex AI: addresses and credentials.

Floor 2.

Both speak the same dialect. The Gemini API takes a key, which goes in the `x-goog-api-key` header and never in a URL; Vertex AI
takes an OAuth token and has the project and the location in its path.
Sources: ai.google.dev/api/generate-content; cloud.google.com/vertex-ai/generative-ai/docs/model-reference/inference.
"""

from __future__ import annotations

from fkproxy.adapters.base import Exchange, UpstreamCall
from fkproxy.adapters.listing import Listing, model_in_path
from fkproxy.adapters.vertex import OverVertex
from fkproxy.dialects.base import ModelEntry, Operation
from fkproxy.wire import json

__all__ = ["GEMINI_BASE_URL", "GeminiApi", "VertexAi"]

GEMINI_BASE_URL = "https://generativelanguage.googleapis.com"

_VERTEX_MODELS = ("gemini-2.5-pro", "gemini-2.5-flash", "gemini-2.5-flash-lite")
"""Vertex AI has no list of what a project may call; these are generally available in every region (read 2026-11)."""

_COUNTED = frozenset(("contents", "tools", "systemInstruction", "system_instruction", "generationConfig", "generation_config"))
"""What Vertex AI's countTokens takes of a request; it reads either spelling of a name."""


def _method(call: UpstreamCall) -> str:
    model = model_in_path(call.model)
    if call.operation == "count_tokens":
        return f"{model}:countTokens"
    if call.operation == "embeddings":
        return f"{model}:{'embedContent' if call.variant == 'embedContent' else 'batchEmbedContents'}"
    return f"{model}:streamGenerateContent?alt=sse" if call.stream else f"{model}:generateContent"


class GeminiApi(Listing):
    """generativelanguage.googleapis.com, or whatever the base URL says."""

    dialect = "gemini"
    spoken = frozenset(("gemini",))
    operations: frozenset[Operation] = frozenset(("chat", "count_tokens", "embeddings"))
    models_target = "/v1beta/models?pageSize=1000"

    async def send(self, call: UpstreamCall) -> Exchange:
        """See `Adapter.send`."""
        return await self._client.send(
            self._origin, "POST", "/v1beta/models/" + _method(call), await self._access.block(call.client_headers), call.body
        )


class VertexAi(OverVertex):
    """One project in one location."""

    dialect = "gemini"
    spoken = frozenset(("gemini",))
    operations: frozenset[Operation] = frozenset(("chat", "count_tokens"))
    publisher = "google"

    async def send(self, call: UpstreamCall) -> Exchange:
        """See `Adapter.send`. Raises `UpstreamRefusedCredential` when no token can be had."""
        headers = await self._access.block(call.client_headers)
        body = _counted(call.body) if call.operation == "count_tokens" else call.body
        return await self._client.send(self._origin, "POST", self._path() + _method(call), headers, body)

    async def list_models(self) -> list[ModelEntry]:
        """See `Adapter.list_models`. A fixed list: the service has none per project."""
        return [ModelEntry(id=name, owned_by="google") for name in _VERTEX_MODELS]


def _counted(body: bytes) -> bytes:
    """A question for countTokens as Vertex AI reads it: the request itself, not one within another. Raises `InvalidRequest`."""
    fields = json.raw_fields(body)
    whole = json.inner_fields(fields, "generateContentRequest") or json.inner_fields(fields, "generate_content_request")
    if not whole:
        return body
    return json.encode({name: value for name, value in whole.items() if name in _COUNTED})
