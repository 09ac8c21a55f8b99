"""How one upstream stands with its vendor: what keeps it out, for which models, until when.

Floor 1. Pure.

The breaker knows whether an upstream works; this file knows whether it may be asked. A *hold* keeps the whole upstream out, or one of
its models:

    cause          holds         state            for
    rate_limited   the model     limited          what the vendor says, else 1 s, 2 s, 4 s …     at most `max_s`
    quota          the upstream  exhausted        what the vendor says, else 60 s, 120 s …       at most `exhausted_max_s`
    model_quota    the model     exhausted        as above
    credential     the upstream  reauth_required  30 s, 60 s …                                   at most `max_s`
    permission     the model     reauth_required  as above
    model_missing  the model     limited          as above
    failure        the upstream  limited          by the failures in a row, see `TIERS`          at most `max_s`
    (an operator)  the upstream  paused           until resumed

A hold whose time is over lets one call through at a time. When that call succeeds the hold is gone; what a vendor said is over as soon
as it takes the call on, since a long thought or a long reply must not keep others waiting. When it fails the next hold is longer. So no
hold outlives its cause by more than its cap, and an upstream that is back serves everybody after one call.

Calls that were let in before a hold began say nothing about it: a burst of them fails late and together, and would otherwise climb
the whole ladder at once. `serial` tells them apart.

The tiers of failures in a row: 0 / 30 / 60 / 300 s at fewer than 3 / 3 to 4 / 5 to 9 / 10 and more.
"""

from __future__ import annotations

from typing import Literal, get_args

import msgspec

from fkproxy.limits.changes import CHANGES
from fkproxy.limits.forward import ForwardClock

__all__ = ["CAUSES", "GUESSES", "TIERS", "UPSTREAM_STATES", "Cause", "Hold", "Standing", "UpstreamState"]

UpstreamState = Literal["active", "paused", "reauth_required", "refreshing", "exhausted", "limited"]
UPSTREAM_STATES: tuple[UpstreamState, ...] = get_args(UpstreamState)
Cause = Literal["rate_limited", "quota", "model_quota", "credential", "permission", "model_missing", "failure"]

TIERS: tuple[tuple[int, float], ...] = ((10, 300.0), (5, 60.0), (3, 30.0))
"""(failures in a row, seconds)."""


class _Rule(msgspec.Struct, frozen=True):
    """`first_s` is doubled with every further hold."""

    state: UpstreamState
    per_model: bool
    first_s: float
    exhausts: bool = False


CAUSES: dict[Cause, _Rule] = {
    "rate_limited": _Rule("limited", True, 1.0),
    "quota": _Rule("exhausted", False, 60.0, exhausts=True),
    "model_quota": _Rule("exhausted", True, 60.0, exhausts=True),
    "credential": _Rule("reauth_required", False, 30.0),
    "permission": _Rule("reauth_required", True, 30.0),
    "model_missing": _Rule("limited", True, 30.0),
    "failure": _Rule("limited", False, 0.0),
}

GUESSES = frozenset(("failure", "model_missing"))
"""Causes that are our own guesses. What a vendor or an operator said stands."""

_PROBE_TIMEOUT_S = 120.0
"""A call let through that is not reported for so long has been lost; its place goes to the next."""

_PROBE_RETRY_S = 1.0
"""What others are told to wait while such a call is out: its answer may come at any moment."""

_MAX_MODELS = 256
"""Models with a hold; callers may choose the names."""

_MAX_LEVEL = 16


class Hold(msgspec.Struct, gc=False):
    """`until_s` on the standing's own clock; infinity for an operator's. `probe` is the serial of the call let through since `probe_s`."""

    state: UpstreamState
    cause: str
    until_s: float
    serial: int
    level: int = 0
    probe_s: float | None = None
    probe: int = 0


class _Holds(dict[str | None, Hold]):
    """Tells that they have changed."""

    def __setitem__(self, model: str | None, hold: Hold) -> None:
        super().__setitem__(model, hold)
        CHANGES.count += 1

    def __delitem__(self, model: str | None) -> None:
        super().__delitem__(model)
        CHANGES.count += 1

    def clear(self) -> None:
        super().clear()
        CHANGES.count += 1


class Standing:
    """One upstream's. `now` is monotonic seconds everywhere. Raises `ValueError` for caps that are not positive."""

    __slots__ = ("_clock", "_exhausted_max_s", "_failures_in_a_row", "_max_s", "consecutive_failures", "holds", "serial")

    def __init__(self, *, max_s: float = 300.0, exhausted_max_s: float = 3600.0) -> None:
        if min(max_s, exhausted_max_s) < 0:
            raise ValueError(f"a cooldown's cap must not be negative, as {min(max_s, exhausted_max_s)} is")
        self._clock = ForwardClock()
        self._max_s = max_s
        self._exhausted_max_s = exhausted_max_s
        self.holds: dict[str | None, Hold] = _Holds()
        """By model, None for the whole upstream. Empty: it keeps nobody out."""
        self.consecutive_failures = 0
        """Of any kind, wrong names of models among them; how long a hold is follows from those of the cause `failure`."""
        self._failures_in_a_row = 0
        self.serial = 0

    def tune(self, *, max_s: float, exhausted_max_s: float) -> None:
        """Other caps, for cooldowns that begin from now on."""
        self._max_s = max_s
        self._exhausted_max_s = exhausted_max_s

    # --- what stands

    def hold(self, model: str | None) -> Hold | None:
        """What keeps `model` out, the upstream's own hold first; it may be over and wait for its probe."""
        return self.holds.get(None) or self.holds.get(model)

    def state(self, model: str | None = None) -> UpstreamState:
        """Of the upstream, or of one of its models."""
        hold = self.hold(model)
        return hold.state if hold is not None else "active"

    def models(self) -> dict[str, Hold]:
        """Models with a hold of their own."""
        return {model: hold for model, hold in self.holds.items() if model is not None}

    def keeping_out(self, model: str, now: float) -> Hold | None:
        """The hold that keeps `model` out now: what was said before what is guessed, then the longer one."""
        clock_s = self._clock.read(now)
        keeping = [hold for hold in self._relevant(model) if self._wait_s(hold, clock_s) > 0]
        return max(keeping, key=lambda hold: (hold.cause not in GUESSES, hold.until_s), default=None)

    def retry_after_s(self, model: str | None, now: float) -> float:
        """Seconds until a call may be let in; 0.0 if one may now, infinity while an operator holds it."""
        clock_s = self._clock.read(now)
        waits = [self._wait_s(hold, clock_s) for hold in self._relevant(model)]
        return max(waits, default=0.0)

    def over(self, model: str, now: float) -> bool:
        """No hold's time is running: who is kept out waits for the call that is finding out, or may be that call."""
        clock_s = self._clock.read(now)
        return all(hold.until_s <= clock_s for hold in self._relevant(model))

    def _relevant(self, model: str | None) -> list[Hold]:
        found = (self.holds.get(None), self.holds.get(model) if model is not None else None)
        return [hold for hold in found if hold is not None]

    def _wait_s(self, hold: Hold, clock_s: float) -> float:
        if hold.until_s > clock_s:
            return hold.until_s - clock_s
        if hold.probe_s is not None and clock_s - hold.probe_s < _PROBE_TIMEOUT_S:
            return _PROBE_RETRY_S
        return 0.0

    # --- calls

    def admit(self, model: str, now: float) -> int | None:
        """A serial to report with, or None: held. The first call after a hold's time takes its one place."""
        if not self.holds:
            return self.serial
        clock_s = self._clock.read(now)
        relevant = self._relevant(model)
        if any(self._wait_s(hold, clock_s) > 0 for hold in relevant):
            return None
        return self._probe(relevant, clock_s)

    def force(self, model: str, now: float) -> int:
        """A serial all the same: for a call that has nowhere else to go. It is the hold's probe where none is out."""
        return self._probe(self._relevant(model), self._clock.read(now)) if self.holds else self.serial

    def _probe(self, holds: list[Hold], clock_s: float) -> int:
        if holds:
            self.serial += 1
        for hold in holds:
            if hold.probe_s is None or clock_s - hold.probe_s >= _PROBE_TIMEOUT_S:
                hold.probe_s, hold.probe = clock_s, self.serial
        return self.serial

    def accepted(self, model: str, serial: int) -> None:
        """The upstream took the request on. What a vendor had said is over with that, however long its reply is in coming."""
        if self.holds:
            self._end(model, serial, GUESSES)

    def succeeded(self, model: str, serial: int) -> None:
        """The upstream answered."""
        self.consecutive_failures = self._failures_in_a_row = 0
        if self.holds:
            self._end(model, serial, frozenset())

    def _end(self, model: str, serial: int, left: frozenset[str]) -> None:
        for key in (None, model):
            hold = self.holds.get(key)
            if hold is not None and serial >= hold.serial and hold.state != "paused" and hold.cause not in left:
                del self.holds[key]

    def released(self, model: str, serial: int) -> None:
        """No verdict: the client went away, or the request was its mistake. A probe's place is free again."""
        for hold in self._relevant(model):
            if hold.probe == serial:
                hold.probe_s = None

    def failed(self, model: str, serial: int, cause: Cause, retry_after_s: float | None, now: float) -> None:
        """The upstream did not serve the call. `retry_after_s` is what the vendor said."""
        clock_s = self._clock.read(now)
        self.released(model, serial)
        rule = CAUSES[cause]
        key = model if rule.per_model else None
        before = self.holds.get(key)
        if before is not None and serial < before.serial:
            return
        self.consecutive_failures += 1
        level = min(before.level + 1, _MAX_LEVEL) if before is not None and before.cause == cause else 0
        cap_s = self._exhausted_max_s if rule.exhausts else self._max_s
        if cause == "failure":
            self._failures_in_a_row += 1
            length_s = next((seconds for failures, seconds in TIERS if self._failures_in_a_row >= failures), 0.0)
        else:
            length_s = rule.first_s * 2**level if retry_after_s is None else retry_after_s
        length_s = min(length_s, cap_s)
        if length_s <= 0 or (before is not None and before.state == "paused"):
            return
        if len(self.holds) > _MAX_MODELS and key not in self.holds:
            del self.holds[next(iter(held for held in self.holds if held is not None))]
        self.serial += 1
        self.holds[key] = Hold(state=rule.state, cause=cause, until_s=clock_s + length_s, serial=self.serial, level=level)

    # --- operators and probes of quotas

    def pause(self) -> None:
        """Let nothing in until `resume`."""
        self.serial += 1
        self.holds[None] = Hold(state="paused", cause="operator", until_s=float("inf"), serial=self.serial)

    def exhaust(self, reset_s: float | None, now: float) -> None:
        """The vendor's quota is used up, as a look at it says; `reset_s` seconds until it is not, where that is known."""
        before = self.holds.get(None)
        if before is not None and before.state == "paused":
            return
        length_s = min(CAUSES["quota"].first_s if reset_s is None else reset_s, self._exhausted_max_s)
        self.serial += 1
        self.holds[None] = Hold(state="exhausted", cause="quota", until_s=self._clock.read(now) + length_s, serial=self.serial)

    def replenish(self) -> None:
        """The vendor's quota is not used up, as a look at it says."""
        before = self.holds.get(None)
        if before is not None and before.state == "exhausted":
            del self.holds[None]

    def resume(self) -> None:
        """End an operator's pause."""
        before = self.holds.get(None)
        if before is not None and before.state == "paused":
            del self.holds[None]

    def reset(self) -> None:
        """Forget every hold and every failure, but not an operator's pause."""
        paused = self.holds.get(None)
        self.holds.clear()
        if paused is not None and paused.state == "paused":
            self.holds[None] = paused
        self.consecutive_failures = self._failures_in_a_row = 0
