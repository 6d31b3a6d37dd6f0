"""Connections: SQLite as the embedded store, PostgreSQL as the shared one.

SQLite runs with WAL. The connection of transfers is `synchronous=FULL`: a commit is on disk before it is answered.
PostgreSQL is reached by libpq's own rules, so every form of its URL works, several hosts among them.
"""

import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final, Literal

import psycopg
from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.engine import make_url
from sqlalchemy.pool import NullPool, QueuePool

from handoff.service.ports import Contended, StoreError, Unwritable
from handoff.store.errors import translated

# A writer of another process holds the SQLite lock for one commit; five seconds of waiting mean that it hangs.
_SQLITE_BUSY_S: Final = 5
# Bounds on every wait inside PostgreSQL, so that a batch always ends, with an answer or an error.
_POSTGRES_OPTIONS: Final = (
    "-c lock_timeout=5000 -c statement_timeout=15000 -c idle_in_transaction_session_timeout=30000"
)
_POSTGRES_CONNECT_S: Final = 3
_POSTGRES_SILENCE_MS: Final = 10_000

# Reads are few and cached: two connections serve them, and none is trusted without a ping.
_READER_POOL: Final = {"poolclass": QueuePool, "pool_size": 2, "max_overflow": 2, "pool_pre_ping": True}

Durability = Literal["FULL", "NORMAL"]


def is_sqlite(url: str) -> bool:
    """Whether the URL names the embedded store."""
    return make_url(url).get_backend_name() == "sqlite"


def open_writer(url: str, *, durability: Durability = "FULL", prepare: bool = True) -> Engine:
    """An engine for one thread that writes; its transactions begin with the write lock on SQLite.

    `prepare=False` sends no server-side prepared statements, which poolers in transaction mode cannot carry.
    """
    if is_sqlite(url):
        return _open_sqlite(url, begin="BEGIN IMMEDIATE", durability=durability)
    return _open_postgres(url, prepare=prepare, pool_options={"poolclass": NullPool})


def open_reader(url: str, *, prepare: bool = True) -> Engine:
    """An engine with a small pool, for reads from any thread."""
    if is_sqlite(url):
        return _open_sqlite(url, begin="BEGIN", durability="NORMAL")
    return _open_postgres(url, prepare=prepare, pool_options=_READER_POOL)


def _open_sqlite(url: str, *, begin: str, durability: Durability) -> Engine:
    engine = create_engine(
        url, poolclass=NullPool, connect_args={"timeout": _SQLITE_BUSY_S, "check_same_thread": False}
    )

    @event.listens_for(engine, "connect")
    def _configure(connection: sqlite3.Connection, _record: object) -> None:
        connection.isolation_level = None  # we say BEGIN ourselves
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute(f"PRAGMA synchronous={durability}")

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        connection.exec_driver_sql(begin)

    return engine


def _open_postgres(url: str, *, prepare: bool, pool_options: Mapping[str, Any]) -> Engine:
    def connect() -> psycopg.Connection[Any]:
        return psycopg.connect(
            url,
            connect_timeout=_POSTGRES_CONNECT_S,
            tcp_user_timeout=_POSTGRES_SILENCE_MS,
            options=_POSTGRES_OPTIONS,
            application_name="handoff",
            prepare_threshold=5 if prepare else None,
        )

    return create_engine("postgresql+psycopg://", creator=connect, isolation_level="READ COMMITTED", **pool_options)


class ThreadConnection:
    """One lasting connection for one thread: opened when first needed, and anew after it failed."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._connection: Connection | None = None

    @contextmanager
    def transaction(self) -> Iterator[Connection]:
        """A transaction that commits when the block ends well. Raises only the store's own errors."""
        try:
            with translated():
                if self._connection is None:
                    self._connection = self._engine.connect()
                with self._connection.begin():
                    yield self._connection
        except (Contended, Unwritable):
            raise
        except StoreError:
            self.close()
            raise

    def close(self) -> None:
        """Let go of the connection; the next transaction opens another."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.invalidate()
            connection.close()
