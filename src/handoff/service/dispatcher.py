"""Delivers the outbox: claim a few, post them with no transaction open, record what became of them."""

import asyncio
import contextlib
import logging
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from functools import partial
from time import perf_counter
from typing import Final, TypeVar

from handoff.domain.retry import Dead, DeadReason, judge
from handoff.service.attempt_log import Tell, tell_attempt, tell_plainly
from handoff.service.lanes import Lanes
from handoff.service.meter import UNMEASURED, Meter
from handoff.service.ports import (
    AttemptResult,
    Chance,
    Claim,
    ClaimedCallback,
    Clock,
    Ids,
    Outbox,
    Reclaimed,
    Sender,
    StoreError,
    Unwritable,
)

log = logging.getLogger(__name__)

Value = TypeVar("Value")

# How long results wait for company before they are written, and how many make a full batch.
_RECORD_DELAY_S: Final = 0.02
_RECORD_BATCH: Final = 64
# The safety net under the wake-ups: another process may have written a callback without telling us.
_POLL_S: Final = 1.0
# The floor under a rest, so that a message that is due but may not be claimed yet makes no busy loop.
_MIN_REST_S: Final = 0.01
# How long slots that fall free wait for company: a claim of many messages costs little more than a claim of one.
_CLAIM_PAUSE_S: Final = 0.01
_RECLAIM_S: Final = 5.0
# How old what is told of the work under way may be: younger than any scrape's interval.
_OBSERVE_S: Final = 1.0

_NOTHING: Final = Claim(callbacks=(), next_due_at=None)


@dataclass(frozen=True, slots=True, kw_only=True)
class DispatchLimits:
    """`in_flight` attempts at a time; a lease lasts `lease_ms`; a stop waits `grace_s` for attempts under way."""

    in_flight: int
    lease_ms: int
    grace_s: float


class Dispatcher:
    """Posts due callbacks until it is stopped.

    Whatever it has claimed when it dies comes back when the lease runs out: each message is posted at least
    once, under one id.
    """

    def __init__(
        self,
        outbox: Outbox,
        sender: Sender,
        *,
        executor: Executor,
        clock: Clock,
        ids: Ids,
        chance: Chance,
        limits: DispatchLimits,
        meter: Meter = UNMEASURED,
        tell: Tell = tell_plainly,
    ) -> None:
        self._outbox = outbox
        self._sender = sender
        self._executor = executor
        self._clock = clock
        self._chance = chance
        self._limits = limits
        self._meter = meter
        self._tell = tell
        self._lanes = Lanes(limits.in_flight)
        self._ids = ids
        self._wake = asyncio.Event()
        self._has_results = asyncio.Event()
        self._results: list[AttemptResult] = []
        self._broken_off: list[ClaimedCallback] = []
        self._attempts: set[asyncio.Task[None]] = set()
        self._is_stopping = False
        self._is_drained = False
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Begin to deliver, in the running event loop."""
        loop = asyncio.get_running_loop()
        self._tasks = [
            loop.create_task(self._deliver(), name="dispatcher"),
            loop.create_task(self._record(), name="recorder"),
            loop.create_task(self._reclaim(), name="reclaimer"),
            loop.create_task(self._observe(), name="observer"),
        ]

    def wake(self) -> None:
        """Say that something may be due now."""
        self._wake.set()

    @property
    def is_alive(self) -> bool:
        """Whether callbacks are being delivered."""
        return bool(self._tasks) and not self._is_stopping and not any(task.done() for task in self._tasks)

    async def stop(self) -> None:
        """Claim nothing more, let attempts under way end within the grace period, and give back the others."""
        self._is_stopping = True
        self._wake.set()
        deliver, record, *others = self._tasks
        for task in others:
            task.cancel()
        await asyncio.gather(deliver, *others, return_exceptions=True)
        if self._attempts:
            _, late = await asyncio.wait(self._attempts, timeout=self._limits.grace_s)
            for attempt in late:
                attempt.cancel()
            await asyncio.gather(*late, return_exceptions=True)
        self._is_drained = True
        self._has_results.set()
        await record
        if self._broken_off:
            await self._in_store(partial(self._outbox.release, self._broken_off), default=None)

    async def _deliver(self) -> None:
        while not self._is_stopping:
            self._wake.clear()
            claim = await self._claim() if self._lanes.free > 0 else _NOTHING
            for callback in claim.callbacks:
                self._begin(callback)
            if claim.callbacks or claim.expired:
                await asyncio.sleep(_CLAIM_PAUSE_S)
            else:
                await self._rest(claim.next_due_at)

    async def _claim(self) -> Claim:
        now_ms = self._clock.now_ms()
        plan = self._lanes.plan(now_ms)

        def claim() -> Claim:
            began = perf_counter()
            found = self._outbox.claim(
                plan,
                now_ms=now_ms,
                lease_ms=self._limits.lease_ms,
                lease_token=self._ids.fresh(),
            )
            self._meter.claimed(perf_counter() - began)
            return found

        found = await self._in_store(claim, default=_NOTHING)
        self._tell_buried(DeadReason.EXPIRED, found.expired)
        return found

    def _tell_buried(self, reason: DeadReason, count: int) -> None:
        """Tell of messages that the store gave up, with no attempt that would tell of it."""
        if count:
            log.warning("callbacks buried", extra={"reason": reason.value, "count": count})
            self._meter.died(reason, count)

    async def _rest(self, due_at: int | None) -> None:
        """Wait for a commit, a freed slot, the next due time, or the safety net's poll."""
        until_due_s = _POLL_S if due_at is None else (due_at - self._clock.now_ms()) / 1_000
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._wake.wait(), timeout=min(max(until_due_s, _MIN_REST_S), _POLL_S))

    def _begin(self, callback: ClaimedCallback) -> None:
        attempt = asyncio.get_running_loop().create_task(self._attempt(callback))
        self._attempts.add(attempt)
        self._lanes.begin(callback)
        attempt.add_done_callback(partial(self._end, callback))

    def _end(self, callback: ClaimedCallback, attempt: asyncio.Task[None]) -> None:
        self._attempts.discard(attempt)
        self._lanes.end(callback)
        self._wake.set()
        if not attempt.cancelled() and attempt.exception() is not None:
            log.error("attempt broke off", exc_info=attempt.exception(), extra={"webhook_id": callback.callback_id})

    async def _attempt(self, callback: ClaimedCallback) -> None:
        try:
            attempt = await self._sender.send(callback)
        except asyncio.CancelledError:
            self._broken_off.append(callback)
            return
        verdict = judge(attempt, number=callback.number, expires_at=callback.expires_at, chance=self._chance.share())
        self._lanes.learn(callback.lane, attempt, self._clock.now_ms())
        tell_attempt(self._tell, callback, attempt, verdict)
        self._meter.attempted(attempt)
        if isinstance(verdict, Dead):
            self._meter.died(verdict.reason)
        self._results.append(AttemptResult(claimed=callback, attempt=attempt, verdict=verdict))
        self._has_results.set()

    async def _record(self) -> None:
        while not self._is_drained:
            await self._has_results.wait()
            if len(self._results) < _RECORD_BATCH and not self._is_drained:
                await asyncio.sleep(_RECORD_DELAY_S)
            self._has_results.clear()
            await self._record_batch()
        await self._record_batch()

    async def _record_batch(self) -> None:
        results, self._results = self._results, []
        if results and not await self._in_store(partial(self._write, results), default=False):
            self._results = results + self._results
            await asyncio.sleep(_POLL_S)
            self._has_results.set()

    def _write(self, results: Sequence[AttemptResult]) -> bool:
        """Record the results. One that the store refuses is dropped: its message comes back when its lease ends."""
        try:
            self._outbox.record(results, now_ms=self._clock.now_ms())
        except Unwritable as error:
            if len(results) == 1:
                webhook_id = results[0].claimed.callback_id
                log.error("attempt not recorded", extra={"webhook_id": webhook_id, "reason": str(error)})  # noqa: TRY400 (a traceback would show the row)
                self._meter.store_failed("outbox")
                return True
            for result in results:
                self._write([result])
        return True

    async def _reclaim(self) -> None:
        while True:
            reclaimed = await self._in_store(
                lambda: self._outbox.reclaim(now_ms=self._clock.now_ms()), default=Reclaimed(0)
            )
            self._tell_buried(DeadReason.POISON, reclaimed.poisonous)
            await asyncio.sleep(_RECLAIM_S)

    async def _observe(self) -> None:
        while True:
            open_lanes = self._lanes.open_count(self._clock.now_ms())
            self._meter.under_way(in_flight=len(self._attempts), open_lanes=open_lanes)
            await asyncio.sleep(_OBSERVE_S)

    async def _in_store(self, work: Callable[[], Value], *, default: Value) -> Value:
        """Do the work in the store's thread; a store that is away costs a pause, not the dispatcher."""
        try:
            return await asyncio.get_running_loop().run_in_executor(self._executor, work)
        except StoreError as error:
            log.warning("outbox unavailable", extra={"reason": str(error)})
            self._meter.store_failed("outbox")
        except Exception:  # the outermost loop: a mistake in one step must not end delivery
            log.exception("outbox step failed")
        return default
