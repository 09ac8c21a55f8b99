"""Credentials that do not change: a key, or none. Floor 2."""

from __future__ import annotations

from fkproxy.adapters.base import Credential, CredentialStatus
from fkproxy.model.errors import UpstreamError, UpstreamRejected

__all__ = ["StaticSecret", "withhold"]

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


def withhold(error: UpstreamError, credential: Credential) -> None:
    """Take the secret out of what an upstream said: some repeat what they were sent, and their words go to callers.

    Tokens that are renewed are left: they end by themselves, and no vendor's reply is known that holds one.
    """
    secret = credential.value if isinstance(credential, StaticSecret) else ""
    if len(secret) < _LEAST_CHARS:
        return
    error.args = tuple(each.replace(secret, "…") if isinstance(each, str) else each for each in error.args)
    if isinstance(error, UpstreamRejected):
        error.param = error.param.replace(secret, "…") if error.param is not None else None
        error.native_code = error.native_code.replace(secret, "…") if error.native_code is not None else None
