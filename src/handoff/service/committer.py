"""Group commit: whatever waits is written in one transaction, and each caller is told after the commit.

There is no timer. While one batch is being written the next one gathers; a lone request is a batch of one.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Final, Generic, TypeVar

from handoff.service.meter import UNMEASURED, Meter

log = logging.getLogger(__name__)

Item = TypeVar("Item")
Result = TypeVar("Result")

# Turns of the event loop to let further requests join before a batch is taken: measured to fill batches under
# load, and over at once when nothing more arrives.
_GATHERING_TURNS: Final = 16
_SWEEP_S: Final = 1.0


class Overloaded(Exception):  # noqa: N818 (a refusal)
    """The request was not taken up, and nothing of it was recorded: {reason}."""


@dataclass(frozen=True, slots=True)
class _Waiting(Generic[Item, Result]):
    item: Item
    answer: "asyncio.Future[Result]"
    since: float


class Committer(Generic[Item, Result]):
    """Hands batches of waiting items to `work`, one batch at a time, in the one thread of `executor`.

    `work` returns, for each item and in order, a result or the exception to raise for it. At most `queue_limit`
    items wait, none for longer than `patience_s` seconds, and at most `batch_limit` go into a batch.
    `after_commit` is called in the event loop after every batch. A batch that takes longer than `deadline_s` seconds
    is cut short by `abort`, after which `work` must soon return or raise.
    """

    def __init__(
        self,
        work: Callable[[Sequence[Item]], Sequence[Result | Exception]],
        *,
        executor: Executor,
        queue_limit: int,
        batch_limit: int,
        patience_s: float,
        deadline_s: float,
        after_commit: Callable[[], None],
        abort: Callable[[], None],
        meter: Meter = UNMEASURED,
    ) -> None:
        self._work = work
        self._executor = executor
        self._queue_limit = queue_limit
        self._batch_limit = batch_limit
        self._patience_s = patience_s
        self._deadline_s = deadline_s
        self._after_commit = after_commit
        self._abort = abort
        self._meter = meter
        self._waiting: deque[_Waiting[Item, Result]] = deque()
        self._arrived = asyncio.Event()
        self._is_stopping = False
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to take batches, in the running event loop."""
        self._task = asyncio.get_running_loop().create_task(self._run(), name="committer")

    async def stop(self) -> None:
        """Take no more, finish what waits, and return."""
        self._is_stopping = True
        self._arrived.set()
        if self._task is not None:
            await self._task

    @property
    def is_alive(self) -> bool:
        """Whether items are being taken."""
        return self._task is not None and not self._task.done() and not self._is_stopping

    async def submit(self, item: Item) -> Result:
        """Wait for the item's batch to be committed. Raises Overloaded at once where the queue is full."""
        if not self.is_alive:
            raise Overloaded("the service is shutting down")
        if len(self._waiting) >= self._queue_limit:
            raise Overloaded(f"{self._queue_limit} requests are waiting already")
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[Result] = loop.create_future()
        self._waiting.append(_Waiting(item, answer, loop.time()))
        self._arrived.set()
        return await answer

    async def _run(self) -> None:
        while not (self._is_stopping and not self._waiting):
            await self._arrived.wait()
            await self._gather()
            batch = self._take()
            if batch:
                await self._commit(batch)
            if not self._waiting and not self._is_stopping:
                self._arrived.clear()

    async def _gather(self) -> None:
        seen = 0
        for _ in range(_GATHERING_TURNS):
            if len(self._waiting) == seen:
                return
            seen = len(self._waiting)
            await asyncio.sleep(0)

    def _take(self) -> list[_Waiting[Item, Result]]:
        self._turn_away_the_late()
        batch: list[_Waiting[Item, Result]] = []
        while self._waiting and len(batch) < self._batch_limit:
            waiting = self._waiting.popleft()
            if not waiting.answer.done():
                batch.append(waiting)
        return batch

    def _turn_away_the_late(self) -> None:
        while self._waiting and self._is_late(self._waiting[0]):
            self._turn_away(self._waiting.popleft())

    def _is_late(self, waiting: _Waiting[Item, Result]) -> bool:
        return asyncio.get_running_loop().time() >= waiting.since + self._patience_s

    def _turn_away(self, late: _Waiting[Item, Result]) -> None:
        _resolve(late.answer, Overloaded(f"no batch took the request within {self._patience_s} s"))

    async def _commit(self, batch: Sequence[_Waiting[Item, Result]]) -> None:
        loop = asyncio.get_running_loop()
        began = loop.time()
        job = self._executor.submit(self._work, [waiting.item for waiting in batch])
        running = asyncio.wrap_future(job)
        while not (await asyncio.wait({running}, timeout=_SWEEP_S))[0]:
            self._turn_away_the_late()
            if self._is_late(batch[0]) and job.cancel():  # its thread has had other work all the time
                for waiting in batch:
                    self._turn_away(waiting)
                return
            if loop.time() > began + self._deadline_s:
                log.error("batch cut short", extra={"batch_size": len(batch), "deadline_s": self._deadline_s})
                self._meter.cut_short()
                self._abort()
        took = loop.time() - began
        failure = running.exception()
        if failure is not None:
            log.error("batch failed", exc_info=failure, extra={"batch_size": len(batch)})
        results = running.result() if failure is None else [failure] * len(batch)
        for waiting, result in zip(batch, results, strict=True):
            _resolve(waiting.answer, result)
        self._meter.committed([began - waiting.since for waiting in batch], took)
        self._after_commit()


def _resolve(answer: "asyncio.Future[Result]", result: Result | BaseException) -> None:
    if answer.done():
        return
    if isinstance(result, BaseException):
        answer.set_exception(result)
    else:
        answer.set_result(result)
