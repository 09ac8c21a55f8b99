"""Where an upstream is, and the headers of every request to it: credential, the operator's own, the client's that may pass. Floor 2."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping, Sequence

from fkproxy.adapters.base import Credential
from fkproxy.adapters.http import Origin, header_block
from fkproxy.adapters.secret import StaticSecret

__all__ = ["Access"]

_CLIENT_VALUE = re.compile(rb"[\x20-\x7e\x80-\xff]{0,1024}")


class Access:
    """The header block is rendered again only when the credential's token is a new one.

    `auth_header`: the header the token goes into; in `authorization` it is a bearer token, elsewhere it stands alone. `fixed` come with
    every request; of several with one name the last one counts. `client_headers`: names of a client's headers that are passed on, but
    for that of the token. Raises `ValueError`, without the value, for a header that cannot be sent.
    """

    __slots__ = ("_block", "_client_headers", "_fixed", "_now", "_settled", "_token", "auth_header", "credential", "origin")

    def __init__(
        self,
        origin: Origin,
        credential: Credential,
        *,
        auth_header: str,
        fixed: Sequence[tuple[str, str]],
        client_headers: Sequence[str] = (),
        now: Callable[[], float] = time.time,
    ) -> None:
        self.origin = origin
        self.credential = credential
        self.auth_header = auth_header.lower()
        self._fixed = {name.lower(): value for name, value in fixed}
        self._client_headers = dict.fromkeys(name.lower().encode() for name in client_headers if name.lower() != self.auth_header)
        self._now = now
        self._token: str | None = None
        self._block = header_block(origin, tuple(self._fixed.items()))
        self._settled = isinstance(credential, StaticSecret)
        if isinstance(credential, StaticSecret):
            self._render(credential.value)

    async def block(self, client_headers: Mapping[bytes, bytes] | None = None) -> bytes:
        """The lines for one request. Raises as `Credential.token`."""
        if not self._settled:
            token = await self.credential.token(self._now())
            if token != self._token:
                self._render(token)
        if not self._client_headers or client_headers is None or self._client_headers.keys().isdisjoint(client_headers):
            return self._block
        return self._block + b"".join(
            b"%b: %b\r\n" % (name, value)
            for name in self._client_headers
            if (value := client_headers.get(name)) is not None and _CLIENT_VALUE.fullmatch(value) and name.decode() not in self._fixed
        )

    def _render(self, token: str) -> None:
        value = f"Bearer {token}" if self.auth_header == "authorization" else token
        own = {self.auth_header: value} if token else {}
        self._block = header_block(self.origin, tuple((own | self._fixed).items()))
        self._token = token
