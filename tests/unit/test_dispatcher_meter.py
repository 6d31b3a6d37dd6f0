"""What the dispatcher tells of its work, on a real SQLite outbox."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import Any

import pytest

from handoff import Settings, load_directory
from handoff.domain.model import Callback
from handoff.domain.retry import Attempt, ErrorClass
from handoff.outboxes import open_outbox
from handoff.service.dispatcher import Dispatcher, DispatchLimits
from handoff.service.ports import Changes, ClaimedCallback
from handoff.stores import open_transfer_store
from handoff.system import SystemChance, SystemClock, SystemIds
from handoff.telemetry.metrics import Metrics
from rigs import facts, sample
from rigs.metrics import metrics, read

pytestmark = pytest.mark.anyio


class Receivers:
    """Answers every attempt as the test says, when `gate` lets it."""

    def __init__(self, **answer: Any) -> None:
        self.gate = asyncio.Event()
        self.gate.set()
        self._answer = answer

    async def send(self, claimed: ClaimedCallback) -> Attempt:
        del claimed
        await self.gate.wait()
        return Attempt(started_at=SystemClock().now_ms(), duration_ms=20, **self._answer)


@pytest.fixture
def stored(sqlite_url: str) -> Settings:
    settings = Settings(database_url=sqlite_url)
    load_directory(settings, sample.directory())
    return settings


@pytest.fixture
def measured() -> Metrics:
    return metrics()


def write(settings: Settings, callbacks: Sequence[Callback]) -> None:
    store = open_transfer_store(settings)
    with store.begin() as transaction:
        transaction.write(Changes(callbacks=callbacks))
    store.close()


def due(count: int, **changes: Any) -> list[Callback]:
    changes = {"due_at": 0, "expires_at": SystemClock().now_ms() + facts.HOUR_MS} | changes
    return [facts.callback(number, **changes) for number in range(1, count + 1)]


async def eventually(holds: Callable[[], bool]) -> None:
    while not holds():  # noqa: ASYNC110 (what is waited for is told by another thread)
        await asyncio.sleep(0.01)


@asynccontextmanager
async def dispatching(settings: Settings, sender: Receivers, meter: Metrics) -> AsyncIterator[None]:
    with ThreadPoolExecutor(1) as executor:
        outbox = open_outbox(settings)
        dispatcher = Dispatcher(
            outbox,
            sender,
            executor=executor,
            clock=SystemClock(),
            ids=SystemIds(),
            chance=SystemChance(),
            limits=DispatchLimits(in_flight=16, lease_ms=60_000, grace_s=5),
            meter=meter,
        )
        dispatcher.start()
        yield
        await dispatcher.stop()
        executor.submit(outbox.close).result()


async def test_attempts_are_counted_and_timed_and_claims_too(stored: Settings, measured: Metrics) -> None:
    write(stored, due(3))
    async with dispatching(stored, Receivers(status=204), measured):
        await eventually(lambda: read(measured)['handoff_callback_attempts_total{class="2xx"}'] == 3)
    series = read(measured)

    assert series["handoff_callback_attempt_duration_seconds_count"] == 3
    assert series["handoff_callback_attempt_duration_seconds_sum"] == pytest.approx(0.06)
    assert series["handoff_claim_duration_seconds_count"] >= 1
    assert series['handoff_store_errors_total{part="outbox"}'] == 0


async def test_a_dead_callback_is_counted_by_its_reason(stored: Settings, measured: Metrics) -> None:
    write(stored, due(2))
    async with dispatching(stored, Receivers(status=410), measured):
        await eventually(lambda: read(measured)['handoff_callbacks_dead_total{reason="gone"}'] == 2)


async def test_a_callback_buried_unattempted_is_counted_and_told(
    stored: Settings, measured: Metrics, caplog: pytest.LogCaptureFixture
) -> None:
    write(stored, due(2, expires_at=1))
    async with dispatching(stored, Receivers(status=204), measured):
        await eventually(lambda: read(measured)['handoff_callbacks_dead_total{reason="expired"}'] == 2)

    (record,) = [record for record in caplog.records if record.message == "callbacks buried"]
    assert (record.levelno, vars(record)["reason"], vars(record)["count"]) == (logging.WARNING, "expired", 2)


async def test_a_poisonous_callback_is_counted_when_it_is_buried(stored: Settings, measured: Metrics) -> None:
    write(stored, due(1))
    outbox = open_outbox(stored)
    for turn in range(5):
        outbox.claim(facts.UpTo(1), now_ms=1_000 + turn * 10, lease_ms=5, lease_token=f"t-{turn}")
        if turn < 4:
            outbox.reclaim(now_ms=1_005 + turn * 10)
    outbox.close()
    async with dispatching(stored, Receivers(status=204), measured):
        await eventually(lambda: read(measured)['handoff_callbacks_dead_total{reason="poison"}'] == 1)


async def test_what_is_under_way_is_told(stored: Settings, measured: Metrics) -> None:
    write(stored, due(4))
    receivers = Receivers(status=204)
    receivers.gate.clear()
    async with dispatching(stored, receivers, measured):
        await eventually(lambda: read(measured)["handoff_callbacks_in_flight"] == 4)
        receivers.gate.set()
        await eventually(lambda: read(measured)["handoff_callbacks_in_flight"] == 0)


async def test_a_receiver_that_is_gone_is_an_open_lane(stored: Settings, measured: Metrics) -> None:
    write(stored, due(8))
    async with dispatching(stored, Receivers(error=ErrorClass.CONNECT), measured):
        await eventually(lambda: read(measured)["handoff_open_lanes"] == 1)

    assert read(measured)['handoff_callback_attempts_total{class="connect"}'] == 8


async def test_a_store_that_fails_is_counted(stored: Settings, measured: Metrics) -> None:
    settings = stored.model_copy(update={"database_url": "sqlite:////nowhere/at/all.db"})
    async with dispatching(settings, Receivers(status=204), measured):
        await eventually(lambda: read(measured)['handoff_store_errors_total{part="outbox"}'] >= 1)
