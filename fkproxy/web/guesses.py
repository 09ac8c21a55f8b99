"""Who sends wrong keys waits longer and longer, at whichever door. Floor 4."""

from __future__ import annotations

import time
from collections.abc import Callable

from fkproxy.control.strangers import Heard
from fkproxy.limits.failures import FREE, FailedAttempts
from fkproxy.model.errors import RateLimited
from fkproxy.web.peers import network, on_this_host, subscriber

__all__ = ["Guesses"]

_LONGEST_ON_THIS_HOST_S = 1.0


class Guesses:
    """One door's. `longest_s`: the most that anybody waits at it; this host itself a second at most, so that nobody on it can lock its
    operator out. `heard`: see `control.strangers`."""

    def __init__(
        self, longest_s: float | None = None, now: Callable[[], float] = time.monotonic, heard: Heard = lambda network, told: None
    ) -> None:
        self._longest_s = longest_s
        self._now = now
        self._heard = heard
        self._failures = FailedAttempts()

    def wait_s(self, peer: str) -> float:
        """Seconds until this peer's next key is looked at; 0.0 now."""
        return self._failures.wait_s(subscriber(peer), self._now())

    def check(self, peer: str) -> None:
        """Raises `RateLimited` while it has to wait."""
        wait_s = self.wait_s(peer)
        if wait_s > 0:
            raise RateLimited(wait_s, "too many wrong keys came from this address; wait before the next one")

    def failed(self, peer: str) -> None:
        """A wrong key came from this peer."""
        longest_s = _LONGEST_ON_THIS_HOST_S if on_this_host(peer) else self._longest_s
        count = self._failures.failed(subscriber(peer), self._now(), longest_s)
        if count in (1, FREE + 1):
            self._heard(network(peer), "refuse" if count == 1 else "slow_down")

    def succeeded(self, peer: str) -> None:
        """The right key came."""
        self._failures.succeeded(subscriber(peer))
