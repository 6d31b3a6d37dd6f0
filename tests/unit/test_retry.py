import pytest

from handoff.domain.retry import (
    MAX_CLAIMS_WITHOUT_ATTEMPT,
    SCHEDULE_MS,
    Again,
    Attempt,
    Dead,
    DeadReason,
    Delivered,
    ErrorClass,
    Verdict,
    judge,
)

SECOND = 1_000
MINUTE = 60 * SECOND
HOUR = 60 * MINUTE
START = 1_700_000_000_000
FAR = START + 1_000 * HOUR
TOOK_MS = 250
END = START + TOOK_MS


def attempt(
    status: int | None = None,
    *,
    error: ErrorClass | None = None,
    retry_after_ms: int | None = None,
    is_abort: bool = False,
) -> Attempt:
    return Attempt(
        started_at=START,
        duration_ms=TOOK_MS,
        status=status,
        error=error,
        retry_after_ms=retry_after_ms,
        is_abort=is_abort,
    )


def verdict(made: Attempt, *, number: int = 1, chance: float = 0.0, expires_at: int = FAR) -> Verdict:
    return judge(made, number=number, expires_at=expires_at, chance=chance)


@pytest.mark.parametrize("status", [200, 201, 204, 299])
def test_any_2xx_delivers(status: int) -> None:
    assert verdict(attempt(status)) == Delivered()


@pytest.mark.parametrize("number", [1, 3, 12, 13])
def test_a_2xx_delivers_however_late_and_whatever_else_it_says(number: int) -> None:
    late = attempt(200, is_abort=True, retry_after_ms=HOUR)

    assert verdict(late, number=number, expires_at=START) == Delivered()


@pytest.mark.parametrize("status", [100, 199, 300, 301, 308, 400, 401, 404, 409, 411, 429, 500, 503, 599])
def test_any_other_status_but_410_is_tried_again(status: int) -> None:
    assert verdict(attempt(status)) == Again(END + 5 * SECOND)


@pytest.mark.parametrize("error", ErrorClass)
def test_an_attempt_without_an_answer_is_tried_again(error: ErrorClass) -> None:
    assert verdict(attempt(error=error)) == Again(END + 5 * SECOND)


@pytest.mark.parametrize(
    ("made", "reason"),
    [
        (attempt(410), DeadReason.GONE),
        (attempt(410, is_abort=True), DeadReason.GONE),
        (attempt(400, is_abort=True), DeadReason.ABORTED),
        (attempt(503, is_abort=True, retry_after_ms=SECOND), DeadReason.ABORTED),
    ],
)
def test_a_receiver_can_end_a_message_at_once(made: Attempt, reason: DeadReason) -> None:
    assert verdict(made) == Dead(reason)


@pytest.mark.parametrize(
    ("number", "delay_ms"),
    [
        (1, 5 * SECOND),
        (2, 30 * SECOND),
        (3, 2 * MINUTE),
        (4, 10 * MINUTE),
        (5, 30 * MINUTE),
        (6, HOUR),
        (7, 3 * HOUR),
        (8, 6 * HOUR),
        (9, 12 * HOUR),
        (10, 24 * HOUR),
        (11, 24 * HOUR),
    ],
)
def test_the_schedule_counts_from_the_end_of_the_attempt(number: int, delay_ms: int) -> None:
    assert verdict(attempt(500), number=number) == Again(END + delay_ms)


@pytest.mark.parametrize("number", [12, 13, 40])
def test_twelve_attempts_are_the_last(number: int) -> None:
    assert verdict(attempt(500), number=number) == Dead(DeadReason.EXHAUSTED)


@pytest.mark.parametrize(
    ("number", "expected"),
    [
        (2, Again(END + 30 * SECOND)),
        (3, Dead(DeadReason.ADDRESS)),
        (4, Dead(DeadReason.ADDRESS)),
        (12, Dead(DeadReason.ADDRESS)),
    ],
)
def test_a_refused_address_is_tried_three_times(number: int, expected: Verdict) -> None:
    assert verdict(attempt(error=ErrorClass.ADDRESS), number=number) == expected


@pytest.mark.parametrize("number", range(1, 12))
def test_jitter_adds_a_quarter_at_most_and_never_more_than_fifteen_minutes(number: int) -> None:
    delay_ms = SCHEDULE_MS[number - 1]

    assert verdict(attempt(500), number=number, chance=0.5) == Again(
        END + delay_ms + min(delay_ms // 8, 15 * MINUTE // 2)
    )


@pytest.mark.parametrize(
    ("retry_after_ms", "delay_ms"),
    [
        (None, 5 * SECOND),
        (0, 5 * SECOND),
        (-HOUR, 5 * SECOND),
        (4 * SECOND, 5 * SECOND),
        (6 * SECOND, 6 * SECOND),
        (24 * HOUR, 24 * HOUR),
        (24 * HOUR + 1, 24 * HOUR),
        (10**15, 24 * HOUR),
    ],
)
def test_the_later_of_schedule_and_retry_after_counts_up_to_a_day(retry_after_ms: int | None, delay_ms: int) -> None:
    assert verdict(attempt(429, retry_after_ms=retry_after_ms)) == Again(END + delay_ms)


@pytest.mark.parametrize(
    ("expires_at", "expected"),
    [
        (END + 5 * SECOND + 1, Again(END + 5 * SECOND)),
        (END + 5 * SECOND, Dead(DeadReason.EXPIRED)),
        (END, Dead(DeadReason.EXPIRED)),
    ],
)
def test_a_message_that_would_be_due_when_it_has_expired_is_dead_now(expires_at: int, expected: Verdict) -> None:
    assert verdict(attempt(500), expires_at=expires_at) == expected


def test_what_is_stored_of_a_failure_is_spelled_so_for_good() -> None:
    assert {*ErrorClass} == {"dns", "connect", "reset", "tls", "timeout", "protocol", "address"}
    assert {*DeadReason} == {"gone", "aborted", "address", "exhausted", "expired", "poison"}


def test_a_message_kills_five_dispatchers_before_it_is_taken_for_poison() -> None:
    assert MAX_CLAIMS_WITHOUT_ATTEMPT == 5
