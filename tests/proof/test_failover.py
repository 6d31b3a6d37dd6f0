"""A database that restarts, dies or fails over costs calls a 503 and nothing that was acknowledged."""

import asyncio
import json
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from urllib.parse import urlsplit

import httpx
import pytest
from sqlalchemy import select

from conftest import StartService
from handoff import Settings, load_directory
from handoff.migrating import migrate_store
from handoff.store.engine import open_reader
from handoff.store.tables import sessions
from handoff.stores import open_audit
from rigs import sample
from rigs.load import Load, Told, directory, load
from rigs.postgres import PostgresServer
from rigs.receiver import Receiver
from rigs.replica import Replica
from rigs.service import Service

CONTESTS = 8
# How long the database stays away: enough for every caller to meet it.
DOWN_S = 0.5
# The last 503 comes this soon after the database takes writes again: all connections are made anew within it.
BACK_WITHIN_S = 5.0
# Outcomes of every service that say: all is well again.
WELL = 20
# A lease may have been lost, and its message retried: far longer than both.
DELIVERED_WITHIN_S = 60.0
# A lease that was lost with the connection that claimed it ends after 12 s, the shortest that this timeout allows.
DISPATCHER = {"callback_timeout_seconds": 1, "callback_lease_seconds": 12}


@dataclass(frozen=True, slots=True)
class Run:
    """So many rounds of each disturbance."""

    rounds: int

    @property
    def sessions(self) -> int:
        return 1_000 * self.rounds


SHORT = Run(rounds=1)
LONG = Run(rounds=5)


@pytest.fixture
def run(*, is_long: bool) -> Run:
    return LONG if is_long else SHORT


@dataclass(frozen=True, slots=True, kw_only=True)
class Outage:
    """A disturbance: monotonic seconds in which the database was not there, and what calls met from then on."""

    name: str
    began_at: float
    back_at: float
    refused: Sequence[Told]

    @property
    def lasted_s(self) -> float:
        """From the moment the database went to the last 503."""
        return max(one.told_at for one in self.refused) - self.began_at

    @property
    def well_after_s(self) -> float:
        """From the moment the database was back to the last 503."""
        return max(one.told_at for one in self.refused) - self.back_at


async def disturbed(name: str, running: Load, disturb: Callable[[], None]) -> Outage:
    """Under load: all is well, the database is disturbed, all is well again."""
    await running.goes_well(time.monotonic(), answers=WELL)
    began_at = time.monotonic()
    await asyncio.to_thread(disturb)
    back_at = time.monotonic()
    await running.goes_well(back_at, answers=WELL)
    refused = [one for one in running.told if not one.is_final and one.told_at >= began_at]
    return Outage(name=name, began_at=began_at, back_at=back_at, refused=refused)


def restart(server: PostgresServer) -> None:
    server.stop()
    time.sleep(DOWN_S)
    server.start()


def kill_and_start(server: PostgresServer) -> None:
    server.kill()
    time.sleep(DOWN_S)
    server.start()


def fail_over(primary: PostgresServer, replica: Replica) -> None:
    primary.kill()
    time.sleep(DOWN_S)
    replica.promote()


@dataclass(frozen=True, slots=True)
class World:
    """Two services beside a dispatcher on one database, and the receiver of all callbacks."""

    settings: Settings
    services: Sequence[Service]
    dispatcher: Service
    receiver: Receiver

    @property
    def urls(self) -> Sequence[str]:
        return [service.url for service in self.services]


def start_world(url: str, run: Run, start_service: StartService, receiver: Receiver) -> World:
    settings = Settings(database_url=url)
    migrate_store(settings)
    load_directory(settings, directory(run.sessions))
    return World(
        settings,
        [start_service(url, settings={"dispatcher": "off"}) for _ in range(2)],
        start_service(url, command=("handoff", "dispatch"), settings=DISPATCHER),
        receiver,
    )


async def still_true(world: World, running: Load) -> None:
    """Whatever was acknowledged is in the store, is repeated byte for byte, and is told to the receiver."""
    won = {one.session: one for one in running.told if one.status == httpx.codes.OK}
    assert stored_holders(world.settings, won) == {session: one.agent for session, one in won.items()}
    for number, one in enumerate(list(won.values())):
        client = running.clients[number % len(running.clients)]
        repeat = await running.call(client, one.session, one.agent)
        assert (repeat.status, repeat.answer.content) == (one.status, one.answer.content)


def stored_holders(settings: Settings, wanted: Mapping[str, object]) -> dict[str, str | None]:
    """Who has each of these sessions."""
    engine = open_reader(settings.database_url)
    with engine.connect() as connection:
        rows = connection.execute(select(sessions.c.session_id, sessions.c.holder_id)).all()
    engine.dispose()
    return {session_id: holder_id for session_id, holder_id in rows if session_id in wanted}


def no_two_won(told: Sequence[Told]) -> None:
    winners = {(one.session, one.agent) for one in told if one.status == httpx.codes.OK}
    assert max(Counter(session for session, _ in winners).values()) == 1


async def told_to_the_receiver(world: World, told: Sequence[Told]) -> None:
    """Every outcome that a caller was told arrives."""
    missing = {one.answer.headers["x-transfer-id"] for one in told if one.is_final}
    give_up_at = time.monotonic() + DELIVERED_WITHIN_S
    while missing and time.monotonic() < give_up_at:
        missing -= {json.loads(one.body)["transferId"] for one in world.receiver.received}
        await asyncio.sleep(0.1)
    assert missing == set()


def violations(settings: Settings) -> Sequence[object]:
    audit = open_audit(settings)
    found = audit.violations()
    audit.close()
    return found


async def proven(world: World, disturb: Callable[[Load], Awaitable[Sequence[Outage]]]) -> None:
    """The whole proof around the disturbances."""
    async with load(world.urls, world.receiver.url()) as running:
        async with running.contests(CONTESTS):
            await asyncio.to_thread(world.receiver.wait_for, 1, DELIVERED_WITHIN_S)  # all processes are at work
            outages = await disturb(running)
        told = list(running.told)
        tell(told, outages)
        await still_true(world, running)
    for outage in outages:
        assert outage.refused, f"no call met the {outage.name}"
        assert outage.well_after_s < BACK_WITHIN_S
    refused = [one.answer for one in told if not one.is_final]
    assert {answer.json()["code"] for answer in refused} == {"store_unavailable"}
    assert {answer.headers["retry-after"] for answer in refused} == {"1"}
    assert {one.status for one in told} == {200, 409, 503}
    no_two_won(told)
    await told_to_the_receiver(world, told)
    assert violations(world.settings) == []
    assert [process.stop() for process in (*world.services, world.dispatcher)] == [0, 0, 0]


def tell(told: Sequence[Told], outages: Sequence[Outage]) -> None:
    """The figures, for those who run the proof by name."""
    counted = Counter(one.status for one in told)
    print(f"\n{len(told)} calls: {dict(sorted(counted.items()))}")
    for outage in outages:
        slowest = max(one.told_at - one.sent_at for one in told if one.told_at >= outage.began_at)
        print(
            f"{outage.name}: away for {outage.back_at - outage.began_at:.2f} s, {len(outage.refused)} calls answered "
            f"503 for {outage.lasted_s:.2f} s, the last {outage.well_after_s:+.2f} s after it was back; "
            f"slowest answer from then on {slowest:.2f} s"
        )


@pytest.mark.anyio
@pytest.mark.timeout(600)
async def test_a_database_that_restarts_or_is_killed_is_a_503_and_then_service_again(
    start_service: StartService, run: Run
) -> None:
    with PostgresServer(durable=True) as server, Receiver() as receiver:
        world = start_world(server.create_database(), run, start_service, receiver)

        async def disturb(running: Load) -> Sequence[Outage]:
            outages = []
            for _ in range(run.rounds):
                outages.append(await disturbed("restart", running, lambda: restart(server)))
                outages.append(await disturbed("kill -9", running, lambda: kill_and_start(server)))
            return outages

        await proven(world, disturb)


@pytest.mark.anyio
@pytest.mark.timeout(600)
async def test_a_failover_to_a_synchronous_replica_loses_nothing_that_was_acknowledged(
    start_service: StartService, run: Run
) -> None:
    with ExitStack() as stack, Receiver() as receiver:
        primary: PostgresServer = stack.enter_context(PostgresServer(durable=True))
        name = urlsplit(primary.create_database()).path
        replica = Replica(primary)
        stack.callback(replica.close)
        replica.follow()
        hosts = f"127.0.0.1:{primary.port},127.0.0.1:{replica.port}"
        url = f"postgresql://postgres@{hosts}{name}?target_session_attrs=read-write"
        world = start_world(url, run, start_service, receiver)

        async def disturb(running: Load) -> Sequence[Outage]:
            nonlocal primary, replica
            outages = []
            for number in range(run.rounds):
                if number:  # the server that died comes back as the other's replica
                    primary, replica = replica, Replica(replica, port=primary.port)
                    stack.callback(replica.close)
                    await asyncio.to_thread(replica.follow)
                outages.append(await disturbed("failover", running, lambda: fail_over(primary, replica)))
            return outages

        await proven(world, disturb)
