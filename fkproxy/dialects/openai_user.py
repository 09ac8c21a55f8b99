"""`user` in the requests of both OpenAI dialects. Floor 1. Pure."""

from __future__ import annotations

from hashlib import sha256

from fkproxy.model.request import Loss

__all__ = ["encode_user"]

_MAX_CHARS = 64
"""More is a 400, "Invalid 'user': string too long". What Claude Code sends as `metadata.user_id` has about 150."""


def encode_user(user: str, losses: list[Loss]) -> str:
    """The user's name, or its digest where that is too long: the same one for the same user, as OpenAI recommends."""
    if len(user) <= _MAX_CHARS:
        return user
    losses.append(Loss(field="user", action="converted"))
    return sha256(user.encode()).hexdigest()
