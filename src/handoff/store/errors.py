"""What a database's error means for the work at hand."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import psycopg
from sqlalchemy.exc import DBAPIError, SQLAlchemyError, StatementError

from handoff.service.ports import Contended, Locked, StoreError, StoreUnavailable, Unwritable

# SQLSTATE codes and classes (PostgreSQL documentation, appendix "PostgreSQL Error Codes").
_CONTENDED: Final = frozenset({"40001", "40P01"})
_LOCKED: Final = "55P03"
_BAD_ROW_CLASSES: Final = frozenset({"22", "23"})
_BAD_ROW_SQLITE: Final = (sqlite3.IntegrityError, sqlite3.DataError, sqlite3.InterfaceError, sqlite3.ProgrammingError)


@contextmanager
def translated() -> Iterator[None]:
    """Turn SQLAlchemy's errors into the store's own."""
    try:
        yield
    except SQLAlchemyError as error:
        raise translate(error) from error


def translate(error: SQLAlchemyError) -> StoreError:
    """The store's own error for one of SQLAlchemy's."""
    if not isinstance(error, DBAPIError):
        # A value that cannot even be bound, or a pool without a free connection.
        reason = str(error)
        return Unwritable(reason) if isinstance(error, StatementError) else StoreUnavailable(reason)
    cause = error.orig
    if error.connection_invalidated:
        return StoreUnavailable(str(cause), is_lost=True)
    if isinstance(cause, psycopg.Error):
        return translate_sqlstate(cause)
    if isinstance(cause, _BAD_ROW_SQLITE):
        _, _, rule = str(cause).partition(" constraint failed: ")
        return Unwritable(str(cause), rule or None)
    return StoreUnavailable(str(cause))


def translate_sqlstate(cause: psycopg.Error) -> StoreError:
    """The store's own error for one of the driver's."""
    state = cause.sqlstate or ""
    # Its details quote rows, and with them URLs and bodies, which no log may show.
    reason = cause.diag.message_primary or str(cause)
    if not state and isinstance(cause, psycopg.DataError):  # the driver refused the value before sending it
        return Unwritable(reason)
    if state in _CONTENDED:
        return Contended(reason)
    if state == _LOCKED:
        return Locked(reason)
    if state[:2] in _BAD_ROW_CLASSES:
        return Unwritable(reason, cause.diag.constraint_name)
    return StoreUnavailable(reason)
