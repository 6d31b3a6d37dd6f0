"""The dialect seam: how many rows are read or written at one go. What stands behind it, `stores` decides."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from sqlalchemy import Column, Connection, Table

Row = Mapping[str, Any]
Key = tuple[str, ...]
# Of one table, and of types that need nothing done to their values.
Columns = tuple[Column[Any], ...]


@dataclass(frozen=True, slots=True)
class Append:
    """Rows to insert; with `once`, those whose key is there already are skipped."""

    table: Table
    rows: Sequence[Row]
    once: bool = False


@dataclass(frozen=True, slots=True)
class Change:
    """Rows to update by their primary key, with their other columns."""

    table: Table
    rows: Sequence[Row]


@dataclass(frozen=True, slots=True)
class Count:
    """Rows to insert whose `position` goes on, in their order, from the last one of their account, kept in `heads`.

    The head of an account stays locked until the transaction ends, and is locked after all else that is written with
    it. Accounts are locked in one order, so that no two transactions can wait for each other.
    """

    table: Table
    heads: Table
    rows: Sequence[Row]


Write = Append | Change | Count


class Batch(Protocol):
    """Reads and writes many rows by primary key."""

    def read(
        self, connection: Connection, columns: Columns, keys: Collection[Key], *, lock: bool
    ) -> Sequence[Sequence[Any]]:
        """These columns of the rows that exist, in key order; locked in that order where `lock` and rows can be."""
        ...

    def write(self, connection: Connection, writes: Sequence[Write]) -> None:
        """Do all that has rows, those of each with the same columns. No two may be about the same row."""
        ...
