"""A rate holds in any span of its period, and what is given back counts no more."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from handoff.domain.rate import Budget, Rate, parse_rate
from handoff.service.rates import OwnBudgets

MINUTE = Rate(3, "minute")
NAME = "transfers:acc"


class SetClock:
    """Seconds of a clock that a test moves."""

    now_s = 1_000.0

    def __call__(self) -> float:
        return self.now_s


@pytest.mark.parametrize(
    ("text", "limit", "period_s"),
    [("60/minute", 60, 60), ("1/second", 1, 1), ("100000/hour", 100_000, 3_600), ("5/day", 5, 86_400)],
)
def test_a_rate_is_a_number_and_a_period(text: str, limit: int, period_s: int) -> None:
    rate = parse_rate(text)

    assert (rate.limit, rate.period_s) == (limit, period_s)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "60",
        "0/minute",
        "-1/minute",
        "100001/minute",
        "60/week",
        "60 / minute",
        "60/minutes",
        "٦/minute",
        "1.5/hour",
    ],
)
def test_anything_else_is_no_rate(text: str) -> None:
    with pytest.raises(ValueError, match=r"^write 1 to 100000, a slash and one of second, minute, hour, day, such as"):
        parse_rate(text)


def test_a_budget_is_idle_from_the_millisecond_on_in_which_its_last_call_counts_no_more() -> None:
    budget = Budget()
    assert budget.is_idle(MINUTE, 0)
    budget.take(MINUTE, 0)
    budget.take(MINUTE, 5_000)

    assert [budget.is_idle(MINUTE, now_ms) for now_ms in (5_000, 64_999, 65_000)] == [False, False, True]


def test_calls_are_granted_up_to_the_limit_and_tell_what_is_left() -> None:
    budget = Budget()

    quotas = [budget.take(MINUTE, now_ms) for now_ms in (0, 1_000, 2_000, 3_000)]

    assert [(quota.is_granted, quota.remaining, quota.reset_ms) for quota in quotas] == [
        (True, 2, 60_000),
        (True, 1, 59_000),
        (True, 0, 58_000),
        (False, 0, 57_000),
    ]


def test_after_the_time_that_was_told_one_call_is_granted_and_not_a_moment_before() -> None:
    budget = Budget()
    for now_ms in (0, 500, 1_000):
        budget.take(MINUTE, now_ms)
    wait_ms = budget.take(MINUTE, 2_000).reset_ms

    assert not budget.take(MINUTE, 2_000 + wait_ms - 1).is_granted
    assert budget.take(MINUTE, 2_000 + wait_ms).is_granted
    assert not budget.take(MINUTE, 2_000 + wait_ms).is_granted


def test_a_refused_call_uses_up_nothing() -> None:
    budget = Budget()
    for _ in range(3):
        budget.take(MINUTE, 0)
    for now_ms in range(0, 59_000, 100):
        budget.take(MINUTE, now_ms)

    assert [budget.take(MINUTE, 60_000).is_granted for _ in range(4)] == [True, True, True, False]


def test_what_is_given_back_can_be_taken_again_and_only_once() -> None:
    budget = Budget()
    taken = [budget.take(MINUTE, now_ms) for now_ms in (0, 1, 2)]
    budget.give_back(taken[1].at_ms)
    budget.give_back(taken[1].at_ms)

    assert [budget.take(MINUTE, now_ms).is_granted for now_ms in (3, 4)] == [True, False]
    assert budget.take(MINUTE, 60_000).is_granted


def test_what_is_given_back_after_its_period_gives_nobody_another_call() -> None:
    budget = Budget()
    old = budget.take(MINUTE, 0)
    for _ in range(3):
        budget.take(MINUTE, 60_000)
    budget.give_back(old.at_ms)

    assert not budget.take(MINUTE, 60_001).is_granted


@given(
    limit=st.integers(1, 5),
    steps=st.lists(st.tuples(st.integers(0, 700), st.booleans()), min_size=1, max_size=60),
)
def test_no_span_of_a_period_holds_more_calls_than_the_limit(limit: int, steps: list[tuple[int, bool]]) -> None:
    rate, budget, now_ms, counted = Rate(limit, "second"), Budget(), 0, list[int]()
    for wait_ms, is_free in steps:
        now_ms += wait_ms
        quota = budget.take(rate, now_ms)
        in_span = [moment for moment in counted if moment > now_ms - 1_000]
        assert quota.is_granted == (len(in_span) < limit)
        if quota.is_granted and is_free:
            budget.give_back(quota.at_ms)
        elif quota.is_granted:
            counted.append(now_ms)


@pytest.mark.anyio
async def test_each_name_has_a_budget_of_its_own() -> None:
    budgets = OwnBudgets(Rate(1, "minute"), SetClock())

    granted = [(await budgets.take(name)).is_granted for name in ("transfers:a", "transfers:b", "other:a", "other:a")]

    assert granted == [True, True, True, False]


@pytest.mark.anyio
async def test_a_budget_recovers_with_time_and_by_what_is_given_back() -> None:
    clock = SetClock()
    budgets = OwnBudgets(Rate(1, "minute"), clock)
    first = await budgets.take(NAME)
    await budgets.give_back(NAME, first)
    granted = [(await budgets.take(NAME)).is_granted for _ in range(2)]
    clock.now_s += 60
    granted.append((await budgets.take(NAME)).is_granted)
    await budgets.give_back("nobody", first)

    assert granted == [True, False, True]


@pytest.mark.anyio
async def test_accounts_that_call_no_more_are_forgotten_and_those_that_do_are_not() -> None:
    clock = SetClock()
    budgets = OwnBudgets(Rate(1, "minute"), clock)
    for number in range(100):
        await budgets.take(f"transfers:{number}")
    clock.now_s += 59.9
    await budgets.take(NAME)
    clock.now_s += 0.2

    assert not (await budgets.take(NAME)).is_granted
    assert len(budgets) == 1


@pytest.mark.anyio
async def test_budgets_are_looked_through_once_in_a_period_and_from_its_very_end_on() -> None:
    clock = SetClock()
    budgets = OwnBudgets(Rate(1, "minute"), clock)
    remembered = []
    for now_s, name in [(1_000.0, "a"), (1_001.0, "b"), (1_060.0, "c"), (1_062.0, "c"), (1_120.0, "c")]:
        clock.now_s = now_s
        assert (await budgets.take(name)).at_ms == now_s * 1_000
        remembered.append(len(budgets))

    assert remembered == [1, 2, 2, 2, 1]
