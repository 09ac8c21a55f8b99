"""The circuit breaker: stop asking an upstream that keeps failing, and find out with one call at a time when it is back.

Floor 1. Pure.

    state        what happens                                          next        reason
    closed       the last `failure_threshold` failures lie within
                 `window_s`                                            open        failure_threshold
    open         `open_s` have passed                                  half_open   cooled_down
    open         a caller has nowhere else to go (`force`)             half_open   forced
    any other    an operator says so (`reset`)                         closed      reset
    half_open    a probe fails                                         open        probe_failed
    half_open    `success_threshold` probes have succeeded             closed      probes_succeeded

Closed lets every call through, open none, half-open one probe at a time. Successes do not undo failures in the closed state: an
upstream that fails half of its calls is failing.

A call holds a `Permit` and reports on it once. Every change of state starts a generation, and a report from an earlier one says
nothing about the present: calls sent before the breaker opened fail late and in numbers, and would otherwise open it again. A
probe that is not reported within `probe_timeout_s` is given up, and its place goes to the next call; its success counts when it does
come, or an upstream whose every answer takes longer would be half-open for ever.

Its clock is a `ForwardClock`: no step of the caller's can freeze it or stretch a cooldown beyond `open_s` of further waiting.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Literal, get_args

import msgspec

from fkproxy.limits.changes import CHANGES
from fkproxy.limits.forward import ForwardClock

__all__ = ["REASONS", "STATES", "Breaker", "Observer", "Permit", "Reason", "State"]

State = Literal["closed", "open", "half_open"]
Reason = Literal["failure_threshold", "cooled_down", "forced", "probe_failed", "probes_succeeded", "reset"]
Observer = Callable[[State, State, Reason], None]
"""Told of every change, `(old, new, reason)`, after it has happened. It must not raise."""

_TRANSITIONS: dict[tuple[State, Reason], State] = {
    ("closed", "failure_threshold"): "open",
    ("open", "cooled_down"): "half_open",
    ("open", "forced"): "half_open",
    ("half_open", "probe_failed"): "open",
    ("half_open", "probes_succeeded"): "closed",
    ("open", "reset"): "closed",
    ("half_open", "reset"): "closed",
}

STATES: tuple[State, ...] = ("closed", "open", "half_open")
REASONS: tuple[Reason, ...] = get_args(Reason)

_PROBE_RETRY_S = 1.0
"""What a caller is told to wait while a probe is out: its answer may come at any moment."""


class Permit(msgspec.Struct, frozen=True, gc=False, eq=False):
    """Leave for one call, to be reported once with `success`, `failure` or `release`."""

    generation: int
    probe: bool = False


def _ignore(old: State, new: State, reason: Reason) -> None:
    return


class Breaker:
    """One upstream's breaker. `now` is monotonic seconds everywhere; all limits in seconds. Memory: `failure_threshold` floats."""

    __slots__ = (
        "_clock",
        "_failures",
        "_generation",
        "_late",
        "_observer",
        "_open_s",
        "_opened_s",
        "_permit",
        "_probe",
        "_probe_s",
        "_probe_timeout_s",
        "_state",
        "_success_threshold",
        "_successes",
        "_window_s",
        "tripped",
    )

    def __init__(
        self,
        *,
        failure_threshold: int = 5,
        window_s: float = 60.0,
        open_s: float = 30.0,
        success_threshold: int = 1,
        probe_timeout_s: float = 120.0,
        observer: Observer = _ignore,
    ) -> None:
        if failure_threshold < 1 or success_threshold < 1:
            raise ValueError(f"thresholds must be at least 1, not {min(failure_threshold, success_threshold)}")
        if min(window_s, open_s, probe_timeout_s) <= 0:
            raise ValueError(f"times must be above 0 seconds, not {min(window_s, open_s, probe_timeout_s)}")
        self._window_s = window_s
        self._open_s = open_s
        self._success_threshold = success_threshold
        self._probe_timeout_s = probe_timeout_s
        self._observer = observer
        self._state: State = "closed"
        self.tripped = False
        """It is not closed."""
        self._generation = 0
        self._permit = Permit(0)
        self._failures: deque[float] = deque(maxlen=failure_threshold)
        self._opened_s = 0.0
        self._probe: Permit | None = None
        self._probe_s = 0.0
        self._late: set[Permit] = set()
        """Probes that were given up and may still report."""
        self._successes = 0
        self._clock = ForwardClock()

    def tune(self, *, failure_threshold: int, window_s: float, open_s: float, success_threshold: int) -> None:
        """Other limits from now on; what was seen so far counts on. Values as for a new one."""
        self._window_s = window_s
        self._open_s = open_s
        self._success_threshold = success_threshold
        if failure_threshold != self._failures.maxlen:
            self._failures = deque(self._failures, maxlen=failure_threshold)

    def acquire(self, now: float) -> Permit | None:
        """Leave for one call, or None: the upstream is resting, or a probe is out already."""
        if self._state == "closed":
            return self._permit
        self._advance(now)
        if self._state == "open" or self._probe is not None:
            return None
        self._probe = Permit(self._generation, True)
        self._probe_s = self._clock.now_s
        return self._probe

    def force(self, now: float) -> Permit:
        """Leave for one call, come what may: as the probe, where none is out."""
        self._advance(now)
        if self._state == "open":
            self._change("forced")
        return self.acquire(now) or self._permit

    def success(self, permit: Permit, now: float) -> None:
        """The upstream answered."""
        if self._state == "closed":
            return
        self._advance(now)
        late = permit in self._late
        if self._reported_probe(permit) or late:
            self._successes += 1
            if self._successes >= self._success_threshold:
                self._change("probes_succeeded")

    def failure(self, permit: Permit, now: float) -> None:
        """The upstream failed, in a way that counts (`FkproxyError.breaker`)."""
        self._advance(now)
        if self._reported_probe(permit):
            self._change("probe_failed")
        elif self._state == "closed" and permit.generation == self._generation:
            self._failures.append(self._clock.now_s)
            if len(self._failures) == self._failures.maxlen and self._clock.now_s - self._failures[0] <= self._window_s:
                self._change("failure_threshold")

    def release(self, permit: Permit, now: float) -> None:
        """No verdict: the client went away, or the request was the client's mistake. A probe's place is free again."""
        self._advance(now)
        self._reported_probe(permit)

    def reset(self) -> None:
        """Closed, and every failure forgotten."""
        self._failures.clear()
        if self._state != "closed":
            self._change("reset")

    def state(self, now: float) -> State:
        """The state at `now`; open becomes half-open at whichever call notices first that the time is over."""
        self._advance(now)
        return self._state

    def retry_after_s(self, now: float) -> float:
        """Seconds until a call may pass; 0.0 if one may now."""
        self._advance(now)
        if self._state == "open":
            return self._open_s - (self._clock.now_s - self._opened_s)
        if self._state == "half_open" and self._probe is not None:
            return min(_PROBE_RETRY_S, self._probe_timeout_s - (self._clock.now_s - self._probe_s))
        return 0.0

    def _advance(self, now: float) -> None:
        self._clock.read(now)
        if self._state == "open" and self._clock.now_s - self._opened_s >= self._open_s:
            self._change("cooled_down")
        if self._probe is not None and self._clock.now_s - self._probe_s >= self._probe_timeout_s:
            self._late.add(self._probe)
            self._probe = None

    def _reported_probe(self, permit: Permit) -> bool:
        self._late.discard(permit)
        if permit is not self._probe:
            return False
        self._probe = None
        return True

    def _change(self, reason: Reason) -> None:
        old = self._state
        self._state = _TRANSITIONS[old, reason]
        self.tripped = self._state != "closed"
        CHANGES.count += 1
        self._generation += 1
        self._permit = Permit(self._generation)
        self._failures.clear()
        self._late.clear()
        self._probe = None
        self._successes = 0
        self._opened_s = self._clock.now_s
        self._observer(old, self._state, reason)
