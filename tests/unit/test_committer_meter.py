import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from threading import Event

import pytest

from handoff.service.committer import Committer
from handoff.telemetry.metrics import Metrics
from rigs.metrics import metrics, read

pytestmark = pytest.mark.anyio


def committer(
    executor: ThreadPoolExecutor,
    meter: Metrics,
    work: Callable[[Sequence[int]], Sequence[int]],
    *,
    deadline_s: float = 20,
    abort: Callable[[], None] = lambda: None,
) -> Committer[int, int]:
    return Committer(
        work,
        executor=executor,
        queue_limit=10,
        batch_limit=2,
        patience_s=20,
        deadline_s=deadline_s,
        after_commit=lambda: None,
        abort=abort,
        meter=meter,
    )


@pytest.fixture
def threads() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(1)


def invert(items: Sequence[int]) -> Sequence[int]:
    return [1 // item for item in items]


async def test_every_batch_is_measured_also_one_that_failed(threads: ThreadPoolExecutor) -> None:
    measured = metrics()
    with threads as executor:
        busy = committer(executor, measured, invert)
        busy.start()
        results = await asyncio.gather(*(busy.submit(item) for item in (1, 1, 0)), return_exceptions=True)
        await busy.stop()
    series = read(measured)

    assert [type(result) for result in results] == [int, int, ZeroDivisionError]
    assert (series["handoff_batch_requests_count"], series["handoff_batch_requests_sum"]) == (2, 3)
    assert series["handoff_queue_wait_seconds_count"] == 3
    assert series["handoff_commit_duration_seconds_count"] == 2
    assert 0 < series["handoff_commit_duration_seconds_sum"] < 20
    assert 0 <= series["handoff_queue_wait_seconds_sum"] < 20
    assert series["handoff_batches_cut_short_total"] == 0


async def test_a_batch_that_is_cut_short_is_counted(threads: ThreadPoolExecutor) -> None:
    measured = metrics()
    aborted = Event()
    with threads as executor:
        busy = committer(
            executor, measured, lambda items: items if aborted.wait(20) else [], deadline_s=0, abort=aborted.set
        )
        busy.start()
        await busy.submit(1)
        await busy.stop()

    assert read(measured)["handoff_batches_cut_short_total"] == 1
