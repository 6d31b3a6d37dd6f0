"""The dispatcher on a real SQLite outbox, with senders that do what a test needs."""

import asyncio
import sqlite3
import threading
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, closing
from dataclasses import replace

import pytest
from sqlalchemy import select

from handoff import Settings, load_directory
from handoff.domain.retry import Attempt
from handoff.outboxes import open_outbox
from handoff.service.dispatcher import Dispatcher, DispatchLimits
from handoff.service.ports import (
    AttemptResult,
    Changes,
    Claim,
    ClaimedCallback,
    ClaimPlan,
    Reclaimed,
    StoreUnavailable,
)
from handoff.store.engine import open_reader
from handoff.store.outbox import SqlOutbox
from handoff.store.tables import callback_attempts, callbacks
from handoff.stores import open_transfer_store
from handoff.system import SystemChance, SystemClock, SystemIds
from rigs import facts, sample

pytestmark = pytest.mark.anyio

LIMITS = DispatchLimits(in_flight=4, lease_ms=60_000, grace_s=5)


class RecordingSender:
    """Says 204 to everything, when `gate` lets it."""

    def __init__(self) -> None:
        self.sent: list[str] = []
        self.most_at_once = 0
        self.gate = asyncio.Event()
        self.gate.set()
        self._under_way = 0

    async def send(self, claimed: ClaimedCallback) -> Attempt:
        self.sent.append(claimed.callback_id)
        self._under_way += 1
        self.most_at_once = max(self.most_at_once, self._under_way)
        await self.gate.wait()
        self._under_way -= 1
        return Attempt(started_at=SystemClock().now_ms(), duration_ms=1, status=204)


class BrokenSender(RecordingSender):
    """Has a mistake in it."""

    async def send(self, claimed: ClaimedCallback) -> Attempt:
        await super().send(claimed)
        raise ZeroDivisionError


class UnevenSender(RecordingSender):
    """Says 204 to the first message at once, and to others when `gate` lets it."""

    def __init__(self) -> None:
        super().__init__()
        self.gate.clear()

    async def send(self, claimed: ClaimedCallback) -> Attempt:
        if claimed.callback_id == "msg_1":
            return Attempt(started_at=SystemClock().now_ms(), duration_ms=1, status=204)
        return await super().send(claimed)


class FlakyOutbox:
    """A real outbox whose store is away for the first calls of one kind."""

    def __init__(self, outbox: SqlOutbox, *, failing: str, failures: list[Exception]) -> None:
        self._outbox = outbox
        self._failing = failing
        self._failures = failures

    def _fail(self, call: str) -> None:
        if call == self._failing and self._failures:
            raise self._failures.pop()

    def claim(self, plan: ClaimPlan, *, now_ms: int, lease_ms: int, lease_token: str) -> Claim:
        self._fail("claim")
        return self._outbox.claim(plan, now_ms=now_ms, lease_ms=lease_ms, lease_token=lease_token)

    def record(self, results: Sequence[AttemptResult], *, now_ms: int) -> None:
        self._fail("record")
        self._outbox.record(results, now_ms=now_ms)

    def reclaim(self, *, now_ms: int) -> Reclaimed:
        self._fail("reclaim")
        return self._outbox.reclaim(now_ms=now_ms)

    def release(self, claimed: Sequence[ClaimedCallback]) -> None:
        self._outbox.release(claimed)

    def close(self) -> None:
        self._outbox.close()


class SlowOutbox(FlakyOutbox):
    """A real outbox that records when `may_record` lets it."""

    def __init__(self, outbox: SqlOutbox) -> None:
        super().__init__(outbox, failing="", failures=[])
        self.is_recording = threading.Event()
        self.may_record = threading.Event()

    def record(self, results: Sequence[AttemptResult], *, now_ms: int) -> None:
        self.is_recording.set()
        self.may_record.wait()
        super().record(results, now_ms=now_ms)


@pytest.fixture
def stored(sqlite_url: str) -> Settings:
    settings = Settings(database_url=sqlite_url)
    load_directory(settings, sample.directory())
    return settings


def write(settings: Settings, count: int, *, first: int = 1, lives_ms: int = facts.HOUR_MS) -> None:
    """Due messages, in their order; they expire `lives_ms` from now."""
    store = open_transfer_store(settings)
    expires_at = SystemClock().now_ms() + lives_ms
    with store.begin() as transaction:
        transaction.write(
            Changes(
                callbacks=[
                    facts.callback(number, due_at=number, expires_at=expires_at)
                    for number in range(first, first + count)
                ]
            )
        )
    store.close()


def states(settings: Settings) -> list[str]:
    engine = open_reader(settings.database_url)
    with engine.connect() as connection:
        found = list(connection.scalars(select(callbacks.c.state).order_by(callbacks.c.callback_id)))
    engine.dispose()
    return found


def attempts(settings: Settings) -> list[str | None]:
    engine = open_reader(settings.database_url)
    with engine.connect() as connection:
        found = list(connection.scalars(select(callback_attempts.c.error)))
    engine.dispose()
    return found


async def eventually(holds: Callable[[], bool]) -> None:
    while not holds():  # noqa: ASYNC110 (what is waited for is in a database)
        await asyncio.sleep(0.01)


@asynccontextmanager
async def dispatching(
    outbox: SqlOutbox | FlakyOutbox, sender: RecordingSender, limits: DispatchLimits = LIMITS
) -> AsyncIterator[Dispatcher]:
    with ThreadPoolExecutor(1) as executor:
        dispatcher = Dispatcher(
            outbox,
            sender,
            executor=executor,
            clock=SystemClock(),
            ids=SystemIds(),
            chance=SystemChance(),
            limits=limits,
        )
        dispatcher.start()
        yield dispatcher
        await dispatcher.stop()
        executor.submit(outbox.close).result()


async def test_no_more_attempts_are_under_way_than_the_limit_allows(stored: Settings) -> None:
    write(stored, 20)
    sender = RecordingSender()
    sender.gate.clear()

    async with dispatching(open_outbox(stored), sender):
        await eventually(lambda: len(sender.sent) == LIMITS.in_flight)
        sender.gate.set()
        await eventually(lambda: states(stored) == ["delivered"] * 20)

    assert sender.most_at_once == LIMITS.in_flight
    assert len(sender.sent) == len(set(sender.sent)) == 20


@pytest.mark.parametrize("failing", ["claim", "record", "reclaim"])
async def test_a_store_that_was_away_costs_nothing_but_time(stored: Settings, failing: str) -> None:
    write(stored, 6)
    sender = RecordingSender()
    failures: list[Exception] = [StoreUnavailable("away", is_lost=True), sqlite3.OperationalError("odd")]

    async with dispatching(FlakyOutbox(open_outbox(stored), failing=failing, failures=failures), sender) as dispatcher:
        await eventually(lambda: states(stored) == ["delivered"] * 6 and not failures)

        assert dispatcher.is_alive
    assert len(sender.sent) == 6


async def test_a_result_that_cannot_be_written_holds_up_no_other(stored: Settings) -> None:
    write(stored, 6)
    refuse = "CREATE TRIGGER refuse BEFORE INSERT ON callback_attempts WHEN new.callback_id = 'msg_3'"
    with closing(sqlite3.connect(stored.database_url.removeprefix("sqlite:///"))) as connection:
        connection.executescript(f"{refuse} BEGIN SELECT RAISE(ABORT, 'refused by the test'); END")

    async with dispatching(open_outbox(stored), RecordingSender()):
        await eventually(lambda: states(stored).count("delivered") == 5)

    assert states(stored)[2] == "sending"


async def test_messages_that_expired_while_their_receiver_was_gone_hold_up_no_live_one(stored: Settings) -> None:
    write(stored, 20_000, lives_ms=-1)
    write(stored, 1, first=20_001)
    sender = RecordingSender()

    # A dispatcher that rested after each step would take twenty seconds, and one that buried by the slot hours.
    async with dispatching(open_outbox(stored), sender), asyncio.timeout(15):
        await eventually(lambda: bool(sender.sent))

    assert len(sender.sent) == 1
    assert states(stored).count("dead") == 20_000


async def test_a_mistake_in_an_attempt_ends_that_attempt_only(
    stored: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    write(stored, 1)
    sender = BrokenSender()

    async with dispatching(open_outbox(stored), sender) as dispatcher:
        await eventually(lambda: "attempt broke off" in caplog.text)

        assert dispatcher.is_alive
    assert states(stored) == ["sending"]


async def test_an_attempt_that_outlasts_the_grace_period_is_given_back_uncounted(stored: Settings) -> None:
    write(stored, 1)
    sender = RecordingSender()
    sender.gate.clear()

    async with dispatching(open_outbox(stored), sender, replace(LIMITS, grace_s=0)):
        await eventually(lambda: len(sender.sent) == 1)
    outbox = open_outbox(stored)
    (again,) = outbox.claim(facts.UpTo(1), now_ms=SystemClock().now_ms(), lease_ms=1, lease_token="two").callbacks
    outbox.close()

    assert attempts(stored) == []
    assert (again.number, again.claim) == (1, 1)


async def test_a_result_that_comes_while_others_are_recorded_is_recorded_before_the_stop_ends(
    stored: Settings,
) -> None:
    write(stored, 2)
    outbox, sender = SlowOutbox(open_outbox(stored)), UnevenSender()

    async with dispatching(outbox, sender) as dispatcher:
        await asyncio.to_thread(outbox.is_recording.wait)
        sender.gate.set()
        stopping = asyncio.create_task(dispatcher.stop())
        await asyncio.wait([stopping], timeout=0.2)
        outbox.may_record.set()
        await stopping

    assert states(stored) == ["delivered"] * 2


async def test_a_dispatcher_that_was_stopped_is_not_alive(stored: Settings) -> None:
    async with dispatching(open_outbox(stored), RecordingSender()) as dispatcher:
        alive = dispatcher.is_alive

    assert alive
    assert not dispatcher.is_alive
