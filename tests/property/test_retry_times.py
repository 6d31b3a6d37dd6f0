from collections.abc import Iterator

from hypothesis import given, settings
from hypothesis import strategies as st

from handoff.domain.retry import (
    LIFETIME_MS,
    MAX_ATTEMPTS,
    SCHEDULE_MS,
    Again,
    Attempt,
    Dead,
    DeadReason,
    ErrorClass,
    judge,
)

MINUTE = 60_000
HOUR = 60 * MINUTE
COMMITTED_AT = 1_700_000_000_000
EXPIRES_AT = COMMITTED_AT + 72 * HOUR

chances = st.floats(0, 1, exclude_max=True)
# Left to itself, Hypothesis seldom draws one of more than a day.
retry_afters = st.none() | st.integers(-HOUR, 400 * HOUR) | st.integers(23, 400).map(lambda hours: hours * HOUR + 1)
failures = st.builds(
    Attempt,
    started_at=st.integers(COMMITTED_AT, COMMITTED_AT + 200 * HOUR),
    duration_ms=st.integers(0, 300_000),
    status=st.none() | st.sampled_from([302, 404, 429, 500, 503]),
    error=st.sampled_from([None, *ErrorClass]),
    retry_after_ms=retry_afters,
)


# Most messages have time enough for what follows, so that it is the delay that is judged and not the end.
@settings(deadline=None, max_examples=500)
@given(
    attempt=failures,
    number=st.integers(1, 14),
    expires_at=st.integers(COMMITTED_AT, EXPIRES_AT) | st.just(COMMITTED_AT + 700 * HOUR),
    chance=chances,
)
def test_an_attempt_is_never_due_before_the_schedule_nor_before_retry_after_nor_after_expiry(
    attempt: Attempt, number: int, expires_at: int, chance: float
) -> None:
    verdict = judge(attempt, number=number, expires_at=expires_at, chance=chance)

    assert isinstance(verdict, Again | Dead)
    if isinstance(verdict, Again):
        waited = verdict.due_at - attempt.started_at - attempt.duration_ms
        asked = min(attempt.retry_after_ms or 0, 24 * HOUR)
        scheduled = SCHEDULE_MS[number - 1]
        assert waited >= max(scheduled, asked)
        assert waited <= max(scheduled + min(scheduled // 4, 15 * MINUTE), asked)
        assert verdict.due_at < expires_at


@settings(deadline=None)
@given(number=st.integers(1, 11), less=chances, more=chances)
def test_more_chance_never_makes_an_attempt_earlier(number: int, less: float, more: float) -> None:
    attempt = Attempt(started_at=COMMITTED_AT, duration_ms=0, status=500)
    low, high = (
        judge(attempt, number=number, expires_at=10 * EXPIRES_AT, chance=chance) for chance in sorted((less, more))
    )

    assert isinstance(low, Again)
    assert isinstance(high, Again)
    assert low.due_at <= high.due_at


@st.composite
def histories(draw: st.DrawFn) -> list[tuple[int, int | None, float]]:
    """What each attempt of a message meets: its duration, the Retry-After of its answer, and chance."""
    met = st.tuples(st.integers(0, 15_000), retry_afters, chances)
    return draw(st.lists(met, min_size=MAX_ATTEMPTS + 2, max_size=MAX_ATTEMPTS + 2))


def starts(history: list[tuple[int, int | None, float]], error: ErrorClass | None) -> Iterator[int | Dead]:
    """When each attempt of a message that always fails begins, and how the message ends."""
    due_at = COMMITTED_AT
    for number, (duration_ms, retry_after_ms, chance) in enumerate(history, start=1):
        yield due_at
        attempt = Attempt(
            started_at=due_at,
            duration_ms=duration_ms,
            status=None if error else 500,
            error=error,
            retry_after_ms=retry_after_ms,
        )
        verdict = judge(attempt, number=number, expires_at=EXPIRES_AT, chance=chance)
        if isinstance(verdict, Dead):
            yield verdict
            return
        assert isinstance(verdict, Again)
        due_at = verdict.due_at


@settings(deadline=None)
@given(history=histories())
def test_a_message_that_always_fails_is_tried_twelve_times_at_most_all_within_three_days(
    history: list[tuple[int, int | None, float]],
) -> None:
    *begun, end = starts(history, error=None)

    assert LIFETIME_MS == 72 * HOUR
    assert 1 <= len(begun) <= 12
    assert all(isinstance(at, int) and at < EXPIRES_AT for at in begun)
    assert end in {Dead(DeadReason.EXHAUSTED), Dead(DeadReason.EXPIRED)}


def test_a_message_that_always_fails_at_once_is_tried_twelve_times() -> None:
    *begun, end = starts([(0, None, 0.0)] * 14, error=None)

    assert len(begun) == 12
    assert end == Dead(DeadReason.EXHAUSTED)


@settings(deadline=None)
@given(history=histories())
def test_a_message_whose_address_is_always_refused_is_tried_three_times_at_most(
    history: list[tuple[int, int | None, float]],
) -> None:
    *begun, end = starts(history, error=ErrorClass.ADDRESS)

    assert len(begun) <= 3
    assert end in {Dead(DeadReason.ADDRESS), Dead(DeadReason.EXPIRED)}
