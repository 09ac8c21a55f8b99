"""An upstream's list of models, over HTTP. Floor 2."""

from __future__ import annotations

from fkproxy.adapters.http import HttpClient, Origin
from fkproxy.dialects.base import Dialect, ModelEntry

__all__ = ["fetch_models"]

_TIMEOUT_S = 10.0
_LIMIT_BYTES = 8 * 1024 * 1024


async def fetch_models(client: HttpClient, origin: Origin, target: str, headers: bytes, dialect: Dialect) -> list[ModelEntry]:
    """GET and decode. Raises `UpstreamError`."""
    status, reply_headers, body = await client.fetch(origin, "GET", target, headers, b"", timeout_s=_TIMEOUT_S, limit_bytes=_LIMIT_BYTES)
    if status != 200:
        raise dialect.decode_error(status, reply_headers, body)
    return dialect.decode_models(body)
