"""What an error of PostgreSQL's driver means for the work at hand."""

from typing import Final

import psycopg

from handoff.service.ports import Contended, Locked, StoreError, StoreUnavailable, Unwritable

# SQLSTATE codes and classes (PostgreSQL documentation, appendix "PostgreSQL Error Codes").
_CONTENDED: Final = frozenset({"40001", "40P01"})
_LOCKED: Final = "55P03"
_BAD_ROW_CLASSES: Final = frozenset({"22", "23"})


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
