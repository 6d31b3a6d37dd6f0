import threading
from collections.abc import Iterator

import pytest

from handoff.domain.retry import Attempt, DeadReason, ErrorClass
from handoff.service.meter import OutboxDepth
from handoff.system import SystemClock
from handoff.telemetry.depth import DepthWatch
from handoff.telemetry.metrics import CODES, Metrics
from rigs.metrics import Depths, read

DEPTH = OutboxDepth(pending=3, sending=2, oldest_due_at=None)


@pytest.fixture
def depths() -> Depths:
    return Depths(DEPTH)


@pytest.fixture
def watch(depths: Depths) -> Iterator[DepthWatch]:
    made = DepthWatch(depths)
    yield made
    made.close()


@pytest.fixture
def metrics(watch: DepthWatch) -> Metrics:
    return Metrics(watch, SystemClock())


def test_answers_are_counted_by_code_and_timed(metrics: Metrics) -> None:
    metrics.answered("transferred", 0.004)
    metrics.answered("transferred", 0.004)
    metrics.answered("overloaded", 3)
    series = read(metrics)

    assert series['handoff_requests_total{code="transferred"}'] == 2
    assert series['handoff_requests_total{code="overloaded"}'] == 1
    assert series['handoff_request_duration_seconds_bucket{le="0.005"}'] == 2
    assert series["handoff_request_duration_seconds_count"] == 3


def test_a_code_that_nobody_knows_adds_no_series(metrics: Metrics) -> None:
    before = read(metrics).keys()
    metrics.answered("x" * 40, 1)
    series = read(metrics)

    assert series.keys() == before
    assert series['handoff_requests_total{code="error"}'] == 1


def test_every_series_is_there_from_the_start(metrics: Metrics) -> None:
    series = read(metrics)

    assert {series[f'handoff_requests_total{{code="{code}"}}'] for code in CODES} == {0}
    assert {series[f'handoff_callbacks_dead_total{{reason="{reason.value}"}}'] for reason in DeadReason} == {0}
    assert not [name for name in series if "_created" in name]


@pytest.mark.parametrize(
    ("attempt", "name"),
    [
        ({"status": 204}, "2xx"),
        ({"status": 302}, "3xx"),
        ({"status": 410}, "4xx"),
        ({"status": 599}, "5xx"),
        ({"status": 999}, "other"),
        ({"status": 101}, "other"),
        *(({"error": error}, error.value) for error in ErrorClass),
    ],
)
def test_an_attempt_is_counted_by_its_answer_or_its_error(
    metrics: Metrics, attempt: dict[str, int | ErrorClass], name: str
) -> None:
    metrics.attempted(Attempt(started_at=0, duration_ms=300, **attempt))  # type: ignore[arg-type] # one or the other
    counted = {key: value for key, value in read(metrics).items() if "attempts_total" in key and value}

    assert counted == {f'handoff_callback_attempts_total{{class="{name}"}}': 1}


def test_a_batch_tells_its_size_its_waits_and_its_time(metrics: Metrics) -> None:
    metrics.committed([0.001, 0.002, 0.4], 0.03)
    series = read(metrics)

    assert series["handoff_batch_requests_sum"] == 3
    assert series["handoff_queue_wait_seconds_count"] == 3
    assert series['handoff_queue_wait_seconds_bucket{le="0.0025"}'] == 2
    assert series["handoff_commit_duration_seconds_sum"] == 0.03


def test_the_outboxs_depth_is_the_stores(metrics: Metrics, depths: Depths) -> None:
    depths.depth = OutboxDepth(pending=3, sending=2, oldest_due_at=SystemClock().now_ms() - 60_000)
    series = read(metrics)

    assert series["handoff_store_up"] == 1
    assert series['handoff_outbox_callbacks{state="pending"}'] == 3
    assert series['handoff_outbox_callbacks{state="sending"}'] == 2
    assert 60 <= series["handoff_outbox_oldest_due_age_seconds"] < 120


@pytest.mark.parametrize("ahead_ms", [None, 3_600_000])
def test_what_is_not_due_yet_has_no_age(metrics: Metrics, depths: Depths, ahead_ms: int | None) -> None:
    due_at = None if ahead_ms is None else SystemClock().now_ms() + ahead_ms
    depths.depth = OutboxDepth(pending=1, sending=0, oldest_due_at=due_at)

    assert read(metrics)["handoff_outbox_oldest_due_age_seconds"] == 0


def test_a_store_that_is_away_leaves_its_gauges_out_and_breaks_nothing(metrics: Metrics, depths: Depths) -> None:
    depths.depth = None
    metrics.answered("transferred", 0.1)
    series = read(metrics)

    assert series["handoff_store_up"] == 0
    assert [name for name in series if "outbox" in name and "part=" not in name] == []
    assert series['handoff_requests_total{code="transferred"}'] == 1


def test_scrapes_in_quick_succession_ask_the_store_once(metrics: Metrics, depths: Depths) -> None:
    first, second = read(metrics), read(metrics)

    assert depths.asked == 1
    assert first == second


def test_a_store_that_hangs_is_away_and_is_asked_once_until_it_answers() -> None:
    released = threading.Event()
    depths = Depths(DEPTH, before=lambda: released.wait(30))
    watch = DepthWatch(depths, patience_s=0.01)
    during = [watch.depth(), watch.depth()]
    released.set()
    while (after := watch.depth()) is None:
        pass
    watch.close()

    assert during == [None, None]
    assert after == DEPTH
    assert depths.asked == 1


@pytest.mark.parametrize(("longest_s", "told"), [(600, DEPTH), (0, None)])
def test_while_the_store_counts_the_last_count_will_do_but_not_for_ever(
    longest_s: float, told: OutboxDepth | None
) -> None:
    answers = threading.Semaphore(1)
    depths = Depths(DEPTH, before=lambda: answers.acquire(timeout=30))
    watch = DepthWatch(depths, patience_s=0.01, longest_s=longest_s, trust_s=0)
    while watch.depth() is None:
        pass
    while depths.asked < 2:
        watch.depth()
    during = watch.depth()
    answers.release()
    watch.close()

    assert during == told
