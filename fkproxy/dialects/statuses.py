"""What an upstream's error reply says in every dialect: by its status, and in what form. Floor 1. Pure."""

from __future__ import annotations

from typing import Any

from fkproxy.model.errors import (
    UpstreamError,
    UpstreamFailed,
    UpstreamOverloaded,
    UpstreamQuotaExhausted,
    UpstreamRateLimited,
    UpstreamRefusedCredential,
    UpstreamRejected,
    UpstreamUnavailable,
)
from fkproxy.wire import json

__all__ = ["MAX_MESSAGE_CHARS", "NO_QUOTA", "REFUSED", "error_of_status", "value_of"]

MAX_MESSAGE_CHARS = 1000
NO_QUOTA = "the quota of the gateway's account at the upstream is used up"
REFUSED = "the upstream refused the gateway's credential"
"""A refused credential's own words are not kept: they may quote the key."""


def value_of(body: bytes) -> Any:
    """The JSON value; of an array, which Google's servers make of it now and then, the first. None for what is no JSON."""
    try:
        value = json.loads(body)
    except ValueError:
        return None
    return value[0] if isinstance(value, list) and value else value


def error_of_status(status: int, words: str | None, wait_s: float | None, **said: Any) -> UpstreamError:
    """What a status means by itself. `said`: what else there is to say of a request that is wrong, see `UpstreamRejected`."""
    match status:
        case 401 | 403:
            return UpstreamRefusedCredential(REFUSED, upstream_status=status)
        case 402:
            return UpstreamQuotaExhausted(NO_QUOTA, retry_after_s=wait_s, upstream_status=status)
        case 408 | 504:
            return UpstreamUnavailable(words or "the upstream did not answer in time", upstream_status=status)
        case 429:
            return UpstreamRateLimited(words or "the upstream's rate limit is reached", retry_after_s=wait_s)
        case 503 | 529:
            return UpstreamOverloaded(words or "the upstream is overloaded", retry_after_s=wait_s, upstream_status=status)
        case _ if 400 <= status < 500:
            return UpstreamRejected(status, words or f"the upstream answered {status}", **said)
        case _:
            return UpstreamFailed(words or f"the upstream answered {status}", upstream_status=status)
