import asyncio
import logging
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from threading import Event, get_ident
from typing import Any, Self

import pytest

from handoff.service.committer import Committer, Overloaded

pytestmark = pytest.mark.anyio

ENOUGH_S = 20.0  # for what happens at once: only a fault waits so long


class Doubling:
    """Work that doubles numbers, in batches that begin when the test lets them; negative ones fail alone."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.threads: set[int] = set()
        self.begun = Event()
        self.gate = Event()
        self.gate.set()

    def __call__(self, items: Sequence[int]) -> Sequence[int | Exception]:
        self.batches.append(list(items))
        self.threads.add(get_ident())
        self.begun.set()
        if not self.gate.wait(ENOUGH_S):
            raise TimeoutError
        if 0 in items:
            raise ZeroDivisionError("a batch with a zero")
        return [2 * item if item > 0 else ValueError(item) for item in items]


@pytest.fixture
def executor() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(1) as made:
        yield made


@pytest.fixture
def work() -> Doubling:
    return Doubling()


@pytest.fixture
def make(executor: ThreadPoolExecutor, work: Doubling) -> Callable[..., Committer[int, int]]:
    def committer(**options: Any) -> Committer[int, int]:
        limits: dict[str, Any] = {"queue_limit": 100, "batch_limit": 50, "patience_s": ENOUGH_S, "deadline_s": ENOUGH_S}
        hooks: dict[str, Any] = {"after_commit": lambda: None, "abort": work.gate.set}
        return Committer(work, executor=executor, **hooks | limits | options)

    return committer


class Busy:
    """A committer whose first batch, of a lone 1, is under way until the gate is opened."""

    def __init__(self, committer: Committer[int, int], work: Doubling) -> None:
        self.committer = committer
        self.work = work
        self.tasks: list[asyncio.Task[int]] = []

    async def __aenter__(self) -> Self:
        self.work.gate.clear()
        self.committer.start()
        await self.submit(1)
        assert await asyncio.to_thread(self.work.begun.wait, ENOUGH_S)
        return self

    async def __aexit__(self, *_error: object) -> None:
        self.work.gate.set()
        await self.committer.stop()
        await asyncio.gather(*self.tasks, return_exceptions=True)

    async def submit(self, *items: int) -> None:
        """Have the items wait, in this order."""
        self.tasks += [asyncio.create_task(self.committer.submit(item)) for item in items]
        await asyncio.sleep(0)

    async def finish(self) -> list[int | BaseException]:
        """Open the gate; what becomes of each item."""
        self.work.gate.set()
        return await asyncio.wait_for(asyncio.gather(*self.tasks, return_exceptions=True), ENOUGH_S)


Make = Callable[..., Committer[int, int]]


async def test_a_lone_item_is_a_batch_of_one(make: Make, work: Doubling) -> None:
    committer = make()
    committer.start()
    result = await committer.submit(21)
    await committer.stop()

    assert result == 42
    assert work.batches == [[21]]


async def test_items_that_come_together_are_one_batch(make: Make, work: Doubling) -> None:
    committer = make()
    committer.start()
    results = await asyncio.gather(*(committer.submit(item) for item in (3, 1, 2)))
    await committer.stop()

    assert results == [6, 2, 4]
    assert work.batches == [[3, 1, 2]]


@pytest.mark.parametrize(("arrivals", "is_one_batch"), [(6, True), (40, False)])
async def test_a_batch_waits_for_those_who_come_turn_by_turn_but_not_for_ever(
    make: Make, work: Doubling, arrivals: int, *, is_one_batch: bool
) -> None:
    committer = make()
    committer.start()
    tasks = []
    for item in range(1, arrivals + 1):
        tasks.append(asyncio.create_task(committer.submit(item)))
        await asyncio.sleep(0)
    await asyncio.gather(*tasks)
    await committer.stop()

    assert (len(work.batches) == 1) is is_one_batch


async def test_what_arrives_while_a_batch_runs_is_the_next_batch_in_order(make: Make, work: Doubling) -> None:
    async with Busy(make(), work) as busy:
        await busy.submit(5, 3)
        await busy.submit(4)
        results = await busy.finish()

    assert results == [2, 10, 6, 8]
    assert work.batches == [[1], [5, 3, 4]]


async def test_work_is_done_in_the_executors_thread_alone(make: Make, work: Doubling) -> None:
    async with Busy(make(batch_limit=1), work) as busy:
        await busy.submit(2, 3)
        await busy.finish()

    assert len(work.batches) == 3
    assert len(work.threads) == 1
    assert get_ident() not in work.threads


async def test_a_batch_is_no_larger_than_its_limit(make: Make, work: Doubling) -> None:
    async with Busy(make(batch_limit=2), work) as busy:
        await busy.submit(2, 3, 4, 5, 6)
        results = await busy.finish()

    assert results == [2, 4, 6, 8, 10, 12]
    assert work.batches == [[1], [2, 3], [4, 5], [6]]


async def test_past_the_queues_limit_an_item_is_turned_away_at_once(make: Make, work: Doubling) -> None:
    async with Busy(make(queue_limit=2), work) as busy:
        await busy.submit(2, 3, 4)
        with pytest.raises(Overloaded, match=r"^2 requests are waiting already$"):
            await busy.committer.submit(5)
        results = await busy.finish()

    assert results[:3] == [2, 4, 6]
    assert isinstance(results[3], Overloaded)
    assert work.batches == [[1], [2, 3]]


async def test_an_item_whose_patience_is_over_when_its_turn_comes_is_turned_away_unworked(
    make: Make, work: Doubling
) -> None:
    committer = make(patience_s=0)
    committer.start()
    with pytest.raises(Overloaded, match=r"^no batch took the request within 0 s$"):
        await asyncio.wait_for(committer.submit(1), ENOUGH_S)
    await committer.stop()

    assert work.batches == []


async def test_a_batch_whose_thread_has_other_work_until_its_patience_is_over_is_turned_away_unworked(
    make: Make, work: Doubling, executor: ThreadPoolExecutor
) -> None:
    others_work = Event()
    executor.submit(others_work.wait, ENOUGH_S)
    committer = make(patience_s=0.2)
    committer.start()

    results = await asyncio.wait_for(
        asyncio.gather(*map(committer.submit, (1, 2)), return_exceptions=True), ENOUGH_S / 2
    )

    others_work.set()
    assert await committer.submit(3) == 6
    await committer.stop()
    assert [type(result) for result in results] == [Overloaded, Overloaded]
    assert work.batches == [[3]]


async def test_an_items_patience_ends_while_a_long_batch_is_still_running(make: Make, work: Doubling) -> None:
    async with Busy(make(patience_s=0.9), work) as busy:
        await busy.submit(2)
        (done,) = (await asyncio.wait(busy.tasks[1:], timeout=ENOUGH_S))[0]
        assert not work.gate.is_set(), "the batch was cut short"
        results = await busy.finish()

    assert isinstance(done.exception(), Overloaded)
    assert results[0] == 2
    assert work.batches == [[1]]


async def test_a_batch_past_its_deadline_is_cut_short(
    make: Make, work: Doubling, caplog: pytest.LogCaptureFixture
) -> None:
    async with Busy(make(deadline_s=0), work) as busy:
        (task,) = busy.tasks
        assert await asyncio.wait_for(task, ENOUGH_S) == 2

    assert [(record.levelno, record.message) for record in caplog.records] == [(logging.ERROR, "batch cut short")]
    assert (vars(caplog.records[0])["batch_size"], vars(caplog.records[0])["deadline_s"]) == (1, 0)


async def test_work_that_fails_fails_its_batch_and_the_next_one_is_done(
    make: Make, work: Doubling, caplog: pytest.LogCaptureFixture
) -> None:
    async with Busy(make(batch_limit=2), work) as busy:
        await busy.submit(0, 2, 3)
        results = await busy.finish()

    assert [type(result) for result in results] == [int, ZeroDivisionError, ZeroDivisionError, int]
    assert [(record.levelno, record.message) for record in caplog.records] == [(logging.ERROR, "batch failed")]
    assert vars(caplog.records[0])["batch_size"] == 2
    assert (caplog.records[0].exc_info or [None])[0] is ZeroDivisionError


async def test_an_item_that_fails_alone_leaves_the_others_their_results(make: Make, work: Doubling) -> None:
    async with Busy(make(), work) as busy:
        await busy.submit(2, -7, 3)
        results = await busy.finish()

    assert results[:2] == [2, 4]
    assert isinstance(results[2], ValueError)
    assert results[3] == 6


async def test_a_stop_finishes_what_waits_and_takes_no_more(make: Make, work: Doubling) -> None:
    async with Busy(make(batch_limit=2), work) as busy:
        await busy.submit(2, 3, 4)
        stop = asyncio.create_task(busy.committer.stop())
        await asyncio.sleep(0)
        with pytest.raises(Overloaded, match=r"^the service is shutting down$"):
            await busy.committer.submit(5)
        results = await busy.finish()
        await stop

    assert results == [2, 4, 6, 8]
    assert work.batches == [[1], [2, 3], [4]]


async def test_a_committer_is_alive_from_start_to_stop(make: Make) -> None:
    committer = make()
    before = committer.is_alive
    committer.start()
    during = committer.is_alive
    await committer.stop()

    assert (before, during, committer.is_alive) == (False, True, False)


async def test_before_its_start_nothing_is_taken(make: Make) -> None:
    with pytest.raises(Overloaded):
        await make().submit(1)


async def test_a_committer_that_never_began_can_be_stopped(make: Make) -> None:
    committer = make()
    await committer.stop()

    assert not committer.is_alive


async def test_a_waiter_that_is_cancelled_is_not_worked_on_and_disturbs_nobody(make: Make, work: Doubling) -> None:
    async with Busy(make(), work) as busy:
        await busy.submit(2, 3, 4)
        busy.tasks[2].cancel()
        await asyncio.sleep(0)
        results = await busy.finish()

    assert (results[0], results[1], results[3]) == (2, 4, 8)
    assert isinstance(results[2], asyncio.CancelledError)
    assert work.batches == [[1], [2, 4]]


async def test_a_waiter_that_is_cancelled_while_its_batch_runs_disturbs_nobody(make: Make, work: Doubling) -> None:
    async with Busy(make(), work) as busy:
        await busy.submit(2)
        busy.tasks[0].cancel()
        results = await busy.finish()

    assert isinstance(results[0], asyncio.CancelledError)
    assert results[1] == 4


async def test_after_every_batch_the_word_is_given_when_its_results_are_out(make: Make, work: Doubling) -> None:
    known: list[list[bool]] = []

    def after_commit() -> None:
        # Whoever was given a result before now has run by the loop's next turn.
        asyncio.get_running_loop().call_soon(lambda: known.append([task.done() for task in busy.tasks]))

    async with Busy(make(batch_limit=1, after_commit=after_commit), work) as busy:
        await busy.submit(0, 2)
        await busy.finish()

    assert known == [[True, False, False], [True, True, False], [True, True, True]]
