"""Ten times as many callers as the service can take at one time, beside clients that mean no good.

Nobody is told anything but what is documented, memory stays within bounds, and afterwards everything is as before.
"""

import asyncio
import resource
import time
from collections.abc import Awaitable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from conftest import StartService
from handoff import Settings, load_directory
from handoff.store import tables as t
from handoff.stores import open_audit
from rigs import sample
from rigs.callers import callers
from rigs.flood import Flood, all_of
from rigs.service import Service
from rigs.tables import Tables

pytestmark = pytest.mark.alone

# What the process may take more than before, at its peak.
MOST_MORE_MB = 100
# The calls that wait or are being written; a tenth of the callers.
QUEUE_LIMIT = 16
BATCH_LIMIT = 8
CALLERS = 10 * (QUEUE_LIMIT + BATCH_LIMIT)
AFTERWARDS = QUEUE_LIMIT
# What the store's threads open when they are first needed.
MORE_FILES = 4
# What a machine may give to a process; the service has to ask for more.
FEW_FILES = 256
ENOUGH_FILES = 2_000
RATE_LIMIT = "100/second"


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """`idle` connections and `each` clients of every hostile kind, for so many seconds, with this `command`."""

    idle: int
    each: int
    seconds: float
    trickle_s: float
    cut_off_within_s: float
    command: tuple[str, ...] = ("handoff", "serve")


SHORT = Run(
    idle=300,
    each=3,
    seconds=1.5,
    trickle_s=0.1,
    cut_off_within_s=20,
    command=("programs.serves_impatiently",),
)
LONG = Run(idle=2_000, each=20, seconds=60, trickle_s=1, cut_off_within_s=60)


@pytest.fixture
def run(*, is_long: bool) -> Run:
    return LONG if is_long else SHORT


@contextmanager
def open_files(limit: int) -> Iterator[None]:
    """So many files at the most, for this process and for those that it starts."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(before[1], limit), before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, before)


def memory_mb(service: Service, line: str) -> float:
    """`VmRSS` is what the process has of memory now, `VmHWM` what it had at its peak."""
    status = Path(f"/proc/{service.pid}/status").read_text()
    return next(int(one.split()[1]) / 1_024 for one in status.splitlines() if one.startswith(line))


def files(service: Service) -> int:
    return sum(1 for _ in Path(f"/proc/{service.pid}/fd").iterdir())


def clients_of(flood: Flood, run: Run) -> list[Awaitable[None]]:
    hostile = [
        client
        for _ in range(run.each)
        for client in (
            flood.slow_head(run.trickle_s),
            flood.slow_body(run.trickle_s),
            flood.long_head(),
            flood.long_body(),
            flood.pipeliner(),
        )
    ]
    idle = [flood.idler() for _ in range(run.idle)]
    # The idle ones first, so that it is they who make room, and not those whom a clock has to cut off.
    return [*idle, *hostile, *(flood.caller(f"s-{number}") for number in range(CALLERS)), flood.probe()]


async def stop_after(flood: Flood, seconds: float) -> None:
    await asyncio.sleep(seconds)
    flood.stop()


async def calls_afterwards(service: Service) -> list[int]:
    bodies = [
        sample.body(aId=None, transferredType="QUEUE", queueId=sample.QUEUE, botSessionId=f"b-{number}")
        for number in range(AFTERWARDS)
    ]
    async with callers([service.url]) as group:
        return [answer.status_code for answer in await group.call_at_once(bodies)]


async def until_files_are(service: Service, most: int) -> int:
    """How many files are open, once they are as few as that, or after some seconds."""
    deadline = time.monotonic() + 10
    while files(service) > most and time.monotonic() < deadline:  # noqa: ASYNC110 (another process has no event)
        await asyncio.sleep(0.05)
    return files(service)


def load(url: str) -> None:
    names = [f"s-{number}" for number in range(CALLERS)] + [f"b-{number}" for number in range(AFTERWARDS)]
    load_directory(Settings(database_url=url), sample.directory(sessions=[sample.session(name) for name in names]))


def require_whole(url: str, acknowledged: set[str]) -> None:
    """Whatever was told is in the store, and the store keeps its rules."""
    store = Tables(url)
    recorded = {row["transfer_id"] for row in store.rows(t.transfers) if row["status"] == 200}
    store.close()
    audit = open_audit(Settings(database_url=url))
    violations = audit.violations()
    audit.close()

    assert acknowledged <= recorded
    assert violations == []


@pytest.mark.anyio
@pytest.mark.timeout(600)
async def test_too_many_callers_and_hostile_clients_get_documented_answers_and_leave_nothing(
    database_url: str, start_service: StartService, run: Run
) -> None:
    load(database_url)
    settings = {
        "dispatcher": "off",
        "queue_limit": QUEUE_LIMIT,
        "batch_limit": BATCH_LIMIT,
        # Fewer than there are clients, so that some have to make room.
        "connections_limit": CALLERS + run.idle * 3 // 4,
    }
    with open_files(FEW_FILES):
        service = start_service(database_url, command=run.command, settings=settings)
    assert await calls_afterwards(service) == [200] * AFTERWARDS
    await asyncio.sleep(0.2)  # so that the connections of these calls are closed
    before_mb, files_before = memory_mb(service, "VmRSS"), files(service)

    flood = Flood(service.port)
    with open_files(run.idle + ENOUGH_FILES):
        await all_of([*clients_of(flood, run), stop_after(flood, run.seconds)], run.seconds + run.cut_off_within_s)
    seen = flood.seen
    more_mb = memory_mb(service, "VmHWM") - before_mb
    after = await calls_afterwards(service)

    tell(database_url, run, flood, more_mb)
    assert seen.calls.keys() == {(200, "transferred"), (503, "overloaded")}
    assert set(seen.probes) == {200}
    assert {status for kind, status in seen.others if kind == "long head"} <= {431, 0}
    assert {status for kind, status in seen.others if kind == "long body"} <= {413, 0}
    assert {status for kind, status in seen.others if kind == "requests in a row"} <= {200, 0}
    assert [seen.others[kind, 0] for kind in ("idle", "slow head", "slow body")] == [run.idle, run.each, run.each]
    assert more_mb < MOST_MORE_MB
    assert after == [200] * AFTERWARDS
    assert await until_files_are(service, files_before + MORE_FILES) <= files_before + MORE_FILES
    assert service.stop() == 0
    require_whole(database_url, seen.acknowledged)


@pytest.mark.anyio
async def test_a_flood_beyond_the_rate_of_its_account_is_told_so_and_how_long_to_wait(
    database_url: str, start_service: StartService, run: Run
) -> None:
    load(database_url)
    settings = {"dispatcher": "off", "rate_limit": RATE_LIMIT, "queue_limit": QUEUE_LIMIT, "batch_limit": BATCH_LIMIT}
    service = start_service(database_url, settings=settings)

    flood = Flood(service.port)
    calling = [flood.caller(f"s-{number}") for number in range(CALLERS)]
    await all_of([*calling, flood.probe(), stop_after(flood, min(run.seconds, 10))], 60)
    await asyncio.sleep(1.1)
    after = await calls_afterwards(service)

    print(f"\n{database_url.partition(':')[0]}, {RATE_LIMIT}: {dict(flood.seen.calls)}")
    assert {(200, "transferred"), (429, "rate_limited")} <= flood.seen.calls.keys()
    assert flood.seen.calls.keys() <= {(200, "transferred"), (429, "rate_limited"), (503, "overloaded")}
    assert set(flood.seen.probes) == {200}
    assert after == [200] * AFTERWARDS
    require_whole(database_url, flood.seen.acknowledged)


def tell(url: str, run: Run, flood: Flood, more_mb: float) -> None:
    calls, others = flood.seen.calls, dict(sorted(flood.seen.others.items()))
    taken, asked = calls[200, "transferred"], calls.total()
    print(
        f"\n{url.partition(':')[0]}: {CALLERS} callers, {run.idle} idle: {asked / run.seconds:.0f} calls a second, "
        f"{taken / run.seconds:.0f} of them taken, the others refused; hostile: {others}; "
        f"{flood.seen.probes.total()} probes, the slowest {max(flood.seen.waited_s):.2f} s; {more_mb:.0f} MB more"
    )
