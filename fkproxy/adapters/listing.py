"""What is the same in all that is asked over HTTP, and an upstream's list of models. Floor 2."""

from __future__ import annotations

from functools import lru_cache, partial
from urllib.parse import quote

from fkproxy.adapters.access import Access
from fkproxy.adapters.http import Address, HttpClient
from fkproxy.dialects.base import Dialect, ModelEntry

__all__ = ["Listing", "OverHttp", "model_in_path"]

_TIMEOUT_S = 10.0
_LIMIT_BYTES = 8 * 1024 * 1024

model_in_path = lru_cache(maxsize=256)(partial(quote, safe="-._~@"))
"""A model's name as it stands in a path."""


class OverHttp:
    """An `Adapter` as far as it depends on its address alone."""

    children = None

    def __init__(self, client: HttpClient, access: Access, *, provider_key: str, models: tuple[str, ...]) -> None:
        self.provider_key = provider_key
        self.models = models
        self.credential = access.credential
        self._client = client
        self._access = access
        self._origin = access.origin
        self.address: Address = self._origin.address

    async def aclose(self) -> None:
        """The client is shared and closed by its owner."""


class Listing(OverHttp):
    """One with a list of models, at `models_target`."""

    models_target: str

    def __init__(self, client: HttpClient, dialect: Dialect, access: Access, *, provider_key: str, models: tuple[str, ...]) -> None:
        super().__init__(client, access, provider_key=provider_key, models=models)
        self._codec = dialect

    async def list_models(self) -> list[ModelEntry]:
        """See `Adapter.list_models`."""
        headers = await self._access.block()
        status, reply_headers, body = await self._client.fetch(
            self._origin, "GET", self.models_target, headers, b"", timeout_s=_TIMEOUT_S, limit_bytes=_LIMIT_BYTES
        )
        if status != 200:
            raise self._codec.decode_error(status, reply_headers, body)
        return self._codec.decode_models(body)

    async def verify(self) -> None:
        """See `Adapter.verify`."""
        await self.list_models()
