"""Whole lives of messages: the real dispatcher and a real store, by a clock that only the test moves."""

import asyncio
import itertools
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import select

from fakes import FakeChance, FakeClock
from handoff import Settings, load_directory
from handoff.domain.retry import Attempt, ErrorClass
from handoff.outboxes import open_outbox
from handoff.service.dispatcher import Dispatcher, DispatchLimits
from handoff.service.ports import AttemptResult, Changes, Claim, ClaimedCallback, ClaimPlan, Reclaimed
from handoff.store.engine import open_reader
from handoff.store.outbox import SqlOutbox
from handoff.store.tables import callbacks
from handoff.stores import open_transfer_store
from handoff.system import SystemIds
from rigs import facts, sample

SECOND = 1_000
MINUTE = 60 * SECOND
HOUR = 60 * MINUTE
COMMITTED_AT = 1_700_000_000_000
EXPIRES_AT = COMMITTED_AT + 72 * HOUR
# The documented schedule, written out again.
DELAYS = [5 * SECOND, 30 * SECOND, 2 * MINUTE, 10 * MINUTE, 30 * MINUTE, HOUR, 3 * HOUR, 6 * HOUR, 12 * HOUR]
DELAYS += [24 * HOUR, 24 * HOUR]
# Breaker and cooling hold a lane back for this long at most.
LONGEST_HOLD = MINUTE
# An attempt that was made and is never recorded is a mistake of the dispatcher, which a test must not wait for.
SETTLED_WITHIN_S = 60

Met = tuple[Attempt, float]

retry_afters = st.none() | st.integers(0, 2 * MINUTE) | st.integers(0, 400 * HOUR)
durations = st.integers(0, 15 * SECOND)
refusals = st.builds(
    Attempt,
    started_at=st.just(0),
    duration_ms=durations,
    status=st.sampled_from([302, 404, 429, 500, 503]),
    retry_after_ms=st.none() | retry_afters,
)
breakages = st.builds(Attempt, started_at=st.just(0), duration_ms=durations, error=st.sampled_from(ErrorClass))
ends = st.builds(
    Attempt,
    started_at=st.just(0),
    duration_ms=durations,
    status=st.sampled_from([200, 204, 410, 500]),
    is_abort=st.booleans(),
    retry_after_ms=retry_afters,
)
failures = st.builds(Attempt, started_at=st.just(0), duration_ms=durations, status=st.just(500)) | refusals | breakages
chances = st.floats(0, 1, exclude_max=True)
# Most lives are long: an end that comes before its time is one of the many things that can be met.
histories = st.lists(
    st.tuples(failures | failures | failures | failures | failures | ends, chances), min_size=12, max_size=12
)


class CountingOutbox:
    """The real outbox, and how often it was asked for something to claim."""

    def __init__(self, outbox: SqlOutbox) -> None:
        self._outbox = outbox
        self.claims = 0

    def claim(self, plan: ClaimPlan, *, now_ms: int, lease_ms: int, lease_token: str) -> Claim:
        claimed = self._outbox.claim(plan, now_ms=now_ms, lease_ms=lease_ms, lease_token=lease_token)
        self.claims += 1
        return claimed

    def record(self, results: Sequence[AttemptResult], *, now_ms: int) -> None:
        self._outbox.record(results, now_ms=now_ms)

    def release(self, claimed: Sequence[ClaimedCallback]) -> None:
        self._outbox.release(claimed)

    def reclaim(self, *, now_ms: int) -> Reclaimed:
        return self._outbox.reclaim(now_ms=now_ms)

    def close(self) -> None:
        self._outbox.close()


class FatedSender:
    """Meets what the history says, attempt by attempt, and takes its time by the clock."""

    def __init__(self, history: Sequence[Met], clock: FakeClock, chance: FakeChance) -> None:
        self._history = iter(history)
        self._clock = clock
        self._chance = chance
        self.made: list[Attempt] = []
        self.numbers: list[int] = []

    async def send(self, claimed: ClaimedCallback) -> Attempt:
        met, share = next(self._history)
        values = {name: getattr(met, name) for name in ("duration_ms", "status", "error", "retry_after_ms", "is_abort")}
        attempt = Attempt(started_at=self._clock.now_ms(), **values)
        self._chance.set(share)
        self._clock.advance(attempt.duration_ms)
        self.made.append(attempt)
        self.numbers.append(claimed.number)
        return attempt


class Life:
    """One message from its commit to its end; `dues` are the times that the store gave its attempts."""

    def __init__(self, stored: Settings, number: int, history: Sequence[Met]) -> None:
        self.clock = FakeClock(COMMITTED_AT)
        self._chance = FakeChance()
        self.sender = FatedSender(history, self.clock, self._chance)
        self.dues: list[int] = []
        self._stored = stored
        self._number = number
        self._reader = open_reader(stored.database_url)
        self._outbox = CountingOutbox(open_outbox(stored))

    def row(self) -> dict[str, Any]:
        with self._reader.connect() as connection:
            wanted = select(callbacks).filter_by(callback_id=f"msg_{self._number}")
            return dict(connection.execute(wanted).mappings().one())

    async def run(self) -> dict[str, Any]:
        """Live it; the row at the end."""
        store = open_transfer_store(self._stored)
        message = facts.callback(self._number, due_at=COMMITTED_AT, expires_at=EXPIRES_AT)
        with store.begin() as transaction:
            transaction.write(Changes(callbacks=[message]))
        store.close()
        with ThreadPoolExecutor(1) as thread:
            dispatcher = Dispatcher(
                self._outbox,
                self.sender,
                executor=thread,
                clock=self.clock,
                ids=SystemIds(),
                chance=self._chance,
                limits=DispatchLimits(in_flight=1, lease_ms=MINUTE, grace_s=0),
            )
            dispatcher.start()
            while (row := await self._settled(dispatcher))["state"] == "pending":
                await self._live_on(dispatcher, row["due_at"])
            await dispatcher.stop()
            thread.submit(self._outbox.close).result()
        self._reader.dispose()
        return row

    async def _live_on(self, dispatcher: Dispatcher, due_at: int) -> None:
        """Pass the time until the next attempt, looking on the last millisecond before it is due."""
        if not self.dues or self.dues[-1] != due_at:
            self.dues.append(due_at)
            self.clock.set(due_at - 1)
            before = len(self.sender.made)
            await self._settled(dispatcher)
            assert len(self.sender.made) == before
            self.clock.set(due_at)
        else:
            self.clock.set(due_at + LONGEST_HOLD)

    async def _settled(self, dispatcher: Dispatcher) -> dict[str, Any]:
        """The row once the dispatcher has looked at the time that it is, and has recorded what it began."""
        seen = self._outbox.claims
        async with asyncio.timeout(SETTLED_WITHIN_S):
            while self._outbox.claims < seen + 2 or self.row()["attempts"] < len(self.sender.made):
                dispatcher.wake()
                await asyncio.sleep(0.001)
        return self.row()


def due_end(made: Sequence[Attempt]) -> tuple[str, str | None]:
    """How the message has to end after these attempts, by the documented table."""
    last = made[-1]
    if last.status is not None and last.status < 300:
        return "delivered", None
    if last.status == 410:
        return "dead", "gone"
    if last.is_abort:
        return "dead", "aborted"
    if last.error is ErrorClass.ADDRESS and len(made) >= 3:
        return "dead", "address"
    return "dead", "exhausted" if len(made) == 12 else "expired"


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    made = Settings(database_url=f"sqlite:///{tmp_path_factory.mktemp('lives')}/handoff.db")
    load_directory(made, sample.directory())
    return made


NUMBERS = itertools.count(1)


@settings(deadline=None, max_examples=30)
@given(history=histories)
def test_every_life_keeps_to_the_schedule_and_ends_as_documented(stored: Settings, history: list[Met]) -> None:
    life = Life(stored, next(NUMBERS), history)
    row = asyncio.run(life.run())
    made = life.sender.made

    assert life.sender.numbers == list(range(1, len(made) + 1))
    assert len(made) == row["attempts"] <= 12
    assert all(attempt.started_at < EXPIRES_AT for attempt in made)
    assert (row["state"], row["dead_reason"]) == due_end(made)
    for delay, ended, due_at, follower in zip(DELAYS, made, life.dues, made[1:], strict=False):
        asked = min(ended.retry_after_ms or 0, 24 * HOUR)
        waited = due_at - ended.started_at - ended.duration_ms
        assert max(delay, asked) <= waited <= max(delay + min(delay // 4, 15 * MINUTE), asked)
        assert due_at <= follower.started_at <= due_at + LONGEST_HOLD
