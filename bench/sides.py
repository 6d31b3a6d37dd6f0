"""The sides of a measurement: processes that answer the call, and the stores behind them."""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal

from bench import fill, machine, world
from bench.peers.naive import Callbacks
from handoff import Settings, load_directory
from handoff.migrating import migrate_store
from rigs.postgres import PostgresServer
from rigs.service import Service

Store = Literal["SQLite", "PostgreSQL"]
# `off`: callbacks are written and stay. `inline`: `serve` delivers them. `apart`: a `handoff dispatch` does.
Dispatching = Literal["off", "inline", "apart"]

# Numbers of the sessions of the world with many accounts, far from those of the world with one.
_SPREAD_FIRST = 10_000_000
# It is slow, and has nothing to get warm but its pool.
_NAIVE_WARM_UP = 200
# As PostgreSQL comes; the tests' server has less.
_POSTGRES = {"shared_buffers": "128MB"}
# Signed callbacks, and the log as the image has it.
_SETTINGS = {"callback_secrets": "whsec_" + "QUJD" * 10, "log_format": "json"}


@dataclass(kw_only=True)
class Side:
    """A side that runs. `pids` are its own processes, `store_pids` those of its database, where it has one.

    Its sessions begin at `first_session`, and so many calls warm it up. `next_session` is the next number that no call
    has named yet, by the number of accounts.
    """

    name: str
    ports: tuple[int, ...]
    pids: tuple[int, ...]
    store_pids: tuple[int, ...] = ()
    has_callbacks: bool = False
    first_session: int = 0
    warm_up: int = 2_000
    next_session: dict[int, int] = field(init=False)

    def __post_init__(self) -> None:
        self.next_session = {1: self.first_session, world.ACCOUNTS: _SPREAD_FIRST}

    def take(self, count: int, accounts: int) -> int:
        """The first number of so many sessions that are still with the bot."""
        first = self.next_session[accounts]
        self.next_session[accounts] += count
        return first


class Sides:
    """Starts sides, each with a fresh store; all end with the block of `sides`.

    `cores` is what they run on. `sessions` is how many sessions each store gets, by the number of accounts.
    """

    def __init__(self, stack: ExitStack, cores: machine.Cores, sessions: Mapping[int, int]) -> None:
        self._stack = stack
        self._cores = cores
        self._sessions = sessions
        self._postgres: PostgresServer | None = None
        self._folder = Path(stack.enter_context(TemporaryDirectory(prefix="handoff-bench-")))

    def ceiling(self) -> Side:
        """The bare route."""
        service = self._start(("bench.ceiling", "{port}"), "")
        return Side(name="ceiling", ports=(service.port,), pids=(service.pid,))

    def naive(self, callbacks: Callbacks) -> Side:
        """The naive peer, on PostgreSQL."""
        url = self.store("PostgreSQL", is_empty=True)
        service = self._start(("bench.peers.naive", "{port}", callbacks), url)
        columns = "id, org_id, status, max_sessions, active_sessions"
        agents = ((world.agent_id(n), world.org_id(0), "AVAILABLE", world.SLOTS, 0) for n in range(world.AGENTS))
        fill.write(url, "peer_agents", columns, agents)
        sessions = range(self._sessions.get(1, 0))
        rows = ((world.session_id(n), world.stream_id(0), world.org_id(0)) for n in sessions)
        fill.write(url, "peer_sessions", "id, stream_id, org_id", rows)
        fill.settle(url)
        return Side(
            name=f"naive peer, {_CALLBACKS[callbacks]}",
            ports=(service.port,),
            pids=(service.pid,),
            store_pids=self._store_pids(url),
            has_callbacks=callbacks != "none",
            warm_up=_NAIVE_WARM_UP,
        )

    def handoff(
        self,
        store: Store,
        dispatching: Dispatching,
        *,
        url: str | None = None,
        processes: int = 1,
        name: str | None = None,
        first_session: int = 0,
        **settings: Any,  # noqa: ANN401 (settings are of any type)
    ) -> Side:
        """`handoff serve`, so many processes of it, on the store at the URL or on one of its own."""
        url = url or self.store(store)
        chosen = {**_SETTINGS, "dispatcher": "inline" if dispatching == "inline" else "off", **settings}
        servers = [self._start(("handoff", "serve"), url, **chosen) for _ in range(processes)]
        pids = tuple(server.pid for server in servers)
        if dispatching == "apart":
            pids += (self._start(("handoff", "dispatch"), url, **chosen).pid,)
        return Side(
            name=name or f"Handoff, {store}, {_DISPATCHING[dispatching]}",
            ports=tuple(server.port for server in servers),
            pids=pids,
            store_pids=self._store_pids(url),
            has_callbacks=dispatching != "off",
            first_session=first_session,
        )

    def store(self, kind: Store, *, is_empty: bool = False, past: int = 0) -> str:
        """The URL of a new database, with directory and sessions unless it is to be empty.

        The sessions come after `past` closed ones, with all that happened to those.
        """
        if kind == "PostgreSQL":
            url = self.postgres.create_database()
        else:
            folder = self._stack.enter_context(TemporaryDirectory(prefix="handoff-bench-"))
            url = f"sqlite:///{folder}/handoff.db"
        if not is_empty:
            self._fill(Settings(database_url=url), past)
        return url

    @property
    def postgres(self) -> PostgresServer:
        """The server of all databases, with fsync."""
        if self._postgres is None:
            self._postgres = PostgresServer(durable=True, settings=_POSTGRES)
            with machine.on(machine.OTHERS if self._cores == machine.SERVER else self._cores):
                self._stack.enter_context(self._postgres)
        return self._postgres

    def _fill(self, settings: Settings, past: int) -> None:
        migrate_store(settings)
        load_directory(settings, world.directory())
        if past:
            fill.add_sessions(settings, first=0, count=past, accounts=1, is_past=True)
            fill.add_transfers(settings, sessions=past, accounts=1)
        for accounts, count in self._sessions.items():
            first = past if accounts == 1 else _SPREAD_FIRST
            fill.add_sessions(settings, first=first, count=count, accounts=accounts)
        fill.settle(settings.database_url)

    def _start(self, command: tuple[str, ...], url: str, **settings: object) -> Service:
        with machine.on(self._cores):
            return self._stack.enter_context(Service(url, folder=self._folder, command=command, settings=settings))

    def _store_pids(self, url: str) -> tuple[int, ...]:
        return (self.postgres.pid,) if url.startswith("postgresql:") else ()


_CALLBACKS: dict[Callbacks, str] = {
    "none": "no callback",
    "shared": "one shared client",
    "each": "a client per request",
}
_DISPATCHING: dict[Dispatching, str] = {
    "off": "callbacks written",
    "inline": "callbacks delivered",
    "apart": "callbacks delivered by `dispatch`",
}


@contextmanager
def sides(cores: machine.Cores, sessions: Mapping[int, int]) -> Iterator[Sides]:
    """Where sides are started for a measurement."""
    with ExitStack() as stack:
        yield Sides(stack, cores, sessions)
