"""Credentials that do not change: a key, or none. Floor 2."""

from __future__ import annotations

from fkproxy.adapters.base import CredentialStatus

__all__ = ["StaticSecret"]


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
