"""OAuth tokens for Vertex AI, through google-auth. Floor 2. The only file with google-auth.

A token is good for an hour. It is fetched when first needed, then renewed in the background five minutes before its end while the
old one still serves; whoever needs one that is not there waits for the one fetch under way. google-auth blocks, so it works in a
thread. After a failed fetch the next one waits some seconds: a hundred calls a second must not become a hundred token requests.

Sources: google-auth's user guide (service account, authorized user, external account, metadata server), read 2026-11.
"""

from __future__ import annotations

import asyncio
import functools
import logging
import warnings
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import google.auth
import google.auth.exceptions
import google.auth.transport.requests
import requests

from fkproxy.adapters.base import CredentialStatus
from fkproxy.model.errors import UpstreamError, UpstreamRefusedCredential, UpstreamUnavailable

__all__ = ["GoogleTokens"]

_SCOPES = ("https://www.googleapis.com/auth/cloud-platform",)
_RENEW_BEFORE_S = 300.0
_USABLE_BEFORE_S = 10.0
_FETCH_TIMEOUT_S = 15.0
_RETRY_AFTER_S = 5.0
_SETTLED_AFTER_S = 30.0
"""A token refused sooner than this after it was fetched is not helped by another one."""

_UNREADABLE = (ValueError, TypeError, LookupError, AttributeError)
"""What google-auth raises besides its own errors for a 200 that is no answer of a token endpoint, such as a captive portal's page."""

logger = logging.getLogger("fkproxy.adapters.google_auth")


class GoogleTokens:
    """A cached access token. `credentials_file` None: whatever the machine offers. `hits` and `misses` count what callers found.

    Raises `ValueError` at once for a file that holds no credentials; the machine's own are asked for with the first token.
    """

    def __init__(self, *, credentials_file: Path | None, project_id: str | None, name: str = "") -> None:
        self.name = name
        self.hits = 0
        self.misses = 0
        self._project_id = project_id
        self._credentials: Any = None
        self._token = ""
        self._expires_s = 0.0
        self._refreshed_s = 0.0
        self._fetching: asyncio.Task[None] | None = None
        self._failed: UpstreamError | None = None
        self._failed_s = 0.0
        if credentials_file is not None:
            try:
                with warnings.catch_warnings():
                    # google-auth warns of files that strangers hand in; this one is the operator's own.
                    warnings.simplefilter("ignore", DeprecationWarning)
                    self._credentials, found = google.auth.load_credentials_from_file(  # type: ignore[no-untyped-call]  # it has no types
                        str(credentials_file), scopes=_SCOPES
                    )
            except (google.auth.exceptions.GoogleAuthError, ValueError, OSError) as error:
                raise ValueError(f"{credentials_file} is not a Google credentials file that can be used") from error
            self._project_id = project_id or found

    @property
    def project_id(self) -> str:
        """The project that calls go to; known once there is a token. Raises `UpstreamRefusedCredential` when nobody names one."""
        if not self._project_id:
            raise UpstreamRefusedCredential("no Google Cloud project is configured, and the credentials name none")
        return self._project_id

    @property
    def renewable(self) -> bool:
        """See `Credential.renewable`."""
        return True

    async def renew(self, refused: str, now: float) -> bool:
        """See `Credential.renew`."""
        if refused == self._token:
            if 0 <= now - self._refreshed_s < _SETTLED_AFTER_S and self._fetching is None:
                return False
            self._expires_s = 0.0
        try:
            return await self.token(now) != refused
        except UpstreamError:
            return False

    def describe(self, now: float) -> CredentialStatus:
        """See `Credential.describe`."""
        failed = isinstance(self._failed, UpstreamRefusedCredential)
        state: Literal["active", "refreshing", "reauth_required"] = "reauth_required" if failed else "active"
        return CredentialStatus(
            state="refreshing" if self._fetching is not None and now >= self._expires_s else state,
            expires_s=self._expires_s or None,
            refreshed_s=self._refreshed_s or None,
        )

    async def token(self, now: float) -> str:
        """See `Credential.token`. A token from the cache while it is good, renewed in the background before its end."""
        if now < self._expires_s - _RENEW_BEFORE_S:
            self.hits += 1
            return self._token
        if now < self._expires_s - _USABLE_BEFORE_S:
            self.hits += 1
            if self._fetching is None and not self._pauses(now):
                self._fetching = asyncio.create_task(self._fetch(now))
            return self._token
        self.misses += 1
        if self._fetching is None:
            if self._failed is not None and self._pauses(now):
                raise _again(self._failed)
            self._fetching = asyncio.create_task(self._fetch(now))
        # Shielded: the caller that began the fetch may hang up while others wait for it.
        await asyncio.shield(self._fetching)
        if self._failed is not None:
            raise _again(self._failed)
        return self._token

    def _pauses(self, now: float) -> bool:
        """It is too early to ask again. A clock that was set back has nobody wait until it is there again."""
        return 0 <= now - self._failed_s < _RETRY_AFTER_S

    async def _fetch(self, now: float) -> None:
        try:
            async with asyncio.timeout(_FETCH_TIMEOUT_S):
                self._token, self._expires_s = await asyncio.to_thread(self._refresh, now)
            self._failed, self._refreshed_s = None, now
        except (google.auth.exceptions.GoogleAuthError, TimeoutError, *_UNREADABLE) as error:
            self._failed, self._failed_s = _mapped(error), now
            logger.warning("no token for Vertex AI could be had", extra={"error_code": self._failed.code, "cause": type(error).__name__})
        finally:
            self._fetching = None

    def _refresh(self, now: float) -> tuple[str, float]:
        """In a thread: (token, unix seconds of its end)."""
        if self._credentials is None:
            self._credentials, found = google.auth.default(scopes=_SCOPES)
            self._project_id = self._project_id or found
        # The session is google-auth's own kind of transport; one a fetch, so that no idle connection is kept for an hour.
        with requests.Session() as session:
            request = google.auth.transport.requests.Request(session=session)
            self._credentials.refresh(functools.partial(request, timeout=_FETCH_TIMEOUT_S))
        token = self._credentials.token
        if not isinstance(token, str) or not token:
            raise ValueError("the answer of the token endpoint holds no token")
        expiry = self._credentials.expiry
        # google-auth gives the end in UTC without a zone.
        lasts_s = (expiry - datetime.now(UTC).replace(tzinfo=None)).total_seconds() if expiry is not None else 3600.0
        return token, now + lasts_s


def _again(error: UpstreamError) -> UpstreamError:
    """A fresh one: an exception that is raised twice keeps the frames of both, and with them what their calls held."""
    return type(error)(str(error))


def _mapped(error: Exception) -> UpstreamError:
    # A metadata server that is away, or an endpoint that has failed as often as it was asked again, is a RefreshError, too.
    passes = isinstance(error.__cause__, google.auth.exceptions.TransportError) or getattr(error, "retryable", False)
    if passes or isinstance(error, TimeoutError | google.auth.exceptions.TransportError):
        return UpstreamUnavailable("Google's token endpoint did not answer")
    if not isinstance(error, google.auth.exceptions.GoogleAuthError):
        return UpstreamUnavailable("Google's token endpoint gave no answer that can be read")
    return UpstreamRefusedCredential("Google gave no token for the gateway's own credentials")
