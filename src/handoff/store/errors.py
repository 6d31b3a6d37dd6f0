"""What a database's error means for the work at hand."""

from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import Final

from sqlalchemy.exc import (
    DataError,
    DBAPIError,
    IntegrityError,
    InterfaceError,
    ProgrammingError,
    SQLAlchemyError,
    StatementError,
)

from handoff.service.ports import StoreError, StoreUnavailable, Unwritable

# As SQLAlchemy names errors of SQLite's driver: the driver's names.
_BAD_ROW_SQLITE: Final = (IntegrityError, DataError, InterfaceError, ProgrammingError)


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
    if hasattr(cause, "sqlstate"):  # PostgreSQL's driver tells it, SQLite's does not
        found: StoreError = import_module("handoff.store.errors_postgres").translate_sqlstate(cause)
        return found
    if isinstance(error, _BAD_ROW_SQLITE):
        _, _, rule = str(cause).partition(" constraint failed: ")
        return Unwritable(str(cause), rule or None)
    return StoreUnavailable(str(cause))
