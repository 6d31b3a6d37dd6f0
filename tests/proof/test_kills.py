"""Servers and dispatchers that are killed at every point of their work, and at random, keep all that was promised.

What callers were answered, what the store keeps and what receivers heard must be explained, session by session, by
calls that took effect one after another.
"""

import asyncio
import random
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import httpx
import pytest

from handoff import Settings, load_directory
from handoff.outboxes import open_outbox
from handoff.service.audit import Violation
from handoff.stores import open_audit
from handoff.system import SystemClock
from rigs import sample
from rigs.backlog import Stored, stored
from rigs.calls import Rules
from rigs.deaths import POINTS, Death, deaths, die
from rigs.history import History, faults
from rigs.integrators import Integrators
from rigs.receiver import Receiver
from rigs.recorder import heard, kept
from rigs.service import Service

# Servers that die. On PostgreSQL one more lives through it all and takes up what they leave.
MORTAL: Final = 2
LANES: Final = 2
AGENTS: Final = tuple(f"a-{number}" for number in range(1, 5))
# Few messages at a time, and the default lease, of which a message would have to lose five in a row to be buried.
SETTINGS: Final = {"callback_in_flight": 8}
LEASE_MS: Final = 60_000
CALL_TIMEOUT_S: Final = 10.0
DESKS: Final = 4
PAUSE_S: Final = 0.1
STORES: Final = ("sqlite", "postgresql")


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """So many deaths at each point, and so many of each part at random.

    With `is_divided` SQLite has those before each step, and PostgreSQL those after it. There are more
    `sessions` than are asked for in the time.
    """

    at_each_point: int
    is_divided: bool
    at_random: int
    sessions: int

    def points(self, part: str, store: str) -> Sequence[str]:
        every = tuple(POINTS[part]) * self.at_each_point
        return every[STORES.index(store) :: len(STORES)] if self.is_divided else every


SHORT: Final = Run(at_each_point=1, is_divided=True, at_random=0, sessions=1_000)
LONG: Final = Run(at_each_point=5, is_divided=False, at_random=15, sessions=10_000)


@pytest.fixture
def run(*, is_long: bool) -> Run:
    return LONG if is_long else SHORT


class Fleet:
    """The processes of one store, none of which runs yet."""

    def __init__(self, database_url: str, folder: Path) -> None:
        self.store = database_url.partition(":")[0]
        is_shared = self.store != "sqlite"
        self.servers = [
            Service(database_url, folder=folder, settings=SETTINGS | {"dispatcher": "off"})
            for _ in range(MORTAL + is_shared)
        ]
        self.dispatchers = [
            Service(database_url, folder=folder, command=("handoff", "dispatch"), settings=SETTINGS)
            for _ in range(1 + is_shared)
        ]

    async def die(self, run: Run, chance: random.Random) -> list[Death]:
        """Every death there is to die. A server that is through with its own serves again, a dispatcher stays away."""
        to_serve = deaths("serve", run.points("serve", self.store), run.at_random, chance)
        to_dispatch = deaths("dispatch", run.points("dispatch", self.store), run.at_random, chance)
        async with asyncio.TaskGroup() as group:
            for place, server in enumerate(self.servers):
                those = to_serve[place::MORTAL] if place < MORTAL else ()
                group.create_task(die(server, "serve", those, is_back=True))
            for place, dispatcher in enumerate(self.dispatchers):
                group.create_task(die(dispatcher, "dispatch", to_dispatch[place :: len(self.dispatchers)]))
        return to_serve + to_dispatch

    async def deliver(self, settings: Settings) -> dict[str, Stored]:
        """Dispatchers as they are when the leases of the dead have run out; every message, once none waits."""
        outbox = open_outbox(settings)
        outbox.reclaim(now_ms=SystemClock().now_ms() + LEASE_MS)
        outbox.close()
        for dispatcher in self.dispatchers:
            dispatcher.start()
        found = stored(settings)
        while {message.state for message in found.values()} & {"pending", "sending"}:
            await asyncio.sleep(0.1)
            found = stored(settings)
        return found

    def stop(self) -> list[int]:
        return [one.stop() for one in (*self.servers, *self.dispatchers)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What came of a run."""

    died: Sequence[Death]
    history: History
    messages: Mapping[str, Stored]
    violations: Sequence[Violation]


def load(settings: Settings, sessions: Sequence[str]) -> None:
    """Agents with a slot for every session."""
    agents = [sample.agent(agent, maxChatSupport=len(sessions)) for agent in AGENTS]
    load_directory(
        settings, sample.directory(agents=agents, sessions=[sample.session(session) for session in sessions])
    )


async def kill(settings: Settings, fleet: Fleet, run: Run, chance: random.Random) -> Seen:
    """Callers at work while everything dies that has to, and what is to be seen once all is quiet."""
    sessions, stop = [f"s-{number}" for number in range(run.sessions)], asyncio.Event()
    load(settings, sessions)
    async with AsyncExitStack() as stack:
        receivers = [stack.enter_context(Receiver()) for _ in range(LANES)]
        for service in (*fleet.servers, *fleet.dispatchers):
            stack.push(service)
        integrators = Integrators(
            [
                await stack.enter_async_context(httpx.AsyncClient(base_url=server.url, timeout=CALL_TIMEOUT_S))
                for server in fleet.servers
            ],
            sessions=sessions,
            agents=AGENTS,
            callback_urls=[receiver.url(f"/{number}") for number, receiver in enumerate(receivers)],
            chance=random.Random(chance.random()),
            pause_s=PAUSE_S,
        )
        async with asyncio.TaskGroup() as group:
            group.create_task(integrators.work(DESKS, stop))
            died = await fleet.die(run, chance)
            stop.set()
        messages = await fleet.deliver(settings)
        assert set(fleet.stop()) == {0}
    rules = Rules(slots=dict.fromkeys(AGENTS, run.sessions))
    history = History(told=integrators.recorder.told, kept=kept(settings), heard=heard(receivers), rules=rules)
    audit = open_audit(settings)
    violations = audit.violations()
    audit.close()
    return Seen(died=died, history=history, messages=messages, violations=violations)


@pytest.mark.anyio
@pytest.mark.timeout(900)
async def test_killed_at_any_point_of_their_work_processes_lose_nothing_and_change_nothing_that_was_acknowledged(
    database_url: str, tmp_path: Path, run: Run
) -> None:
    seed = random.randrange(1 << 32)
    fleet = Fleet(database_url, tmp_path)

    seen = await kill(Settings(database_url=database_url), fleet, run, random.Random(seed))

    copies = Counter(one.webhook_id for one in seen.history.heard)
    tell(f"{fleet.store} (seed {seed})", seen, copies)
    assert [str(fault) for fault in faults(seen.history)] == []
    assert seen.violations == []
    assert {message.state for message in seen.messages.values()} == {"delivered"}
    # A lease is one attempt at most, so each further copy is explained by a lease that died with its dispatcher.
    assert [name for name, message in seen.messages.items() if copies[name] > message.claims] == []


def tell(where: str, seen: Seen, copies: Counter[str]) -> None:
    """The figures, for those who run the proof by name."""
    told = seen.history.told
    unknown = sum(one.answer is None for one in told)
    asked = Counter(one.call.session for one in told)
    outcomes = Counter(one.answer.code or "transferred" for one in told if one.answer)
    lost_leases = sum(message.claims - message.attempts for message in seen.messages.values())
    print(
        f"\n{where}: {len(seen.died)} kills, {dict(sorted(Counter(map(str, seen.died)).items()))}\n"
        f"  {len(told)} calls for {len(asked)} sessions, {max(asked.values())} for one at most; "
        f"{unknown} of unknown outcome; {dict(outcomes)}; {len(seen.history.kept.transfers)} transfers recorded\n"
        f"  {len(seen.messages)} messages, {lost_leases} leases lost, {copies.total() - len(copies)} further copies, "
        f"{max(copies.values())} copies of one message at most"
    )
