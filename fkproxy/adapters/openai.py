"""Any server that speaks OpenAI chat completions: an address, a key, extra headers. Floor 2."""

from __future__ import annotations

from typing import Literal

from fkproxy.adapters.access import Access
from fkproxy.adapters.base import Exchange, UpstreamCall
from fkproxy.adapters.http import HttpClient
from fkproxy.adapters.listing import Listing
from fkproxy.dialects.base import Dialect, Operation

__all__ = ["OPENAI_BASE_URL", "OpenAiCompatible"]

OPENAI_BASE_URL = "https://api.openai.com/v1"

_OWN_HOST = "api.openai.com"
"""`eu.api.openai.com` and other regions' end in it, too."""

_PATHS = {"chat": "/chat/completions", "embeddings": "/embeddings"}
_RESPONSES_PATHS = {"chat": "/responses", "count_tokens": "/responses/input_tokens"}
_RESPONSES = "openai_responses"
_SPOKEN = {"chat_completions": ("openai_chat",), "responses": (_RESPONSES,), "both": ("openai_chat", _RESPONSES)}
"""The first is what others are translated into."""


class OpenAiCompatible(Listing):
    """The base URL ends where the vendor's documentation ends it, usually in `/v1`."""

    models_target = "/models"

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
        super().__init__(client, dialect, access, provider_key=provider_key, models=models)
        self.dialect, *also = _SPOKEN[api]
        self.spoken = frozenset((self.dialect, *also))
        # Others that speak Responses say 404 to this, and that would be taken for a model that they do not have.
        counts = _RESPONSES in self.spoken and self.address.host.endswith(_OWN_HOST)
        self.operations: frozenset[Operation] = frozenset(("chat", "embeddings", "count_tokens") if counts else ("chat", "embeddings"))

    async def send(self, call: UpstreamCall) -> Exchange:
        """See `Adapter.send`."""
        path = (_RESPONSES_PATHS if call.dialect == _RESPONSES else _PATHS)[call.operation]
        return await self._client.send(self._origin, "POST", path, await self._access.block(call.client_headers), call.body)
