"""What keeps an upstream out, and for how long."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fkproxy.limits.standing import CAUSES, GUESSES, TIERS, Cause, Standing

MODEL = "m"


def failing(standing: Standing, cause: Cause, now: float, retry_after_s: float | None = None, model: str = MODEL) -> None:
    serial = standing.force(model, now)
    standing.failed(model, serial, cause, retry_after_s, now)


def test_an_upstream_without_history_lets_everything_in() -> None:
    standing = Standing()
    assert not standing.holds
    assert standing.admit(MODEL, 0.0) == 0
    assert (standing.state(), standing.retry_after_s(MODEL, 0.0)) == ("active", 0.0)


@pytest.mark.parametrize(
    ("cause", "state", "whole_s", "model_s"),
    [
        ("rate_limited", "limited", 0.0, 7.0),
        ("quota", "exhausted", 7.0, 7.0),
        ("model_quota", "exhausted", 0.0, 7.0),
        ("credential", "reauth_required", 7.0, 7.0),
        ("permission", "reauth_required", 0.0, 7.0),
        ("model_missing", "limited", 0.0, 7.0),
    ],
)
def test_a_cause_holds_the_upstream_or_one_model(cause: Cause, state: str, whole_s: float, model_s: float) -> None:
    standing = Standing()
    failing(standing, cause, 0.0, 7.0)
    assert (standing.retry_after_s("other", 0.0), standing.retry_after_s(MODEL, 0.0)) == (whole_s, model_s)
    assert standing.state(MODEL) == state
    assert standing.state() == (state if whole_s else "active")
    assert (standing.admit("other", 1.0) is None) == bool(whole_s)


def test_failures_in_a_row_climb_the_tiers() -> None:
    standing, now, lengths = Standing(), 0.0, []
    for _ in range(11):
        failing(standing, "failure", now)
        lengths.append(standing.retry_after_s(MODEL, now))
        now += lengths[-1]
    assert lengths == [0, 0, 30, 30, 60, 60, 60, 60, 60, 300, 300]
    assert {length for _, length in TIERS} == set(lengths) - {0}


def test_what_others_got_wrong_is_no_failure_in_a_row() -> None:
    standing = Standing()
    for number in range(10):
        failing(standing, "model_missing", 0.0, model=f"wrong-{number}")
    failing(standing, "failure", 0.0)
    assert (standing.retry_after_s("other", 0.0), standing.consecutive_failures) == (0.0, 11)


def test_the_setting_bounds_the_tiers_and_what_a_vendor_says() -> None:
    standing = Standing(max_s=40.0, exhausted_max_s=100.0)
    for _ in range(10):
        failing(standing, "failure", 0.0)
    assert standing.retry_after_s(MODEL, 0.0) == 40.0
    failing(standing, "rate_limited", 0.0, 86400.0, model="a")
    failing(standing, "model_quota", 0.0, 86400.0, model="b")
    assert (standing.retry_after_s("a", 0.0), standing.retry_after_s("b", 0.0)) == (40.0, 100.0)
    off = Standing(max_s=0.0)
    for _ in range(10):
        failing(off, "failure", 0.0)
    assert not off.holds


def test_a_burst_let_in_before_the_hold_counts_once() -> None:
    standing = Standing()
    serials = [standing.admit(MODEL, 0.0) for _ in range(50)]
    for serial in serials:
        assert serial is not None
        standing.failed(MODEL, serial, "failure", None, 1.0)
    assert standing.retry_after_s(MODEL, 1.0) == 30.0
    late = Standing()
    first, second = late.admit(MODEL, 0.0), late.admit(MODEL, 0.0)
    assert first is not None
    assert second is not None
    late.failed(MODEL, first, "rate_limited", 10.0, 0.0)
    late.succeeded(MODEL, second)
    assert late.state(MODEL) == "limited", "a call from before says nothing about the limit"


def test_a_call_that_found_out_something_else_leaves_its_place() -> None:
    standing = Standing()
    failing(standing, "quota", 0.0, 10.0)
    probe = standing.admit(MODEL, 10.0)
    assert probe is not None
    standing.failed(MODEL, probe, "rate_limited", 30.0, 10.0)
    assert (standing.admit(MODEL, 10.0), standing.retry_after_s("other", 10.0)) == (None, 0.0)


def test_one_of_two_that_find_out_does_not_give_up_the_others_place() -> None:
    standing = Standing()
    failing(standing, "rate_limited", 0.0, 10.0)
    standing.force(MODEL, 10.0)
    standing.released(MODEL, standing.force(MODEL, 10.0))
    assert standing.admit(MODEL, 10.0) is None


def test_after_its_time_one_call_at_a_time_finds_out() -> None:
    standing = Standing()
    failing(standing, "rate_limited", 0.0, 10.0)
    assert standing.admit(MODEL, 9.9) is None
    probe = standing.admit(MODEL, 10.0)
    assert probe is not None
    assert standing.admit(MODEL, 10.0) is None
    assert standing.retry_after_s(MODEL, 10.0) == 1.0
    standing.released(MODEL, 0)
    assert standing.admit(MODEL, 10.0) is None, "who was let in before the hold is not the probe"
    standing.released(MODEL, probe)
    probe = standing.admit(MODEL, 10.0)
    assert probe is not None, "the first one left without a verdict"
    standing.failed(MODEL, probe, "rate_limited", None, 11.0)
    assert standing.retry_after_s(MODEL, 11.0) == 2.0, "twice the first pause"
    probe = standing.admit(MODEL, 13.0)
    assert probe is not None
    standing.succeeded(MODEL, probe)
    assert not standing.holds


@pytest.mark.parametrize(("held_s", "asked_s", "early_s", "again_s"), [(1.0, 2.0, 100.0, 123.0), (10.0, 10.0, 129.0, 130.0)])
def test_a_probe_that_is_never_reported_is_followed_by_one_other(held_s: float, asked_s: float, early_s: float, again_s: float) -> None:
    standing = Standing()
    failing(standing, "rate_limited", 0.0, held_s)
    assert standing.admit(MODEL, asked_s) is not None
    assert standing.admit(MODEL, early_s) is None
    assert standing.admit(MODEL, again_s) is not None
    assert standing.admit(MODEL, again_s) is None


def test_an_operator_pauses_resumes_and_resets() -> None:
    standing = Standing()
    standing.pause()
    assert (standing.state(), standing.retry_after_s(MODEL, 0.0)) == ("paused", float("inf"))
    failing(standing, "quota", 0.0)
    standing.succeeded(MODEL, 99)
    standing.reset()
    standing.replenish()
    assert standing.admit(MODEL, 1e9) is None
    standing.resume()
    assert standing.admit(MODEL, 1e9) is not None
    failing(standing, "credential", 1e9)
    standing.resume()
    assert standing.state() == "reauth_required", "only a pause is ended by resuming"
    standing.reset()
    assert not standing.holds


def test_what_a_look_at_the_quota_says() -> None:
    standing = Standing(exhausted_max_s=50.0)
    standing.exhaust(None, 0.0)
    assert (standing.state(), standing.retry_after_s(None, 0.0)) == ("exhausted", 50.0)
    standing.exhaust(20.0, 0.0)
    assert standing.retry_after_s(None, 0.0) == 20.0
    standing.replenish()
    assert not standing.holds
    standing.pause()
    standing.exhaust(5.0, 0.0)
    assert standing.state() == "paused"


def test_names_of_models_that_callers_invent_are_bounded() -> None:
    standing = Standing()
    for number in range(1000):
        failing(standing, "model_missing", 0.0, model=f"invented-{number}")
    assert len(standing.models()) <= 257


def test_caps_must_not_be_negative() -> None:
    with pytest.raises(ValueError, match="negative"):
        Standing(max_s=-1.0)


EVENTS = st.lists(
    st.tuples(
        st.sampled_from([*CAUSES, "ok", "left"]),
        st.one_of(st.none(), st.floats(0, 1e9)),
        st.floats(-1e6, 1e6),
        st.booleans(),
    ),
    max_size=40,
)


@given(EVENTS)
def test_nothing_keeps_a_healthy_upstream_out_beyond_its_cap(
    events: list[tuple[str, float | None, float, bool]],
) -> None:
    standing, now = Standing(max_s=300.0, exhausted_max_s=3600.0), 0.0
    for what, retry_after_s, step_s, forced in events:
        now += step_s
        serial = standing.force(MODEL, now) if forced else standing.admit(MODEL, now)
        if serial is None:
            continue
        if what == "ok":
            standing.succeeded(MODEL, serial)
        elif what == "left":
            standing.released(MODEL, serial)
        else:
            standing.failed(MODEL, serial, what, retry_after_s, now)  # type: ignore[arg-type]  # drawn from CAUSES
    # From here on it is healthy. A probe that nobody reported may be out for two minutes more.
    waited_s = 0.0
    while (serial := standing.admit(MODEL, now)) is None:
        now += 10.0
        waited_s += 10.0
        assert waited_s <= 3600.0 + 120.0 + 10.0
    standing.succeeded(MODEL, serial)
    assert standing.admit(MODEL, now) is not None
    assert not standing.holds


@pytest.mark.parametrize("cause", CAUSES)
def test_what_a_vendor_said_is_over_when_it_takes_a_request_on(cause: Cause) -> None:
    standing = Standing()
    for _ in range(3):
        failing(standing, cause, 0.0)
    now = standing.retry_after_s(MODEL, 0.0)
    early = 0
    probe = standing.admit(MODEL, now)
    assert probe is not None
    standing.accepted(MODEL, early)
    assert standing.admit(MODEL, now) is None, "it was let in before the hold"
    standing.accepted(MODEL, probe)
    assert (standing.admit(MODEL, now) is None) == (cause in GUESSES)


def test_a_time_that_is_over_is_over_also_while_one_call_finds_out() -> None:
    standing = Standing()
    assert standing.over(MODEL, 0.0)
    failing(standing, "rate_limited", 0.0, 7.0)
    assert (standing.over(MODEL, 6.0), standing.over("other", 6.0), standing.over(MODEL, 7.0)) == (False, True, True)
    assert standing.admit(MODEL, 7.0) is not None
    assert (standing.admit(MODEL, 7.0), standing.over(MODEL, 7.0)) == (None, True)
    standing.pause()
    assert not standing.over(MODEL, 1e9)
