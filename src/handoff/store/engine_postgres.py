"""PostgreSQL's connections.

It is reached by libpq's own rules, so every form of its URL works, several hosts among them.
"""

import os
import socket
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, Final

import psycopg
from psycopg.conninfo import conninfo_to_dict
from sqlalchemy import Engine, ExceptionContext, create_engine, event
from sqlalchemy.pool import NullPool, QueuePool

from handoff.service.ports import StoreUnavailable

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
_POOL: Final[Mapping[str, Any]] = {"poolclass": QueuePool, "pool_size": 2, "max_overflow": 2, "pool_pre_ping": True}
_NO_POOL: Final[Mapping[str, Any]] = {"poolclass": NullPool}


def open_engine(url: str, *, prepare: bool, is_patient: bool, is_pooled: bool) -> Engine:
    """An engine; see `handoff.store.engine` for what is asked of it."""

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
        **(_POOL if is_pooled else _NO_POOL),
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


def cut_off(driver: object) -> None:
    """Break the connection under whoever uses it; nothing, where it is gone already."""
    if isinstance(driver, psycopg.Connection):
        with suppress(psycopg.Error, OSError), socket.socket(fileno=os.dup(driver.fileno())) as twin:
            twin.shutdown(socket.SHUT_RDWR)


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
