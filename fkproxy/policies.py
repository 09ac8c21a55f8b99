"""What holds for every call, from the settings. Floor 4.

Limits that count are kept from one change of the settings to the next where they stay the same: to change a timeout gives nobody a full
bucket.
"""

from __future__ import annotations

from typing import Any

from fkproxy.adapters.base import Timeouts
from fkproxy.attempts import RetryPolicy
from fkproxy.call import StreamPolicy
from fkproxy.gateway import CallPolicies
from fkproxy.intake import Intake
from fkproxy.limits.bucket import Buckets
from fkproxy.limits.tokens import TokenMeters
from fkproxy.settings import Settings
from fkproxy.turnstile import Turnstile

__all__ = ["Policies"]


class Policies:
    """Remembers what it made, and from which values."""

    def __init__(self) -> None:
        self._made: dict[type, tuple[tuple[float, ...], Any]] = {}

    def of(self, settings: Settings) -> CallPolicies:
        """Everything for `Gateway.tune`."""
        rate, timeout, stream, routing = settings.rate_limit, settings.timeout, settings.stream, settings.routing
        concurrency = settings.concurrency
        calls = concurrency.max_calls_per_key
        return CallPolicies(
            buckets=self._kept(Buckets, rate.capacity, rate.refill_per_second) if rate.enabled else None,
            meters=self._kept(TokenMeters, rate.tokens_per_minute) if rate.tokens_per_minute else None,
            turnstile=self._kept(Turnstile, calls, routing.max_wait_secs) if calls else None,
            # Half of its time: who gets in has to send yet.
            intake=self._kept(Intake, concurrency.max_body_bytes, timeout.first_byte_secs / 2),
            timeouts=Timeouts(
                connect_s=timeout.connect_secs,
                first_byte_s=timeout.first_byte_secs,
                silence_s=timeout.silence_secs,
                stall_s=timeout.stall_secs,
                total_s=timeout.total_secs,
            ),
            stream=StreamPolicy(keep_alive_s=stream.keep_alive_secs, commit_after_s=stream.commit_after_secs),
            retries=RetryPolicy(max_attempts=routing.max_attempts, max_wait_s=routing.max_wait_secs, total_s=timeout.total_secs),
            max_request_bytes=settings.server.max_request_size,
        )

    def _kept(self, kind: type, *values: float) -> Any:
        if kind not in self._made or self._made[kind][0] != values:
            self._made[kind] = (values, kind(*values))
        return self._made[kind][1]
