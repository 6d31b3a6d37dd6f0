"""SQLite's connections, with its write-ahead log.

That of transfers is `synchronous=FULL`: a commit is on disk before it is answered.
"""

import sqlite3
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.pool import NullPool

# A writer of another process holds the SQLite lock for one commit; five seconds of waiting mean that it hangs.
_SQLITE_BUSY_S: Final = 5
# Pages of the log that is written before the database file, 16 MB of them: a page that changes again and again is
# copied once. SQLite's own 1,000 cost a batch a tenth more; with 8,000 the call that meets the copying waits 40 ms.
_SQLITE_LOG_PAGES: Final = 4_000


def open_engine(url: str, *, begin: str, durability: str) -> Engine:
    """An engine whose transactions begin so, with `synchronous` as given."""
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
