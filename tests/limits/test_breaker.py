"""The circuit breaker on a fake clock."""

from __future__ import annotations

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from fkproxy.limits.breaker import _TRANSITIONS, REASONS, STATES, Breaker, Permit, Reason, State


class Bench:
    """A breaker, its clock and what its observer was told. 3 failures in 10 s open it for 5 s; probes time out after 20 s."""

    def __init__(self, success_threshold: int = 1) -> None:
        self.now = 1000.0
        self.told: list[tuple[State, State, Reason]] = []
        self.breaker = Breaker(
            failure_threshold=3,
            window_s=10.0,
            open_s=5.0,
            success_threshold=success_threshold,
            probe_timeout_s=20.0,
            observer=lambda *change: self.told.append(change),
        )

    @property
    def state(self) -> State:
        return self.breaker.state(self.now)

    def permit(self) -> Permit:
        permit = self.breaker.acquire(self.now)
        assert permit is not None
        return permit

    def fail(self, times: int = 1) -> None:
        for _ in range(times):
            self.breaker.failure(self.permit(), self.now)

    def succeed(self) -> None:
        self.breaker.success(self.permit(), self.now)

    def opened(self) -> Bench:
        self.fail(3)
        return self

    def half_opened(self) -> Bench:
        self.opened().now += 5.0
        return self


def test_failures_within_the_window_open_it() -> None:
    bench = Bench()
    bench.fail(2)
    assert bench.state == "closed"
    bench.now += 10.0
    bench.fail()
    assert bench.state == "open"
    assert bench.breaker.acquire(bench.now) is None
    assert bench.told == [("closed", "open", "failure_threshold")]


def test_failures_spread_wider_than_the_window_do_not_open_it() -> None:
    bench = Bench()
    for _ in range(50):
        bench.fail()
        bench.now += 5.1
    assert bench.state == "closed"


def test_successes_between_failures_do_not_hide_them() -> None:
    bench = Bench()
    for _ in range(3):
        bench.fail()
        if bench.state == "closed":
            bench.succeed()
    assert bench.state == "open"


def test_it_stays_open_exactly_open_s_and_says_how_long() -> None:
    bench = Bench().opened()
    assert bench.breaker.retry_after_s(bench.now) == 5.0
    bench.now += 4.75
    assert (bench.state, bench.breaker.retry_after_s(bench.now)) == ("open", 0.25)
    bench.now += 0.25
    assert (bench.state, bench.breaker.retry_after_s(bench.now)) == ("half_open", 0.0)


def test_half_open_lets_one_probe_through_at_a_time() -> None:
    bench = Bench(success_threshold=2).half_opened()
    probe = bench.permit()
    assert bench.breaker.acquire(bench.now) is None
    assert bench.breaker.retry_after_s(bench.now) == 1.0
    bench.breaker.success(probe, bench.now)
    assert bench.breaker.acquire(bench.now) is not None


def test_enough_successful_probes_close_it() -> None:
    bench = Bench(success_threshold=2).half_opened()
    bench.succeed()
    assert bench.state == "half_open"
    bench.succeed()
    assert bench.state == "closed"
    assert [reason for _, _, reason in bench.told] == ["failure_threshold", "cooled_down", "probes_succeeded"]


def test_one_failed_probe_opens_it_for_a_whole_new_cooldown() -> None:
    bench = Bench(success_threshold=2).half_opened()
    bench.succeed()
    bench.fail()
    assert (bench.state, bench.breaker.retry_after_s(bench.now)) == ("open", 5.0)
    bench.now += 5.0
    bench.succeed()
    assert bench.state == "half_open", "the successes of the earlier half-open time are forgotten"


def test_failures_from_before_it_opened_are_forgotten_when_it_closes() -> None:
    bench = Bench().half_opened()
    bench.succeed()
    bench.fail(2)
    assert bench.state == "closed"


def test_a_released_probe_gives_its_place_back_without_a_verdict() -> None:
    bench = Bench().half_opened()
    bench.breaker.release(bench.permit(), bench.now)
    assert bench.state == "half_open"
    assert bench.permit().probe


def test_a_released_call_of_the_closed_state_is_no_failure() -> None:
    bench = Bench()
    for _ in range(10):
        bench.breaker.release(bench.permit(), bench.now)
    assert bench.state == "closed"


def test_calls_sent_before_it_opened_do_not_extend_or_repeat_the_cooldown() -> None:
    bench = Bench()
    early = [bench.permit() for _ in range(10)]
    bench.opened()
    bench.now += 4.0
    for permit in early[:4]:
        bench.breaker.failure(permit, bench.now)
    assert bench.breaker.retry_after_s(bench.now) == 1.0
    bench.now += 1.0
    bench.breaker.failure(early[4], bench.now)
    bench.breaker.success(early[5], bench.now)
    assert bench.state == "half_open", "an early call is no probe"
    bench.succeed()
    for permit in early[6:]:
        bench.breaker.failure(permit, bench.now)
    assert bench.state == "closed"
    assert len(bench.told) == 3


def test_a_probe_that_never_reports_is_given_up_and_its_late_failure_means_nothing() -> None:
    bench = Bench().half_opened()
    lost = bench.permit()
    bench.now += 19.9
    assert bench.breaker.acquire(bench.now) is None
    assert bench.breaker.retry_after_s(bench.now) == pytest.approx(0.1)
    bench.now += 0.1
    second = bench.permit()
    bench.breaker.failure(lost, bench.now)
    bench.breaker.release(lost, bench.now)
    bench.breaker.success(lost, bench.now)
    assert bench.state == "half_open", "it has reported"
    assert bench.breaker.acquire(bench.now) is None, "the second probe is still out"
    bench.breaker.success(second, bench.now)
    assert bench.state == "closed"


def test_answers_that_take_longer_than_a_probe_may_close_it_all_the_same() -> None:
    bench = Bench().half_opened()
    slow = bench.permit()
    bench.now += 20.0
    bench.permit()
    bench.now += 5.0
    bench.breaker.success(slow, bench.now)
    assert bench.state == "closed"


def test_a_probe_is_reported_once() -> None:
    bench = Bench(success_threshold=2).half_opened()
    probe = bench.permit()
    bench.breaker.success(probe, bench.now)
    bench.breaker.success(probe, bench.now)
    bench.breaker.failure(probe, bench.now)
    assert bench.state == "half_open"


def test_a_clock_that_steps_back_cannot_freeze_it() -> None:
    bench = Bench().opened()
    bench.now -= 900.0
    assert bench.breaker.retry_after_s(bench.now) == 5.0
    bench.now += 5.0
    bench.permit()
    bench.now -= 50.0
    assert bench.breaker.acquire(bench.now) is None
    bench.now += 20.0
    bench.succeed()
    assert bench.state == "closed"


def test_every_state_is_reached_and_left_by_the_table() -> None:
    assert {old for old, _ in _TRANSITIONS} == set(_TRANSITIONS.values()) == set(STATES)
    assert set(REASONS) == {reason for _, reason in _TRANSITIONS}


@pytest.mark.parametrize(
    "bad", [{"failure_threshold": 0}, {"success_threshold": 0}, {"window_s": 0.0}, {"open_s": -1.0}, {"probe_timeout_s": 0.0}]
)
def test_limits_that_make_no_sense_are_refused(bad: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="must be"):
        Breaker(**bad)  # type: ignore[arg-type]  # one keyword at a time


class BreakerMachine(RuleBasedStateMachine):
    """Against a model that remembers everything: all failures, each permit's fate. Times are multiples of 1/4 s, exact in floats."""

    @initialize(threshold=st.integers(1, 3), successes=st.integers(1, 2))
    def start(self, threshold: int, successes: int) -> None:
        self.threshold, self.needed = threshold, successes
        self.breaker = Breaker(
            failure_threshold=threshold,
            window_s=8.0,
            open_s=4.0,
            success_threshold=successes,
            probe_timeout_s=6.0,
            observer=self.on_change,
        )
        self.told: list[State] = []
        self.now = self.time = 500.0
        self.model: State = "closed"
        self.since = self.time
        self.failures: list[float] = []
        self.good_probes = 0
        self.probe: Permit | None = None
        self.probe_since = 0.0
        self.calls: list[tuple[Permit, int]] = []
        self.changes: list[State] = []

    def on_change(self, old: State, new: State, reason: Reason) -> None:
        assert _TRANSITIONS[old, reason] == new
        self.told.append(new)

    def enter(self, state: State) -> None:
        self.model, self.since, self.failures, self.good_probes, self.probe = state, self.time, [], 0, None
        self.changes.append(state)

    def settle(self) -> None:
        if self.model == "open" and self.time - self.since >= 4.0:
            self.enter("half_open")
        if self.probe is not None and self.time - self.probe_since >= 6.0:
            self.probe = None

    @rule(quarters=st.integers(0, 24))
    def time_passes(self, quarters: int) -> None:
        self.now += quarters / 4
        self.time += quarters / 4
        self.settle()

    @rule(quarters=st.integers(1, 1000))
    def clock_steps_back(self, quarters: int) -> None:
        self.breaker.state(self.now)
        self.now -= quarters / 4
        self.breaker.state(self.now)

    @rule()
    def acquire(self) -> None:
        permit = self.breaker.acquire(self.now)
        assert (permit is not None) == (self.model == "closed" or (self.model == "half_open" and self.probe is None))
        if permit is not None:
            assert permit.probe == (self.model == "half_open")
            if permit.probe:
                self.probe, self.probe_since = permit, self.time
            self.calls.append((permit, len(self.changes)))

    @precondition(lambda self: self.calls)
    @rule(data=st.data(), verdict=st.sampled_from(["success", "failure", "release"]))
    def report(self, data: st.DataObject, verdict: str) -> None:
        permit, generation = self.calls.pop(data.draw(st.integers(0, len(self.calls) - 1)))
        getattr(self.breaker, verdict)(permit, self.now)
        if permit.probe:
            late = permit is not self.probe
            if late and (verdict != "success" or generation != len(self.changes)):
                return
            if not late:
                self.probe = None
            if verdict == "failure":
                self.enter("open")
            elif verdict == "success":
                self.good_probes += 1
                if self.good_probes == self.needed:
                    self.enter("closed")
        elif verdict == "failure" and generation == len(self.changes):
            self.failures.append(self.time)
            if len([at for at in self.failures if self.time - at <= 8.0]) >= self.threshold:
                self.enter("open")

    @invariant()
    def they_agree(self) -> None:
        if not hasattr(self, "breaker"):
            return
        assert self.breaker.state(self.now) == self.model
        assert self.told == self.changes
        wait = self.breaker.retry_after_s(self.now)
        assert 0.0 <= wait <= 4.0
        if self.model == "open":
            assert wait == 4.0 - (self.time - self.since)
        else:
            assert (wait > 0.0) == (self.probe is not None)


TestBreakerAgreesWithTheModel = BreakerMachine.TestCase
TestBreakerAgreesWithTheModel.settings = settings(max_examples=200, stateful_step_count=50, deadline=None)


def test_a_caller_with_nowhere_else_to_go_is_the_probe_of_an_open_breaker() -> None:
    bench = Bench()
    bench.fail(3)
    permit = bench.breaker.force(bench.now)
    assert (permit.probe, bench.state) == (True, "half_open")
    assert not bench.breaker.force(bench.now).probe, "the next one goes beside it, and decides nothing"
    bench.breaker.success(permit, bench.now)
    assert bench.state == "closed"
    assert not bench.breaker.force(bench.now).probe


def test_an_operator_closes_it_and_it_forgets() -> None:
    bench = Bench()
    bench.fail(2)
    bench.breaker.reset()
    bench.fail(2)
    assert bench.state == "closed"
    bench.fail()
    assert bench.state == "open"
    bench.breaker.reset()
    assert (bench.state, bench.told[-1]) == ("closed", ("open", "closed", "reset"))
    lost = bench.half_opened().permit()
    bench.breaker.reset()
    bench.half_opened()
    bench.breaker.success(lost, bench.now)
    assert bench.state == "half_open", "a probe from before says nothing"
    assert bench.breaker.acquire(bench.now) is not None


def test_other_limits_hold_from_now_on_and_what_was_seen_counts_on() -> None:
    breaker = Breaker(failure_threshold=5, window_s=60.0, open_s=30.0)
    for _ in range(2):
        permit = breaker.acquire(0.0)
        assert permit is not None
        breaker.failure(permit, 0.0)
    breaker.tune(failure_threshold=3, window_s=60.0, open_s=5.0, success_threshold=1)
    permit = breaker.acquire(1.0)
    assert permit is not None
    breaker.failure(permit, 1.0)
    assert (breaker.state(1.0), breaker.retry_after_s(1.0)) == ("open", 5.0)
