"""The request to the token endpoint: RFC 6749 §6.

Floor 2.

No error says what was sent or what came back: both hold secrets.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal
from urllib.parse import urlencode

from fkproxy.adapters.http import HttpClient
from fkproxy.adapters.token_file.layout import Grant
from fkproxy.model.errors import UpstreamError, UpstreamProtocolError, UpstreamRefusedCredential, UpstreamUnavailable
from fkproxy.wire import json

__all__ = ["Encoding", "refresh"]

Encoding = Literal["form", "json"]

_TIMEOUT_S = 15.0
_LIMIT_BYTES = 64 * 1024

_REFUSALS = (400, 401, 403)
"""RFC 6749 §5.2 knows 400 and 401 only; some say 403."""


def _form(fields: Mapping[str, str]) -> bytes:
    return urlencode(fields).encode()


_ENCODINGS: dict[Encoding, tuple[str, Callable[[Mapping[str, str]], bytes]]] = {
    "form": ("application/x-www-form-urlencoded", _form),
    "json": ("application/json", json.encode),
}
"""RFC 6749 §6 says form; some vendors take JSON only."""


async def refresh(client: HttpClient, grant: Grant, *, encoding: Encoding, user_agent: str, proxy: str | None = None) -> dict[str, Any]:
    """The endpoint's reply. `proxy`: see `HttpClient.origin`.

    Raises `UpstreamRefusedCredential`, and `UpstreamUnavailable` for everything that may pass.
    """
    if grant.refresh_token is None or grant.token_endpoint is None:
        raise UpstreamRefusedCredential("the token file holds nothing to renew its token with")
    fields = {
        "grant_type": "refresh_token",
        "refresh_token": grant.refresh_token,
        "client_id": grant.client_id,
        "client_secret": grant.client_secret,
        "scope": grant.scope,
    }
    content_type, encode = _ENCODINGS[encoding]
    headers = (("content-type", content_type), ("accept", "application/json"), ("user-agent", user_agent))
    origin, target = client.endpoint(grant.token_endpoint, proxy=proxy)
    body = encode({name: value for name, value in fields.items() if value})
    try:
        status, _, data = await client.fetch(origin, "POST", target, headers, body, timeout_s=_TIMEOUT_S, limit_bytes=_LIMIT_BYTES)
    except UpstreamError as error:
        raise UpstreamUnavailable("the token endpoint did not answer as it should") from error
    return _judged(status, data)


def _judged(status: int, data: bytes) -> dict[str, Any]:
    try:
        reply = json.decode_reply(data)
    except UpstreamProtocolError:
        reply = {}
    # Some send an OAuth error with status 200.
    if status in _REFUSALS or reply.get("error") == "invalid_grant" or (status == 200 and reply.get("error")):
        raise UpstreamRefusedCredential("the token endpoint refused the refresh token", upstream_status=status)
    if status != 200 or not reply:
        raise UpstreamUnavailable("the token endpoint gave no token", upstream_status=status)
    return reply
