"""Rows of PostgreSQL that somebody else keeps locked, and who waits for them."""

from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
from psycopg import sql

from rigs.api import until

_OURS_THAT_WAIT = (
    "SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'handoff'"
    " AND wait_event_type = 'Lock'"
)


@contextmanager
def locked(url: str, table: str, column: str, *ids: str) -> Iterator[None]:
    """Rows that somebody else keeps locked."""
    with psycopg.connect(url) as other:
        statement = sql.SQL("SELECT 1 FROM {} WHERE {} = ANY(%s) FOR UPDATE")
        other.execute(statement.format(sql.Identifier(table), sql.Identifier(column)), [list(ids)])
        yield


def until_ours_waits(url: str) -> None:
    """Wait until the service has come to a row that is locked. Raises AssertionError where it does not."""
    with psycopg.connect(url, autocommit=True, application_name="other") as watcher:
        until(lambda: watcher.execute(_OURS_THAT_WAIT).fetchone(), timeout_s=30)
