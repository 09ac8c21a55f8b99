"""Credentials that do not change: a key, or none. Floor 2."""

from __future__ import annotations

from collections.abc import Iterable

from fkproxy.adapters.base import Credential, CredentialStatus
from fkproxy.model.errors import UpstreamError, UpstreamRejected

__all__ = ["StaticSecret", "secrets_of", "withhold", "without"]

_LEAST_CHARS = 8
"""What is shorter is no secret, and stands in any text."""


class StaticSecret:
    """A value as the operator gave it; "" for an upstream that wants none."""

    renewable = False

    def __init__(self, name: str, value: str) -> None:
        self.name = name
        self.value = value

    async def token(self, now: float) -> str:
        """See `Credential.token`."""
        return self.value

    async def renew(self, refused: str, now: float) -> bool:
        """See `Credential.renew`."""
        return False

    def describe(self, now: float) -> CredentialStatus:
        """See `Credential.describe`."""
        return CredentialStatus()


def secrets_of(*credentials: Credential) -> tuple[str, ...]:
    """What must not go to callers, the longest first: one may be a part of another.

    Tokens that are renewed are left: they end by themselves, and no vendor's reply is known that holds one.
    """
    found = [each.value for each in credentials if isinstance(each, StaticSecret) and len(each.value) >= _LEAST_CHARS]
    return tuple(sorted(found, key=len, reverse=True))


def withhold(error: UpstreamError, secrets: Iterable[str]) -> None:
    """Take the secrets out of what an upstream said: some repeat what they were sent, and their words go to callers."""
    for secret in secrets:
        error.args = tuple(each.replace(secret, "…") if isinstance(each, str) else each for each in error.args)
        if isinstance(error, UpstreamRejected):
            error.param = error.param.replace(secret, "…") if error.param is not None else None
            error.native_code = error.native_code.replace(secret, "…") if error.native_code is not None else None
            error.details = error.details.replace(secret, "…") if error.details is not None else None


def without(said: bytes, secrets: Iterable[str]) -> bytes:
    """An upstream's own bytes, the same taken out of them, also with the slashes escaped as some servers write JSON."""
    for secret in secrets:
        plain = secret.encode()
        for form in (plain, plain.replace(b"/", rb"\/")):
            said = said.replace(form, b"\xe2\x80\xa6")
    return said
