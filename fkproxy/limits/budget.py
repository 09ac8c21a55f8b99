"""How much may be used in a day, a week, a month: taken by estimate before a call, put right after it.

Floor 1. Pure.

Windows are those of the calendar, in UTC; weeks begin on Monday. A call counts in the windows in which it began, also when it ends later.
A call reserves what it may use, so that many at once cannot pass a limit together: a window never holds more than its limit and what its
calls used above their reservations. One that may use more than a whole window's worth passes when nothing is used: refused, it never
would. A limit of 0 lets nobody pass.

The clock is the wall's, and may step. Each window that was lately counted in is remembered by its beginning: a clock that steps back over
midnight finds what was used there, one that was wrong by years for a minute changes nothing but that minute.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Literal, get_args

import msgspec

__all__ = ["WINDOWS", "Budget", "Limit", "Measure", "Reservation", "Shortage", "Spent", "Window", "window_of"]

Measure = Literal["tokens", "usd"]
Window = Literal["day", "week", "month"]
WINDOWS: tuple[Window, ...] = get_args(Window)
"""The others begin and end with a day."""

_DAY_S = 86400
_MONDAY = 4
"""1970-01-05 was the first Monday of unix time."""

_REMEMBERED = 4
"""Windows of one kind: this one, the one before, and what a wrong clock may make up in between."""

_PLACE = {window: place for place, window in enumerate(WINDOWS)}
_INDEX: dict[Measure, int] = {"tokens": 0, "usd": 1}
_ROUNDING = 1e-9
_SOON_S = 1.0


class Limit(msgspec.Struct, frozen=True):
    """At most `most` tokens, or USD, in a window."""

    what: Measure
    window: Window
    most: float


class Shortage(msgspec.Struct, frozen=True):
    """Why a call may not be.

    `retry_after_s`: until the window ends, or a moment where only calls under way are in the way; None: a limit of 0 has no end.
    """

    limit: Limit
    retry_after_s: float | None


class Spent(msgspec.Struct, frozen=True, kw_only=True):
    """One window as it is now. `held_*`: reserved by calls under way."""

    window: Window
    starts_s: float
    ends_s: float
    tokens: int
    usd: float
    held_tokens: int
    held_usd: float


class _Account:
    """One window's. `earlier`: used before this process counted. Each is (tokens, USD)."""

    __slots__ = ("earlier", "ends_s", "held", "starts_s", "used")

    def __init__(self, starts_s: float, ends_s: float) -> None:
        self.starts_s = starts_s
        self.ends_s = ends_s
        self.earlier = [0, 0.0]
        self.used = [0, 0.0]
        self.held = [0, 0.0]


class Reservation(msgspec.Struct, frozen=True, gc=False):
    """What a call holds until it is settled, and where."""

    tokens: int
    usd: float
    accounts: tuple[_Account, ...]


class Budget:
    """One key's. All times are unix seconds."""

    __slots__ = ("_accounts", "_ends_s", "_near", "_starts_s", "limits")

    def __init__(self, limits: Sequence[Limit] = ()) -> None:
        self.limits = tuple(limits)
        """May be replaced at any time; what was used stays used."""
        self._accounts: dict[Window, list[_Account]] = {window: [] for window in WINDOWS}
        # Those of the last call: most calls are of the same day.
        self._near: tuple[_Account, ...] = ()
        self._starts_s = self._ends_s = 0.0

    def reserve(self, tokens: int, usd: float, at_s: float) -> Reservation | Shortage:
        """Take what a call is expected to use. `usd` 0.0: nobody knows its price."""
        accounts = self._around(at_s)
        for limit in self.limits:
            account, measure = accounts[_PLACE[limit.window]], _INDEX[limit.what]
            expected = min(usd if measure else tokens, limit.most)
            used = account.earlier[measure] + account.used[measure]
            if used + account.held[measure] + expected > limit.most + _ROUNDING or not limit.most:
                return Shortage(limit, _wait_s(limit, account, used + expected, at_s))
        for account in accounts:
            account.held[0] += tokens
            account.held[1] += usd
        return Reservation(tokens, usd, accounts)

    def settle(self, reservation: Reservation, tokens: int | None, usd: float | None) -> None:
        """The call is over. None: nobody knows, so the estimate stands."""
        for account in reservation.accounts:
            account.held[0] -= reservation.tokens
            account.held[1] -= reservation.usd
            account.used[0] += reservation.tokens if tokens is None else tokens
            account.used[1] += reservation.usd if usd is None else usd

    def add(self, tokens: int, usd: float, at_s: float) -> None:
        """Count what a call used that began at `at_s` and reserved nothing."""
        for account in self._near if self._starts_s <= at_s < self._ends_s else self._around(at_s):
            used = account.used
            used[0] += tokens
            used[1] += usd

    def seed(self, window: Window, tokens: int, usd: float, at_s: float) -> None:
        """What was used in the window around `at_s` before this process counted. May be told again: the last word counts."""
        self._around(at_s)[_PLACE[window]].earlier = [tokens, usd]

    def spent(self, at_s: float) -> tuple[Spent, ...]:
        """The windows around `at_s`."""
        return tuple(map(_spent, WINDOWS, self._around(at_s)))

    def _around(self, at_s: float) -> tuple[_Account, ...]:
        """The accounts of all windows."""
        if not self._starts_s <= at_s < self._ends_s:
            self._near = tuple([self._account(window, at_s) for window in WINDOWS])
            self._starts_s, self._ends_s = self._near[0].starts_s, self._near[0].ends_s
        return self._near

    def _account(self, window: Window, at_s: float) -> _Account:
        accounts = self._accounts[window]
        for account in accounts:
            if account.starts_s <= at_s < account.ends_s:
                return account
        account = _Account(*window_of(window, at_s))
        accounts.insert(0, account)
        del accounts[_REMEMBERED:]
        return account


def window_of(window: Window, at_s: float) -> tuple[float, float]:
    """(when it begins, when it ends) around `at_s`."""
    day = int(at_s // _DAY_S)
    if window == "day":
        return day * _DAY_S, (day + 1) * _DAY_S
    if window == "week":
        monday = day - (day - _MONDAY) % 7
        return monday * _DAY_S, (monday + 7) * _DAY_S
    first = datetime.fromtimestamp(at_s, UTC).replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    return first.timestamp(), (first + timedelta(days=32)).replace(day=1).timestamp()


def _wait_s(limit: Limit, account: _Account, alone: float, at_s: float) -> float | None:
    """`alone`: what would be used if no other call were under way."""
    if not limit.most:
        return None
    return account.ends_s - at_s if alone > limit.most + _ROUNDING else _SOON_S


def _spent(window: Window, account: _Account) -> Spent:
    return Spent(
        window=window,
        starts_s=account.starts_s,
        ends_s=account.ends_s,
        tokens=int(account.earlier[0] + account.used[0]),
        usd=account.earlier[1] + account.used[1],
        held_tokens=int(account.held[0]),
        held_usd=account.held[1],
    )
