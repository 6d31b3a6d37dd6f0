"""Budgets count the same wherever they are counted: in this process or, for several, in Redis."""

import asyncio
import logging
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path

import pytest
from redis.asyncio import Redis

from conftest import StartService
from fakes import FakeClock
from handoff import Settings, load_directory
from handoff.domain.rate import Rate
from handoff.rates.shared import SharedBudgets
from handoff.service.meter import UNMEASURED, Part, Unmeasured
from handoff.service.rates import Budgets, OwnBudgets
from rigs import sample
from rigs.callers import callers
from rigs.redis_server import PASSWORD, RedisServer

pytestmark = pytest.mark.anyio

NAME = "transfers:acc-1"
Open = Callable[[Rate], Awaitable[Budgets]]


class Counted(Unmeasured):
    """What a meter was told of the rates' store."""

    def __init__(self) -> None:
        self.failures: list[Part] = []

    def store_failed(self, part: Part) -> None:
        self.failures.append(part)


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[RedisServer]:
    with RedisServer(tmp_path) as server:
        yield server


@pytest.fixture
async def shared(redis: RedisServer) -> AsyncIterator[Callable[..., SharedBudgets]]:
    """Budgets in the one server, as many clients of it as asked for."""
    opened: list[SharedBudgets] = []

    def make(
        rate: Rate,
        meter: Unmeasured = UNMEASURED,  # type: ignore[assignment] # it is one
        now_s: Callable[[], float] = time.monotonic,
    ) -> SharedBudgets:
        opened.append(SharedBudgets(redis.url, rate, now_s, meter))
        return opened[-1]

    yield make
    for one in opened:
        await one.close()


@pytest.fixture(params=["own", "redis"])
def open_budgets(request: pytest.FixtureRequest) -> Callable[[Rate], Budgets]:
    """Budgets of this process, or in Redis."""
    if request.param == "own":
        return lambda rate: OwnBudgets(rate, time.monotonic)
    shared: Callable[[Rate], Budgets] = request.getfixturevalue("shared")
    return shared


async def granted(budgets: Budgets, count: int, name: str = NAME) -> int:
    return sum([(await budgets.take(name)).is_granted for _ in range(count)])


async def test_calls_are_granted_up_to_the_limit_and_told_what_is_left(
    open_budgets: Callable[[Rate], Budgets],
) -> None:
    budgets = open_budgets(Rate(3, "minute"))
    quotas = [await budgets.take(NAME) for _ in range(5)]

    assert [(quota.is_granted, quota.remaining) for quota in quotas] == [
        (True, 2),
        (True, 1),
        (True, 0),
        (False, 0),
        (False, 0),
    ]
    assert all(30_000 < quota.reset_ms <= 60_000 for quota in quotas)
    assert not any(quota.is_stand_in for quota in quotas)


async def test_each_budget_is_its_own(open_budgets: Callable[[Rate], Budgets]) -> None:
    budgets = open_budgets(Rate(1, "minute"))

    assert [await granted(budgets, 2, name) for name in ("transfers:a", "transfers:b", "others:a")] == [1, 1, 1]


async def test_after_the_time_that_was_told_a_call_is_granted(open_budgets: Callable[[Rate], Budgets]) -> None:
    budgets = open_budgets(Rate(2, "second"))
    await granted(budgets, 2)
    refused = await budgets.take(NAME)
    await asyncio.sleep(refused.reset_ms / 1_000 + 0.01)

    assert not refused.is_granted
    assert 1 <= await granted(budgets, 3) <= 2


async def test_what_is_given_back_can_be_taken_again_and_once(open_budgets: Callable[[Rate], Budgets]) -> None:
    budgets = open_budgets(Rate(2, "minute"))
    first = await budgets.take(NAME)
    await budgets.take(NAME)
    refused = await budgets.take(NAME)
    for quota in (first, refused):
        await budgets.give_back(NAME, quota)

    assert await granted(budgets, 3) == 1


async def test_several_processes_share_one_budget_in_redis(shared: Callable[..., SharedBudgets]) -> None:
    clients = [shared(Rate(25, "minute")) for _ in range(3)]
    quotas = await asyncio.gather(*(clients[number % 3].take(NAME) for number in range(90)))
    await clients[0].give_back(NAME, next(quota for quota in quotas if quota.is_granted))

    assert sum(quota.is_granted for quota in quotas) == 25
    assert await granted(clients[1], 2) == 1


async def test_while_redis_is_away_each_process_counts_by_itself_and_says_so(
    redis: RedisServer, shared: Callable[..., SharedBudgets], caplog: pytest.LogCaptureFixture
) -> None:
    meter = Counted()
    budgets = shared(Rate(2, "minute"), meter)
    await budgets.take(NAME)
    redis.kill()
    with caplog.at_level(logging.WARNING):
        quotas = [await budgets.take(NAME) for _ in range(4)]
        await budgets.give_back(NAME, quotas[0])
        again = await budgets.take(NAME)

    assert [(quota.is_granted, quota.is_stand_in) for quota in (*quotas, again)] == [
        (True, True),
        (True, True),
        (False, True),
        (False, True),
        (True, True),
    ]
    assert [record.message for record in caplog.records] == ["rate limit counted by this process alone"]
    assert PASSWORD not in caplog.text
    assert meter.failures == ["rates"]


async def test_redis_is_asked_again_after_a_second(redis: RedisServer, shared: Callable[..., SharedBudgets]) -> None:
    clock = FakeClock()
    budgets = shared(Rate(2, "minute"), now_s=lambda: clock.now_ms() / 1_000)
    redis.kill()
    away = await budgets.take(NAME)
    redis.start()
    at_once = await budgets.take(NAME)
    clock.advance(1_000)
    later = await budgets.take(NAME)
    await budgets.give_back(NAME, away)

    assert [quota.is_stand_in for quota in (away, at_once, later)] == [True, True, False]
    assert (later.is_granted, later.remaining) == (True, 1)


async def test_a_redis_that_hangs_holds_up_one_moment_of_calls_and_no_others(
    redis: RedisServer, shared: Callable[..., SharedBudgets]
) -> None:
    clock, meter = FakeClock(), Counted()
    budgets = shared(Rate(1_000, "minute"), meter, lambda: clock.now_ms() / 1_000)
    await budgets.take(NAME)
    redis.hang()
    began = time.monotonic()
    first = await asyncio.gather(*(budgets.take(NAME) for _ in range(50)))
    took_s = time.monotonic() - began
    then = [await budgets.take(NAME) for _ in range(50)]
    failures = len(meter.failures)
    clock.advance(1_000)
    later = [asyncio.ensure_future(budgets.take(NAME)) for _ in range(50)]
    done, held_up = await asyncio.wait(later, return_when=asyncio.FIRST_COMPLETED)
    await asyncio.gather(*later)
    redis.go_on()

    assert all(quota.is_granted and quota.is_stand_in for quota in (*first, *then))
    assert took_s < 25  # one after the other they would wait for 50
    assert (failures, len(meter.failures)) == (50, 51)
    assert (len(done), len(held_up)) == (49, 1)


async def test_services_on_one_redis_grant_an_account_its_limit_together(
    redis: RedisServer, postgres_url: str, start_service: StartService
) -> None:
    load_directory(Settings(database_url=postgres_url), sample.directory())
    limits = {"dispatcher": "off", "rate_limit": "30/minute", "rate_limit_store": redis.url}
    services = [start_service(postgres_url, settings=limits) for _ in range(2)]
    async with callers([service.url for service in services]) as group:
        answers = await group.call_at_once([sample.body(aId="a-nobody")] * 80)
        redis.kill()
        without = await group.call_at_once([sample.body(aId="a-nobody")] * 4)

    assert Counter(answer.status_code for answer in answers) == {404: 30, 429: 50}
    assert {answer.status_code for answer in without} == {404}
    assert [PASSWORD for service in services if PASSWORD in service.log.read_text()] == []


async def test_without_its_package_the_setting_is_refused_with_what_to_install(tmp_path: Path) -> None:
    code = (
        "import sys; sys.modules['redis'] = None; from handoff import Settings, create_app;"
        f"create_app(Settings(database_url='sqlite:///{tmp_path}/h.db', rate_limit_store='redis://localhost'))"
    )
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", code, cwd=tmp_path, stderr=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
    )
    _, said = await process.communicate()

    assert "pip install 'handoff[redis]'" in said.decode()
    assert process.returncode == 1


async def test_a_server_whose_clock_was_set_back_holds_nobody_up_until_it_has_caught_up(
    redis: RedisServer, shared: Callable[..., SharedBudgets]
) -> None:
    budgets = shared(Rate(2, "minute"))
    now_ms = time.time_ns() // 1_000_000
    client = Redis.from_url(redis.url)
    for ahead_ms in (86_400_000, 86_400_001):
        await client.lpush(f"handoff:rate:{NAME}", now_ms + ahead_ms)
    await client.lpush("handoff:rate:near", now_ms + 30_000)
    await client.aclose()

    first = await budgets.take(NAME)

    assert (first.is_granted, first.remaining, first.reset_ms) == (True, 1, 60_000)
    assert await granted(budgets, 3) == 1
    assert await granted(budgets, 3, "near") == 1
