"""Any server that speaks OpenAI chat completions: an address, a key, extra headers. Floor 2."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from fkproxy.adapters.base import Exchange, UpstreamCall
from fkproxy.adapters.http import Address, HttpClient, header_block
from fkproxy.adapters.listing import fetch_models
from fkproxy.dialects.base import Dialect, ModelEntry, Operation

__all__ = ["OPENAI_BASE_URL", "OpenAiCompatible"]

OPENAI_BASE_URL = "https://api.openai.com/v1"


_PATHS = {"chat": "/chat/completions", "embeddings": "/embeddings"}
_RESPONSES = "openai_responses"
_SPOKEN = {"chat_completions": ("openai_chat",), "responses": (_RESPONSES,), "both": ("openai_chat", _RESPONSES)}
"""The first is what others are translated into."""


class OpenAiCompatible:
    """`base_url` ends where the vendor's documentation ends it, usually in `/v1`. `api_key` None: the server wants none."""

    operations: frozenset[Operation] = frozenset(("chat", "embeddings"))

    def __init__(
        self,
        client: HttpClient,
        dialect: Dialect,
        *,
        provider_key: str,
        base_url: str,
        api_key: str | None,
        models: tuple[str, ...],
        extra_headers: Mapping[str, str],
        user_agent: str,
        api: Literal["chat_completions", "responses", "both"] = "chat_completions",
    ) -> None:
        self.provider_key = provider_key
        self.models = models
        self.dialect, *also = _SPOKEN[api]
        self.spoken = frozenset((self.dialect, *also))
        self._client = client
        self._codec = dialect
        self._origin = client.origin(base_url)
        self.address: Address = self._origin.address
        headers = {"content-type": "application/json", "user-agent": user_agent}
        if api_key is not None:
            headers["authorization"] = f"Bearer {api_key}"
        headers.update({name.lower(): value for name, value in extra_headers.items()})
        self._headers = header_block(self._origin, tuple(headers.items()))

    async def send(self, call: UpstreamCall) -> Exchange:
        """See `Adapter.send`."""
        path = "/responses" if call.dialect == _RESPONSES else _PATHS[call.operation]
        return await self._client.send(self._origin, "POST", path, self._headers, call.body)

    async def list_models(self) -> list[ModelEntry]:
        """See `Adapter.list_models`."""
        return await fetch_models(self._client, self._origin, "/models", self._headers, self._codec)

    async def verify(self) -> None:
        """See `Adapter.verify`."""
        await self.list_models()

    async def aclose(self) -> None:
        """The client is shared and closed by its owner."""
