"""Any server that speaks OpenAI chat completions: an address, a key, extra headers. Floor 2."""

from __future__ import annotations

from typing import Literal

from fkproxy.adapters.access import Access
from fkproxy.adapters.base import Exchange, UpstreamCall
from fkproxy.adapters.http import Address, HttpClient
from fkproxy.adapters.listing import fetch_models
from fkproxy.dialects.base import Dialect, ModelEntry, Operation

__all__ = ["OPENAI_BASE_URL", "OpenAiCompatible"]

OPENAI_BASE_URL = "https://api.openai.com/v1"

_OWN_HOST = "api.openai.com"
"""`eu.api.openai.com` and other regions' end in it, too."""

_PATHS = {"chat": "/chat/completions", "embeddings": "/embeddings"}
_RESPONSES_PATHS = {"chat": "/responses", "count_tokens": "/responses/input_tokens"}
_RESPONSES = "openai_responses"
_SPOKEN = {"chat_completions": ("openai_chat",), "responses": (_RESPONSES,), "both": ("openai_chat", _RESPONSES)}
"""The first is what others are translated into."""


class OpenAiCompatible:
    """The base URL ends where the vendor's documentation ends it, usually in `/v1`."""

    children = None

    def __init__(
        self,
        client: HttpClient,
        dialect: Dialect,
        access: Access,
        *,
        provider_key: str,
        models: tuple[str, ...],
        api: Literal["chat_completions", "responses", "both"] = "chat_completions",
    ) -> None:
        self.provider_key = provider_key
        self.models = models
        self.dialect, *also = _SPOKEN[api]
        self.spoken = frozenset((self.dialect, *also))
        self.credential = access.credential
        self._client = client
        self._codec = dialect
        self._access = access
        self._origin = access.origin
        self.address: Address = self._origin.address
        # Others that speak Responses say 404 to this, and that would be taken for a model that they do not have.
        counts = _RESPONSES in self.spoken and self.address.host.endswith(_OWN_HOST)
        self.operations: frozenset[Operation] = frozenset(("chat", "embeddings", "count_tokens") if counts else ("chat", "embeddings"))

    async def send(self, call: UpstreamCall) -> Exchange:
        """See `Adapter.send`."""
        path = (_RESPONSES_PATHS if call.dialect == _RESPONSES else _PATHS)[call.operation]
        return await self._client.send(self._origin, "POST", path, await self._access.block(call.client_headers), call.body)

    async def list_models(self) -> list[ModelEntry]:
        """See `Adapter.list_models`."""
        return await fetch_models(self._client, self._origin, "/models", await self._access.block(), self._codec)

    async def verify(self) -> None:
        """See `Adapter.verify`."""
        await self.list_models()

    async def aclose(self) -> None:
        """The client is shared and closed by its owner."""
