"""Budgets of a day, a week and a month."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, initialize, invariant, rule

from fkproxy.limits.budget import WINDOWS, Budget, Limit, Measure, Reservation, Shortage, Window, window_of


def at(text: str) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()


NOON = at("2026-11-18T12:00")
"""A Wednesday."""


@pytest.mark.parametrize(
    ("window", "now", "begins", "ends"),
    [
        ("day", "2026-11-18T12:00", "2026-11-18", "2026-11-19"),
        ("day", "2026-11-18T00:00", "2026-11-18", "2026-11-19"),
        ("day", "2026-11-18T23:59:59.999", "2026-11-18", "2026-11-19"),
        ("week", "2026-11-18T12:00", "2026-11-16", "2026-11-23"),
        ("week", "2026-11-16T00:00", "2026-11-16", "2026-11-23"),
        ("week", "2026-11-22T23:59", "2026-11-16", "2026-11-23"),
        ("week", "1970-01-01T00:00", "1969-12-29", "1970-01-05"),
        ("month", "2026-11-18T12:00", "2026-11-01", "2026-12-01"),
        ("month", "2026-12-31T23:59", "2026-12-01", "2027-01-01"),
        ("month", "2028-02-29T12:00", "2028-02-01", "2028-03-01"),
    ],
)
def test_windows_are_the_calendars(window: Window, now: str, begins: str, ends: str) -> None:
    assert window_of(window, at(now)) == (at(begins), at(ends))


@given(st.sampled_from(WINDOWS), st.floats(0, 4e9))
def test_a_moment_is_in_its_window(window: Window, now_s: float) -> None:
    starts_s, ends_s = window_of(window, now_s)
    assert starts_s <= now_s < ends_s
    assert window_of(window, ends_s)[0] == ends_s
    assert window_of(window, starts_s) == (starts_s, ends_s)


@pytest.mark.parametrize(
    ("what", "window", "most", "until"),
    [
        ("tokens", "day", 1000, "2026-11-19"),
        ("tokens", "week", 1000, "2026-11-23"),
        ("usd", "day", 0.5, "2026-11-19"),
        ("usd", "month", 0.5, "2026-12-01"),
    ],
)
def test_who_has_used_it_up_waits_until_the_window_ends(what: Measure, window: Window, most: float, until: str) -> None:
    limit = Limit(what, window, most)
    budget = Budget([limit])
    budget.add(1000, 0.5, NOON)
    assert budget.reserve(1, 0.001, NOON) == Shortage(limit, at(until) - NOON)
    assert isinstance(budget.reserve(1, 0.001, at(until)), Reservation)


def test_calls_under_way_count_and_are_worth_waiting_for() -> None:
    budget = Budget([Limit("tokens", "day", 1000)])
    first = budget.reserve(600, 0.0, NOON)
    assert isinstance(first, Reservation)
    assert budget.reserve(600, 0.0, NOON) == Shortage(Limit("tokens", "day", 1000), 1.0)
    budget.settle(first, 100, 0.0)
    second = budget.reserve(600, 0.0, NOON)
    assert isinstance(second, Reservation)
    budget.settle(second, None, None)
    (day, *_) = budget.spent(NOON)
    assert (day.tokens, day.held_tokens) == (700, 0), "nobody knew, so the estimate stands"


def test_a_call_larger_than_the_whole_limit_passes_when_nothing_is_used() -> None:
    budget = Budget([Limit("tokens", "day", 100)])
    large = budget.reserve(5000, 0.0, NOON)
    assert isinstance(large, Reservation)
    assert isinstance(budget.reserve(1, 0.0, NOON), Shortage)
    budget.settle(large, 99, 0.0)
    assert isinstance(budget.reserve(5000, 0.0, NOON), Shortage)
    assert isinstance(budget.reserve(1, 0.0, NOON), Reservation)


@pytest.mark.parametrize("limit", [Limit("tokens", "day", 0), Limit("usd", "month", 0.0)])
def test_a_limit_of_0_lets_nobody_pass_ever(limit: Limit) -> None:
    assert Budget([limit]).reserve(0, 0.0, NOON) == Shortage(limit, None)


def test_a_price_that_nobody_knows_counts_tokens_only() -> None:
    budget = Budget([Limit("usd", "day", 1.0), Limit("tokens", "day", 1000)])
    reservation = budget.reserve(400, 0.0, NOON)
    assert isinstance(reservation, Reservation)
    budget.settle(reservation, 300, 0.0)
    assert [(each.tokens, each.usd) for each in budget.spent(NOON)] == [(300, 0.0)] * 3


def test_a_call_counts_where_it_began() -> None:
    budget = Budget([Limit("tokens", "day", 1000)])
    late = at("2026-11-18T23:59:59")
    reservation = budget.reserve(900, 0.0, late)
    assert isinstance(reservation, Reservation)
    morning = late + 2
    assert isinstance(budget.reserve(900, 0.0, morning), Reservation)
    budget.settle(reservation, 800, 0.0)
    assert budget.spent(late)[0].tokens == 800
    assert budget.spent(morning)[0].tokens == 0
    assert budget.spent(morning)[1].tokens == 800, "the week is the same"


def test_a_clock_that_steps_back_over_midnight_gives_nothing_back() -> None:
    budget = Budget([Limit("tokens", "day", 1000)])
    before, after = at("2026-11-18T23:59"), at("2026-11-19T00:01")
    budget.add(1000, 0.0, before)
    budget.add(400, 0.0, after)
    assert isinstance(budget.reserve(1, 0.0, before), Shortage)
    assert isinstance(budget.reserve(601, 0.0, after), Shortage)
    budget.add(1, 0.0, at("2038-01-01T00:00"))
    assert isinstance(budget.reserve(601, 0.0, after), Shortage), "a wrong clock changes nothing but its own time"
    for day in range(100):
        budget.add(1, 0.0, after + day * 86400.0)
    assert max(map(len, budget._accounts.values())) <= 4, "what is long over is forgotten"


def test_what_was_used_before_is_told_once_or_often_and_counts_once() -> None:
    budget = Budget([Limit("tokens", "day", 1000), Limit("usd", "month", 2.0)])
    budget.add(100, 0.1, NOON)
    for tokens in (500, 700):
        budget.seed("day", tokens, 0.7, NOON)
        budget.seed("month", 9000, 1.5, NOON)
    day, week, month = budget.spent(NOON)
    assert (day.tokens, week.tokens, month.tokens) == (800, 100, 9100)
    assert month.usd == pytest.approx(1.6)
    assert isinstance(budget.reserve(201, 0.0, NOON), Shortage)
    assert isinstance(budget.reserve(200, 0.5, NOON), Shortage)
    assert isinstance(budget.reserve(200, 0.4, NOON), Reservation)


def test_a_limit_that_changes_knows_what_was_used() -> None:
    budget = Budget()
    budget.add(5000, 1.0, NOON)
    budget.limits = (Limit("tokens", "week", 5001),)
    assert isinstance(budget.reserve(2, 0.0, NOON), Shortage)
    assert isinstance(budget.reserve(1, 0.0, NOON), Reservation)


LIMITS = (Limit("tokens", "day", 1000), Limit("tokens", "week", 4000), Limit("usd", "day", 1.0), Limit("usd", "month", 9.0))


class Calls(RuleBasedStateMachine):
    """Calls that begin, end and overlap in any order, while the clock goes forward, or back by a little."""

    under_way = Bundle("under_way")

    @initialize()
    def start(self) -> None:
        self.now_s = NOON
        self.budget = Budget(LIMITS)
        self.used: dict[tuple[Limit, float], float] = {}
        self.above: dict[tuple[Limit, float], float] = {}
        self.held = 0

    @rule(seconds=st.sampled_from((0.0, 1.0, 3600.0, 43200.0, 86400.0, -1.0, -3600.0, -50000.0)))
    def time_passes(self, seconds: float) -> None:
        self.now_s = max(self.now_s + seconds, NOON - 60000)

    @rule(target=under_way, tokens=st.integers(0, 1500), usd=st.floats(0, 1.5))
    def begins(self, tokens: int, usd: float) -> tuple[Reservation, int, float, float] | None:
        got = self.budget.reserve(tokens, usd, self.now_s)
        if isinstance(got, Shortage):
            assert got.retry_after_s is None or 0 < got.retry_after_s <= 31 * 86400
            return None
        self.held += tokens
        return got, tokens, usd, self.now_s

    @rule(call=consumes(under_way), tokens=st.none() | st.integers(0, 3000), usd=st.none() | st.floats(0, 3.0))
    def ends(self, call: tuple[Reservation, int, float, float] | None, tokens: int | None, usd: float | None) -> None:
        if call is None:
            return
        reservation, expected_tokens, expected_usd, began_s = call
        self.budget.settle(reservation, tokens, usd)
        self.held -= expected_tokens
        for limit in LIMITS:
            expected, actual = (expected_tokens, tokens) if limit.what == "tokens" else (expected_usd, usd)
            actual = expected if actual is None else actual
            key = limit, window_of(limit.window, began_s)[0]
            self.used[key] = self.used.get(key, 0.0) + actual
            self.above[key] = self.above.get(key, 0.0) + max(0.0, actual - min(expected, limit.most))

    @invariant()
    def no_window_holds_more_than_its_limit_and_what_was_above_the_estimates(self) -> None:
        for (limit, starts_s), used in self.used.items():
            assert used <= limit.most + self.above[limit, starts_s] + 1e-6

    @invariant()
    def the_views_agree(self) -> None:
        for spent in self.budget.spent(self.now_s):
            for limit in LIMITS:
                if limit.window == spent.window:
                    used = self.used.get((limit, spent.starts_s), 0.0)
                    assert (spent.tokens if limit.what == "tokens" else spent.usd) == pytest.approx(used)


Calls.TestCase.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
TestCalls = Calls.TestCase
