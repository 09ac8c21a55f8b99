"""`TokenFile`: when the file is looked at, when its token is renewed, and what is said when that fails.

Floor 2.

A token serves until its end. It is renewed in the background some time before, by whoever asks for it; who needs one that is not
there, or was refused by the upstream, waits for the one renewal under way. The file is shared with other processes, the vendor's own
tools among them: a renewal happens under a lock, after a look whether somebody else did it already, and what others write counts.
After a failure the next attempt waits; a changed file ends the wait.
"""

from __future__ import annotations

import asyncio
import logging
import math
from pathlib import Path
from typing import Any, Literal

import msgspec

from fkproxy.adapters.base import CredentialStatus
from fkproxy.adapters.http import HttpClient
from fkproxy.adapters.token_file import disk, layout
from fkproxy.adapters.token_file.layout import Grant
from fkproxy.adapters.token_file.refresh import Encoding, refresh
from fkproxy.model.errors import UpstreamError, UpstreamRefusedCredential, UpstreamUnavailable

__all__ = ["TokenFile"]

_USABLE_BEFORE_S = 10.0
_LOOK_EVERY_S = 2.0
_LOCK_TIMEOUT_S = 20.0
"""Longer than the request that another process holds the lock for."""
_SETTLED_AFTER_S = 30.0
"""A token refused sooner than this after a renewal is not helped by another one."""
_PAUSES: dict[type[UpstreamError], tuple[float, float]] = {
    UpstreamRefusedCredential: (10.0, 300.0),
    UpstreamUnavailable: (5.0, 60.0),
}
"""What went wrong → seconds until the next attempt: the first pause, which doubles, and the longest."""

logger = logging.getLogger("fkproxy.adapters.token_file")


class TokenFile:
    """See `Credential`. What is given here counts before what the file says: of no vendor anything is built in.

    `renew_before_s`: how long before its end a token is renewed, and never more than half of its life. `encoding`: what the endpoint
    takes. `proxy`: see `HttpClient.origin`. Raises `ValueError` at once, without content, for a file that holds no tokens.
    """

    def __init__(
        self,
        client: HttpClient,
        *,
        name: str,
        path: Path,
        user_agent: str,
        token_endpoint: str | None = None,
        client_id: str | None = None,
        client_secret: str | None = None,
        scope: str | None = None,
        encoding: Encoding = "form",
        proxy: str | None = None,
        renew_before_s: float = 300.0,
    ) -> None:
        self.name = name
        self._client = client
        self._path = path
        self._user_agent = user_agent
        given = {"token_endpoint": token_endpoint, "client_id": client_id, "client_secret": client_secret, "scope": scope}
        self._given = {field: value for field, value in given.items() if value is not None}
        self._encoding = encoding
        self._proxy = proxy
        self._renew_before_s = renew_before_s
        self._looked_s = -math.inf
        self._seen_s: float | None = None
        self._refreshed_s: float | None = None
        self._refused: str | None = None
        self._refreshing: asyncio.Task[None] | None = None
        self._failure: UpstreamError | None = None
        self._failed_s = -math.inf
        self._pause_s = 0.0
        self._unwritable = False
        self._stamp: disk.Stamp | None
        try:
            data, self._stamp = disk.read(path)
            self._grant = self._on_disk = self._read(data)
        except OSError as error:
            raise ValueError(f"{path} cannot be read: {error.strerror}") from None
        except ValueError as error:
            raise ValueError(f"{path} is not a token file that can be used: {error}") from None

    @property
    def renewable(self) -> bool:
        """See `Credential.renewable`."""
        return self._grant.refresh_token is not None and self._grant.token_endpoint is not None

    async def token(self, now: float) -> str:
        """See `Credential.token`."""
        await self._look(now)
        if self._seen_s is None:
            self._seen_s = now
        if self._usable(now):
            if self._refreshing is None and self.renewable and now >= self._renewal_s and not self._pauses(now):
                self._begin(now)
            return self._grant.access_token
        if not self.renewable:
            raise UpstreamRefusedCredential("the token has ended, and the token file holds nothing to renew it with")
        if self._refreshing is None:
            if self._failure is not None and self._pauses(now):
                raise _again(self._failure)
            self._begin(now)
        await self._refreshed()
        if self._failure is not None:
            raise _again(self._failure)
        return self._grant.access_token

    async def renew(self, refused: str, now: float) -> bool:
        """See `Credential.renew`. From then on the refused token is not given any more, unless there cannot be another."""
        if self._grant.access_token == refused:
            await self._look(now, at_once=True)
        if self._grant.access_token != refused:
            return True
        settling = self._refreshed_s is not None and 0 <= now - self._refreshed_s < _SETTLED_AFTER_S
        if not self.renewable or (self._refreshing is None and (settling or self._pauses(now))):
            return False
        self._refused = refused
        if self._refreshing is None:
            self._begin(now)
        await self._refreshed()
        return self._grant.access_token != refused

    def describe(self, now: float) -> CredentialStatus:
        """See `Credential.describe`."""
        usable = self._usable(now)
        state: Literal["active", "refreshing", "reauth_required"]
        if isinstance(self._failure, UpstreamRefusedCredential) or not (usable or self.renewable):
            state = "reauth_required"
        else:
            state = "active" if usable and self._refreshing is None else "refreshing"
        refreshed_s = self._refreshed_s if self._refreshed_s is not None else self._grant.issued_s
        return CredentialStatus(state=state, expires_s=self._grant.expires_s, refreshed_s=refreshed_s)

    async def aclose(self) -> None:
        """Wait for the renewal under way, which is bounded: the endpoint may have voided the old refresh token already."""
        if self._refreshing is not None:
            await asyncio.wait((self._refreshing,))

    # --- the token held

    def _usable(self, now: float) -> bool:
        grant = self._grant
        if not grant.access_token or grant.access_token == self._refused:
            return False
        return grant.expires_s is None or now < grant.expires_s - min(_USABLE_BEFORE_S, self._life_s / 10)

    @property
    def _life_s(self) -> float:
        """From its issue, or from when it was first seen, to its end."""
        grant = self._grant
        born_s = grant.issued_s if grant.issued_s is not None else self._seen_s
        return math.inf if grant.expires_s is None or born_s is None else max(0.0, grant.expires_s - born_s)

    @property
    def _renewal_s(self) -> float:
        return math.inf if self._grant.expires_s is None else self._grant.expires_s - min(self._renew_before_s, self._life_s / 2)

    # --- the file

    def _read(self, data: bytes) -> Grant:
        """Raises `ValueError` without content."""
        grant: Grant = msgspec.structs.replace(layout.read(layout.parse(data)), **self._given)
        if grant.token_endpoint is not None:
            self._client.endpoint(grant.token_endpoint, proxy=self._proxy)
        return grant

    async def _look(self, now: float, *, at_once: bool = False) -> None:
        """Take what others wrote, unless a renewal is about to do so itself."""
        # Not only below: a clock that was set back must not end the looking.
        if self._refreshing is None and (at_once or not 0 <= now - self._looked_s < _LOOK_EVERY_S):
            self._looked_s = now
            await self._take_changes()

    async def _take_changes(self) -> None:
        found = disk.stamp(self._path)
        if found == self._stamp:
            return
        try:
            data, stamp = await asyncio.to_thread(disk.read, self._path)
            grant = self._read(data)
        except (OSError, ValueError) as error:
            self._stamp = found
            logger.warning(
                "the token file has changed and cannot be used; the tokens that it held still are",
                extra={"credential": self.name, "cause": type(error).__name__},
            )
            return
        # A file that only got a new date does not bring back tokens that could not be written into it.
        self._hold(grant if grant != self._on_disk else self._grant)
        self._stamp, self._on_disk = stamp, grant

    def _hold(self, grant: Grant) -> None:
        """Serve this one; what went wrong with the last is forgotten."""
        self._grant = grant
        self._seen_s = None
        self._failure, self._failed_s, self._pause_s = None, -math.inf, 0.0

    # --- renewal

    def _pauses(self, now: float) -> bool:
        """It is too early to ask again. A clock that was set back has nobody wait until it is there again."""
        return 0 <= now - self._failed_s < self._pause_s

    def _begin(self, now: float) -> None:
        self._refreshing = asyncio.create_task(self._refresh(now))

    async def _refreshed(self) -> None:
        """When the renewal under way has ended, well or not."""
        if self._refreshing is not None:
            # Shielded: the caller that began it may hang up while others wait for it.
            await asyncio.shield(self._refreshing)

    async def _refresh(self, now: float) -> None:
        held = self._grant
        try:
            async with disk.locked(self._path, _LOCK_TIMEOUT_S):
                await self._take_changes()
                # The second time only when somebody signed in during the first, with a token that has to be fetched.
                for _ in range(2):
                    if self._grant is held or not self._usable(now):
                        await self._ask(now)
        except (UpstreamRefusedCredential, UpstreamUnavailable) as error:
            self._fail(error, now)
        finally:
            self._refreshing = None

    async def _ask(self, now: float) -> None:
        before = self._grant
        reply = await refresh(self._client, before, encoding=self._encoding, user_agent=self._user_agent, proxy=self._proxy)
        try:
            grant = layout.read_reply(reply, before, now)
        except ValueError as error:
            raise UpstreamUnavailable("the token endpoint gave no token that can be used") from error
        try:
            stored = await asyncio.to_thread(_store, self._path, self._stamp, before, grant, reply)
            on_disk = None if stored is None else self._read(stored[1])
        except (OSError, ValueError) as error:
            if not self._unwritable:
                logger.warning(
                    "the token file cannot be written; its new tokens are lost when the gateway stops",
                    extra={"credential": self.name, "cause": type(error).__name__},
                )
            self._unwritable = True
        else:
            self._unwritable = False
            if stored is None or on_disk is None:
                await self._take_changes()
                return
            self._stamp, self._on_disk = stored[0], on_disk
        self._hold(grant)
        # Given again although it was refused: the endpoint has no other.
        self._refused = None
        self._refreshed_s = self._seen_s = now

    def _fail(self, error: UpstreamError, now: float) -> None:
        first_s, longest_s = _PAUSES[type(error)]
        self._pause_s = min(longest_s, self._pause_s * 2) if type(self._failure) is type(error) else first_s
        self._failure, self._failed_s = error, now
        logger.warning("no new token could be had", extra={"credential": self.name, "error_code": error.code})


def _store(path: Path, known: disk.Stamp | None, before: Grant, grant: Grant, reply: dict[str, Any]) -> tuple[disk.Stamp, bytes] | None:
    """In a thread: write the new tokens into the file as it is now. None when somebody signed in meanwhile: then the file counts.

    Raises `OSError` and `ValueError`.
    """
    data, stamp = disk.read(path)
    document = layout.parse(data)
    if stamp != known and layout.read(document).refresh_token != before.refresh_token:
        return None
    data = layout.render(layout.updated(document, grant, reply), data)
    return disk.write(path, data), data


def _again(error: UpstreamError) -> UpstreamError:
    """A fresh one: an exception that is raised twice keeps the frames of both."""
    return type(error)(str(error), upstream_status=error.upstream_status)
