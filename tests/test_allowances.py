"""What one key may use, through calls and through changes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from fkproxy.allowances import Allowance, Allowances
from fkproxy.directory import KeyLimits
from fkproxy.model.errors import AdmissionError, ConcurrencyExceeded, RateLimited, SpendBudgetExceeded, TokenBudgetExceeded
from fkproxy.terms import ModelPolicy, Terms
from tests.fakes.keys import key

pytestmark = pytest.mark.leaps

NOON = 1_795_003_200.0
TOKENS = 200


def priced() -> float:
    return 0.3


def unpriced() -> None:
    return None


def allowance(**limits: float) -> Allowance:
    return Allowance(KeyLimits(**limits), 0.05)  # type: ignore[arg-type]  # counts are whole numbers in the tests


def test_requests_have_a_bucket_of_a_minutes_worth() -> None:
    mine = allowance(requests_per_minute=2)
    verdicts = [mine.admit(now) for now in (0.0, 0.0, 0.0, 29.9, 30.0)]
    assert [verdict.allowed for verdict in verdicts if verdict] == [True, True, False, False, True]
    assert verdicts[2] is not None
    assert (verdicts[2].limit, verdicts[2].retry_after_s) == (2, 30.0)


def test_no_limit_is_no_verdict() -> None:
    assert allowance().free
    assert allowance(tokens_per_minute=1).admit(0.0) is None


@pytest.mark.parametrize(
    ("limit", "kind"),
    [
        ("requests_per_minute", RateLimited),
        ("tokens_per_minute", RateLimited),
        ("max_concurrency", ConcurrencyExceeded),
        ("tokens_per_day", TokenBudgetExceeded),
        ("tokens_per_week", TokenBudgetExceeded),
        ("spend_usd_per_day", SpendBudgetExceeded),
        ("spend_usd_per_month", SpendBudgetExceeded),
    ],
)
def test_a_limit_of_0_is_nothing_at_all_and_no_time_to_wait_for(limit: str, kind: type[AdmissionError]) -> None:
    mine = allowance(**{limit: 0})
    assert mine.free is ("_per_day" in limit or "_per_week" in limit or "_per_month" in limit)

    def call() -> None:
        mine.admit(0.0)
        mine.reserve(TOKENS, unpriced, NOON)

    with pytest.raises(kind) as caught:
        call()
    assert caught.value.retry_after_s is None


@pytest.mark.parametrize(
    ("limits", "price", "calls", "kind", "words"),
    [
        ({"tokens_per_day": 500}, unpriced, 2, TokenBudgetExceeded, "500 tokens a day"),
        ({"tokens_per_week": 700}, unpriced, 3, TokenBudgetExceeded, "700 tokens a week"),
        ({"spend_usd_per_day": 0.7}, priced, 2, SpendBudgetExceeded, "0.7 USD a day"),
        ({"spend_usd_per_month": 1}, priced, 3, SpendBudgetExceeded, "1 USD a month"),
        ({"spend_usd_per_day": 0.7}, unpriced, 9, None, ""),
    ],
)
def test_budgets_are_taken_by_estimate(
    limits: dict[str, float], price: Callable[[], float | None], calls: int, kind: type[AdmissionError] | None, words: str
) -> None:
    mine = allowance(**limits)
    for _ in range(calls):
        assert mine.reserve(TOKENS, price, NOON) is not None
    if kind is None:
        return
    with pytest.raises(kind) as caught:
        mine.reserve(TOKENS, price, NOON)
    assert words in str(caught.value)
    assert caught.value.retry_after_s == 1.0, "calls under way may leave something"


def test_what_was_used_is_booked_whether_it_is_limited_or_not() -> None:
    mine = allowance()
    mine.book(mine.reserve(TOKENS, priced, NOON), 40, 0.25, NOON)
    mine.book(None, 10, None, NOON)
    mine.book(None, None, None, NOON)
    mine.limit(KeyLimits(tokens_per_day=200))
    assert (mine.budget.spent(NOON)[0].tokens, mine.budget.spent(NOON)[0].usd) == (50, 0.25)
    with pytest.raises(TokenBudgetExceeded):
        mine.reserve(TOKENS, priced, NOON)


@pytest.mark.parametrize(
    ("tokens", "usd", "booked"),
    [(40, 0.25, (40, 0.25)), (40, None, (40, 0.0)), (None, None, (200, pytest.approx(0.3))), (0, None, (0, 0.0))],
)
def test_what_nobody_knows_is_booked_by_estimate(tokens: int | None, usd: float | None, booked: tuple[int, float]) -> None:
    mine = allowance(tokens_per_day=10_000, spend_usd_per_month=100)
    mine.book(mine.reserve(TOKENS, priced, NOON), tokens, usd, NOON)
    day = mine.budget.spent(NOON)[0]
    assert (day.tokens, day.usd) == booked
    assert (day.held_tokens, day.held_usd) == (0, 0.0)


def test_a_change_of_one_limit_leaves_the_others_as_they_are() -> None:
    mine = allowance(requests_per_minute=1, tokens_per_minute=1000, max_concurrency=1)
    mine.admit(0.0)
    meter, turnstile = mine.meter, mine.turnstile
    mine.limit(KeyLimits(requests_per_minute=1, tokens_per_minute=1000, max_concurrency=1, tokens_per_day=5))
    verdict = mine.admit(0.0)
    assert verdict is not None
    assert not verdict.allowed
    assert (mine.meter, mine.turnstile) == (meter, turnstile)
    mine.limit(KeyLimits(requests_per_minute=5))
    verdict = mine.admit(0.0)
    assert verdict is not None
    assert verdict.allowed
    assert (mine.meter, mine.turnstile) == (None, None)


async def test_more_concurrency_lets_in_who_waits_and_less_waits_for_those_who_leave() -> None:
    mine = allowance(max_concurrency=1)
    turnstile = mine.turnstile
    assert turnstile is not None
    assert turnstile.pass_at_once("k")
    waiting = [asyncio.create_task(turnstile.wait("k")) for _ in range(3)]
    await asyncio.sleep(0)
    mine.limit(KeyLimits(max_concurrency=3))
    await asyncio.sleep(0)
    assert [task.done() for task in waiting] == [True, True, False]
    mine.limit(KeyLimits(max_concurrency=1))
    for _ in range(2):
        turnstile.leave("k")
        await asyncio.sleep(0)
        assert not waiting[2].done()
    turnstile.leave("k")
    await waiting[2]


def test_who_is_no_more_is_forgotten_and_who_changes_is_not() -> None:
    allowances, terms = Allowances(0.05), Terms(key(), ModelPolicy(("*",)))
    first, second = allowances.of("a", terms), allowances.of("b", terms)
    allowances.replace({"a": KeyLimits(tokens_per_day=1), "c": KeyLimits()})
    assert allowances.of("a", terms) is first
    assert [limit.most for limit in first.budget.limits] == [1]
    assert allowances.of("b", terms) is not second
    assert set(allowances.by_key) == {"a", "b"}
