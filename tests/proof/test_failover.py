"""A database that restarts, dies or fails over costs calls a 503 and nothing that was acknowledged."""

import asyncio
import random
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import AsyncExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Final
from urllib.parse import urlsplit

import httpx
import pytest

from conftest import StartService
from handoff import Settings, load_directory
from handoff.migrating import migrate_store
from handoff.stores import open_audit
from rigs import sample
from rigs.backlog import stored
from rigs.calls import Rules
from rigs.history import History, faults
from rigs.integrators import Integrators
from rigs.postgres import PostgresServer
from rigs.receiver import Receiver
from rigs.recorder import heard, kept
from rigs.replica import Replica
from rigs.watch import Seen, Watch, all_go_well

pytestmark = pytest.mark.alone

SERVERS: Final = 2
AGENTS: Final = tuple(f"a-{number}" for number in range(1, 5))
DESKS: Final = 4
PAUSE_S: Final = 0.05
# How long the database stays away at least: long enough for every desk to meet it.
DOWN_S: Final = 0.5
# Long enough for both servers' commits to wait for the replica.
WAITING_S: Final = 0.3
# The last 503 comes this soon after the database takes writes again: all connections are made anew within it.
BACK_WITHIN_S: Final = 5.0
# Outcomes of every server that say: all is well.
WELL: Final = 10
# Far longer than anything here takes; it only ends a hang.
PATIENCE_S: Final = 60.0
# A lease that was lost with the connection that claimed it ends after 12 s, the shortest that this timeout allows.
DISPATCHER: Final = {"callback_timeout_seconds": 1, "callback_lease_seconds": 12}


@dataclass(frozen=True, slots=True)
class Run:
    """So many rounds of each disturbance, and more sessions than are asked for in the time."""

    rounds: int

    @property
    def sessions(self) -> list[str]:
        return [f"s-{number}" for number in range(1_000 * self.rounds)]


SHORT: Final = Run(rounds=1)
LONG: Final = Run(rounds=5)


@pytest.fixture
def run(*, is_long: bool) -> Run:
    return LONG if is_long else SHORT


class Single:
    """One server, which comes back by itself."""

    def __init__(self) -> None:
        self._server = PostgresServer(durable=True)
        self._server.start()
        self.url = self._server.create_database()

    def disturbances(self, rounds: int) -> Iterator[tuple[str, Callable[[], None]]]:
        for _ in range(rounds):
            yield "restart", self._restart
            yield "kill -9", self._kill

    def _restart(self) -> None:
        self._server.stop()
        time.sleep(DOWN_S)
        self._server.start()

    def _kill(self) -> None:
        self._server.kill()
        time.sleep(DOWN_S)
        self._server.start()

    def close(self) -> None:
        self._server.close()


class Pair:
    """A primary and its synchronous replica, which takes over. Whoever died comes back as the other's replica."""

    def __init__(self) -> None:
        self._primary = PostgresServer(durable=True)
        self._primary.start()
        database = urlsplit(self._primary.create_database()).path
        self._replica = Replica(self._primary)
        self._replica.follow()
        hosts = ",".join(f"127.0.0.1:{server.port}" for server in (self._primary, self._replica))
        self.url = f"postgresql://postgres@{hosts}{database}?target_session_attrs=read-write"

    def disturbances(self, rounds: int) -> Iterator[tuple[str, Callable[[], None]]]:
        for number in range(rounds):
            if number:
                self._bring_back_the_dead()
            yield "failover without the last commits", partial(self._fail_over, with_what_waited=False)
            self._bring_back_the_dead()
            yield "failover with the last commits", partial(self._fail_over, with_what_waited=True)

    def _bring_back_the_dead(self) -> None:
        dead, self._primary = self._primary, self._replica
        dead.close()
        self._replica = Replica(self._primary, port=dead.port)
        self._replica.follow()

    def _fail_over(self, *, with_what_waited: bool) -> None:
        """The primary dies while commits wait for the replica, which then has them, or does not."""
        self._replica.hold_back()
        time.sleep(WAITING_S)
        self._primary.kill()
        self._replica.go_on(with_what_waited=with_what_waited)
        time.sleep(DOWN_S)
        self._replica.promote()

    def close(self) -> None:
        self._primary.close()
        self._replica.close()


@contextmanager
def database(kind: type[Single | Pair]) -> Iterator[Single | Pair]:
    servers = kind()
    try:
        yield servers
    finally:
        servers.close()


@dataclass(frozen=True, slots=True, kw_only=True)
class Outage:
    """A disturbance, with what was answered since it began; times are monotonic seconds."""

    name: str
    began_at: float
    back_at: float
    seen: Sequence[Seen]

    @property
    def refused(self) -> Sequence[Seen]:
        return [one for one in self.seen if not one.is_outcome]

    @property
    def last_refused_at(self) -> float:
        return max(one.told_at for one in self.refused)

    def __str__(self) -> str:
        slowest = max(one.told_at - one.sent_at for one in self.seen)
        return (
            f"{self.name}: away for {self.back_at - self.began_at:.2f} s; {len(self.refused)} of {len(self.seen)} "
            f"calls answered 503, the last {self.last_refused_at - self.began_at:.2f} s after it went, "
            f"{self.last_refused_at - self.back_at:+.2f} s after it was back; slowest answer {slowest:.2f} s"
        )


async def disturbed(name: str, disturb: Callable[[], None], watches: Sequence[Watch]) -> Outage:
    """All goes well, the database is disturbed, all goes well again."""
    await all_go_well(watches, time.monotonic(), outcomes=WELL, within_s=PATIENCE_S)
    began_at = time.monotonic()
    await asyncio.to_thread(disturb)
    back_at = time.monotonic()
    await all_go_well(watches, back_at, outcomes=WELL, within_s=PATIENCE_S)
    seen = [one for watch in watches for one in watch.seen if one.told_at >= began_at]
    return Outage(name=name, began_at=began_at, back_at=back_at, seen=seen)


async def disturb_all(servers: Single | Pair, rounds: int, watches: Sequence[Watch]) -> list[Outage]:
    outages = []
    disturbances = servers.disturbances(rounds)
    while (found := await asyncio.to_thread(next, disturbances, None)) is not None:
        outages.append(await disturbed(*found, watches))
    return outages


async def all_are_delivered(settings: Settings) -> None:
    """Wait until no message waits any more."""
    async with asyncio.timeout(PATIENCE_S):
        while {message.state for message in stored(settings).values()} != {"delivered"}:  # noqa: ASYNC110
            await asyncio.sleep(0.1)


@pytest.mark.anyio
@pytest.mark.timeout(600)
@pytest.mark.parametrize("kind", [Single, Pair], ids=["restart and kill", "failover"])
async def test_a_database_that_goes_and_comes_back_is_a_503_and_then_service_with_nothing_lost(
    kind: type[Single | Pair], start_service: StartService, run: Run
) -> None:
    with database(kind) as servers, Receiver() as receiver:
        settings = Settings(database_url=servers.url)
        migrate_store(settings)
        load_directory(settings, directory(run))
        services = [start_service(servers.url, settings={"dispatcher": "off"}) for _ in range(SERVERS)]
        dispatcher = start_service(servers.url, command=("handoff", "dispatch"), settings=DISPATCHER)
        watches, stop = [Watch() for _ in services], asyncio.Event()

        async with AsyncExitStack() as stack:
            clients = [
                await stack.enter_async_context(
                    httpx.AsyncClient(base_url=service.url, transport=watch, timeout=PATIENCE_S)
                )
                for service, watch in zip(services, watches, strict=True)
            ]
            callers = integrators(clients, run, receiver)
            async with asyncio.TaskGroup() as group:
                group.create_task(callers.work(DESKS, stop))
                await asyncio.to_thread(receiver.wait_for, 1, PATIENCE_S)  # all processes are at work
                outages = await disturb_all(servers, run.rounds, watches)
                stop.set()
        await all_are_delivered(settings)
        assert [process.stop() for process in (*services, dispatcher)] == [0, 0, 0]
        history = History(
            told=callers.recorder.told,
            kept=kept(settings),
            heard=heard([receiver]),
            rules=Rules(slots=dict.fromkeys(AGENTS, len(run.sessions))),
        )
        audit = open_audit(settings)
        violations = audit.violations()
        audit.close()

    tell(outages, history)
    assert [str(fault) for fault in faults(history)] == []
    assert violations == []
    assert_all_answered(watches, outages)


def directory(run: Run) -> sample.Directory:
    return sample.directory(
        agents=[sample.agent(agent, maxChatSupport=len(run.sessions)) for agent in AGENTS],
        sessions=[sample.session(session) for session in run.sessions],
    )


def integrators(clients: Sequence[httpx.AsyncClient], run: Run, receiver: Receiver) -> Integrators:
    return Integrators(
        clients,
        sessions=run.sessions,
        agents=AGENTS,
        callback_urls=[receiver.url(f"/{number}") for number in range(2)],
        chance=random.Random(),
        pause_s=PAUSE_S,
    )


def assert_all_answered(watches: Sequence[Watch], outages: Sequence[Outage]) -> None:
    """Every call had an answer, and none but an outcome and a 503 that says what to do, for as long as it may."""
    assert [error for watch in watches for error in watch.broken] == []
    seen = [one.answer for watch in watches for one in watch.seen]
    assert {answer.status_code for answer in seen} <= {200, 409, 503}
    refused = [answer for answer in seen if answer.status_code == httpx.codes.SERVICE_UNAVAILABLE]
    assert {(answer.json()["code"], answer.headers["retry-after"]) for answer in refused} == {
        ("store_unavailable", "1")
    }
    for outage in outages:
        assert outage.refused, f"no call met the {outage.name}"
        assert outage.last_refused_at < outage.back_at + BACK_WITHIN_S


def tell(outages: Sequence[Outage], history: History) -> None:
    """The figures, for those who run the proof by name."""
    outcomes = Counter(told.answer.code or "transferred" for told in history.told if told.answer)
    copies = Counter(one.webhook_id for one in history.heard)
    print(f"\n{len(history.told)} calls, {dict(outcomes)}, {len(history.kept.transfers)} transfers recorded")
    print(f"{len(copies)} messages delivered, {copies.total() - len(copies)} further copies")
    for outage in outages:
        print(outage)
