"""Connections: SQLite as the embedded store, PostgreSQL as the shared one.

SQLite runs with WAL. The connection of transfers is `synchronous=FULL`: a commit is on disk before it is answered.
PostgreSQL is reached by libpq's own rules, so every form of its URL works, several hosts among them.
"""

import os
import socket
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final, Literal

import psycopg
from psycopg.conninfo import conninfo_to_dict
from sqlalchemy import Connection, Engine, ExceptionContext, create_engine, event
from sqlalchemy.pool import NullPool, QueuePool

from handoff.service.ports import Contended, StoreError, StoreUnavailable, Unwritable
from handoff.store.errors import translated

# A writer of another process holds the SQLite lock for one commit; five seconds of waiting mean that it hangs.
_SQLITE_BUSY_S: Final = 5
# Pages of the log that is written before the database file, 16 MB of them: a page that changes again and again is
# copied once. SQLite's own 1,000 cost a batch a tenth more; with 8,000 the call that meets the copying waits 40 ms.
_SQLITE_LOG_PAGES: Final = 4_000
# Bounds on every wait inside PostgreSQL, so that a batch always ends, with an answer or an error, and a process that
# froze in one keeps no rows locked. They are set after connecting, since poolers refuse them as start-up options.
_POSTGRES_WAITS: Final = (
    "SET lock_timeout = '2s'; SET statement_timeout = '10s'; SET idle_in_transaction_session_timeout = '10s'"
)
# Bounds on what TCP waits for, where the URL sets none: a server that vanished is noticed in ten seconds.
_POSTGRES_DEFAULTS: Final[Mapping[str, Any]] = {
    "application_name": "handoff",
    "connect_timeout": 3,
    "tcp_user_timeout": 10_000,
    "keepalives_idle": 5,
    "keepalives_interval": 2,
    "keepalives_count": 3,
}
_NO_URL: Final = (
    "HANDOFF_DATABASE_URL is no URL of PostgreSQL, or has a parameter that PostgreSQL does not know: "
    "in user and password write % as %25, @ as %40, / as %2F and a space as %20"
)
# Reads are few and cached: two connections serve them, and none is trusted without a ping.
_READER_POOL: Final = {"poolclass": QueuePool, "pool_size": 2, "max_overflow": 2, "pool_pre_ping": True}

Durability = Literal["FULL", "NORMAL"]


def is_sqlite(url: str) -> bool:
    """Whether the URL names the embedded store."""
    return url.startswith("sqlite:")


def open_writer(url: str, *, durability: Durability = "FULL", prepare: bool = True, is_patient: bool = False) -> Engine:
    """An engine for one thread that writes; its transactions begin with the write lock on SQLite.

    `prepare=False` sends no server-side prepared statements, which poolers in transaction mode cannot carry.
    `is_patient` is for an operator's long work: PostgreSQL may take as long as it takes.
    """
    if is_sqlite(url):
        return _open_sqlite(url, begin="BEGIN IMMEDIATE", durability=durability)
    return _open_postgres(url, prepare=prepare, is_patient=is_patient, pool_options={"poolclass": NullPool})


def open_reader(url: str, *, prepare: bool = True, is_patient: bool = False) -> Engine:
    """An engine with a small pool, for reads from any thread."""
    if is_sqlite(url):
        return _open_sqlite(url, begin="BEGIN", durability="NORMAL")
    return _open_postgres(url, prepare=prepare, is_patient=is_patient, pool_options=_READER_POOL)


@contextmanager
def snapshot(engine: Engine) -> Iterator[Connection]:
    """A transaction that only reads, all of it as of one moment. Raises only the store's own errors."""
    with translated(), engine.connect() as connection:
        if connection.dialect.name == "postgresql":
            connection.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)
        with connection.begin():
            yield connection


def _open_sqlite(url: str, *, begin: str, durability: Durability) -> Engine:
    engine = create_engine(
        url,
        poolclass=NullPool,
        hide_parameters=True,
        connect_args={"timeout": _SQLITE_BUSY_S, "check_same_thread": False},
    )

    @event.listens_for(engine, "do_connect")
    def _create(_dialect: object, _record: object, arguments: Sequence[str], _options: object) -> None:
        with suppress(OSError):  # what is wrong with the path, SQLite tells
            Path(arguments[0]).touch(mode=0o600)  # it holds secrets

    @event.listens_for(engine, "connect")
    def _configure(connection: sqlite3.Connection, _record: object) -> None:
        connection.isolation_level = None  # we say BEGIN ourselves
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute(f"PRAGMA synchronous={durability}")
        connection.execute(f"PRAGMA wal_autocheckpoint={_SQLITE_LOG_PAGES}")

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        connection.exec_driver_sql(begin)

    return engine


def _open_postgres(url: str, *, prepare: bool, is_patient: bool, pool_options: Mapping[str, Any]) -> Engine:
    def connect() -> psycopg.Connection[Any]:
        threshold = 5 if prepare else None
        connection = psycopg.connect(url, prepare_threshold=threshold, autocommit=True, **_unset_defaults(url))
        if not is_patient:
            connection.execute(_POSTGRES_WAITS)
        connection.autocommit = False
        return connection

    engine = create_engine(
        "postgresql+psycopg://",
        creator=connect,
        isolation_level="READ COMMITTED",
        hide_parameters=True,
        **pool_options,
    )

    @event.listens_for(engine, "handle_error")
    def _leave_standby(context: ExceptionContext) -> None:
        # Another of the URL's hosts may be the primary now; whatever else is in the pool leads to the same server.
        if isinstance(context.original_exception, psycopg.errors.ReadOnlySqlTransaction):
            context.is_disconnect = True

    return engine


async def async_connect(url: str) -> psycopg.AsyncConnection[Any]:
    """A connection to PostgreSQL by the same rules, for the event loop; each statement commits by itself."""
    return await psycopg.AsyncConnection.connect(url, autocommit=True, **_unset_defaults(url))


def _unset_defaults(url: str) -> dict[str, Any]:
    """The bounds that the URL does not set itself. Raises StoreUnavailable for one that is none.

    libpq quotes what it cannot read, and takes the rest of a password for a host: neither may come into a log.
    """
    try:
        given = conninfo_to_dict(url)
    except psycopg.ProgrammingError:
        raise StoreUnavailable(_NO_URL) from None
    if "@" in str(given.get("host")):
        raise StoreUnavailable(_NO_URL)
    return {name: value for name, value in _POSTGRES_DEFAULTS.items() if name not in given}


class ThreadConnection:
    """One lasting connection for one thread: opened when first needed, and anew after it failed."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._connection: Connection | None = None
        # Its own, which any thread may look at: SQLAlchemy would look after a connection that is lost, and connect.
        self._driver: object = None

    @contextmanager
    def transaction(self) -> Iterator[Connection]:
        """A transaction that commits when the block ends well. Raises only the store's own errors."""
        try:
            with translated():
                if self._connection is None:
                    self._connection = self._engine.connect()
                    self._driver = self._connection.connection.driver_connection
                with self._connection.begin():
                    yield self._connection
        except (Contended, Unwritable):
            raise
        except StoreError:
            self.close()
            raise

    def abort(self) -> None:
        """Break the connection under the thread that uses it, which then fails; called from another thread.

        For a server that is silent while its connection looks well; of one that is gone nothing has to be broken.
        SQLite's waits are bounded by themselves.
        """
        driver = self._driver
        if isinstance(driver, psycopg.Connection):
            with suppress(psycopg.Error, OSError), socket.socket(fileno=os.dup(driver.fileno())) as twin:
                twin.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Let go of the connection; the next transaction opens another."""
        connection, self._connection, self._driver = self._connection, None, None
        if connection is not None:
            connection.invalidate()
            connection.close()
