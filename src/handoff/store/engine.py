"""Connections: SQLite as the embedded store, PostgreSQL as the shared one.

What only one of them needs, its driver before all, is imported where a URL asks for it: PostgreSQL's would take 10
MB of a process on SQLite, SQLite's 2 MB of one on PostgreSQL.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import Any, Final, Literal

from sqlalchemy import Connection, Engine

from handoff.service.ports import Contended, StoreError, Unwritable
from handoff.store.errors import translated

_SQLITE: Final = "handoff.store.engine_sqlite"
_POSTGRES: Final = "handoff.store.engine_postgres"

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
        return _opened(_SQLITE, url, begin="BEGIN IMMEDIATE", durability=durability)
    return _opened(_POSTGRES, url, prepare=prepare, is_patient=is_patient, is_pooled=False)


def open_reader(url: str, *, prepare: bool = True, is_patient: bool = False) -> Engine:
    """An engine for reads from any thread; on PostgreSQL with a small pool."""
    if is_sqlite(url):
        return _opened(_SQLITE, url, begin="BEGIN", durability="NORMAL")
    return _opened(_POSTGRES, url, prepare=prepare, is_patient=is_patient, is_pooled=True)


def _opened(half: str, url: str, **options: Any) -> Engine:  # noqa: ANN401 (each half's own)
    engine: Engine = import_module(half).open_engine(url, **options)
    return engine


@contextmanager
def snapshot(engine: Engine) -> Iterator[Connection]:
    """A transaction that only reads, all of it as of one moment. Raises only the store's own errors."""
    with translated(), engine.connect() as connection:
        if connection.dialect.name == "postgresql":
            connection.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)
        with connection.begin():
            yield connection


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
        if self._engine.dialect.name == "postgresql":
            import_module(_POSTGRES).cut_off(self._driver)

    def close(self) -> None:
        """Let go of the connection; the next transaction opens another."""
        connection, self._connection, self._driver = self._connection, None, None
        if connection is not None:
            connection.invalidate()
            connection.close()
