"""The dialect seam: how one statement reads or writes many rows.

SQLite takes the keys of a read as one JSON text and writes with executemany, which costs it nothing since it runs
in this process. PostgreSQL takes arrays, one per column, so that each read and each write is one round trip.
"""

import json
from collections.abc import Collection, Mapping, Sequence
from functools import cache
from typing import Any, Protocol

from sqlalchemy import (
    ARRAY,
    Column,
    Connection,
    Executable,
    FromClause,
    Select,
    Table,
    Text,
    and_,
    bindparam,
    func,
    select,
    update,
)
from sqlalchemy import column as column_
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import RowMapping

Row = Mapping[str, Any]
Key = tuple[str, ...]


class Batch(Protocol):
    """Reads and writes many rows by primary key, in one statement each."""

    def read(self, connection: Connection, table: Table, keys: Collection[Key], *, lock: bool) -> Sequence[RowMapping]:
        """The rows that exist, in key order; locked in that order where `lock` and the database has row locks."""
        ...

    def append(self, connection: Connection, table: Table, rows: Sequence[Row], *, once: bool = False) -> None:
        """Insert the rows, all with the same columns; with `once`, skip those whose key is there already."""
        ...

    def change(self, connection: Connection, table: Table, rows: Sequence[Row]) -> None:
        """Update the rows by primary key with their other columns, the same ones in all."""
        ...


class SqliteBatch:
    """The seam for SQLite."""

    def read(self, connection: Connection, table: Table, keys: Collection[Key], *, lock: bool) -> Sequence[RowMapping]:
        """See Batch. `lock` needs nothing: the transaction began with the write lock."""
        del lock
        return connection.execute(_sqlite_read(table), {"keys": json.dumps(sorted(keys))}).mappings().all()

    def append(self, connection: Connection, table: Table, rows: Sequence[Row], *, once: bool = False) -> None:
        """See Batch."""
        statement = sqlite.insert(table)
        connection.execute(statement.on_conflict_do_nothing() if once else statement, list(rows))

    def change(self, connection: Connection, table: Table, rows: Sequence[Row]) -> None:
        """See Batch."""
        statement = _sqlite_change(table, tuple(rows[0]))
        connection.execute(statement, [{f"new_{name}": value for name, value in row.items()} for row in rows])


class PostgresBatch:
    """The seam for PostgreSQL."""

    def read(self, connection: Connection, table: Table, keys: Collection[Key], *, lock: bool) -> Sequence[RowMapping]:
        """See Batch."""
        columns = zip(*sorted(keys), strict=True)
        params = {f"key{place}": list(values) for place, values in enumerate(columns)}
        return connection.execute(_postgres_read(table, lock=lock), params).mappings().all()

    def append(self, connection: Connection, table: Table, rows: Sequence[Row], *, once: bool = False) -> None:
        """See Batch."""
        names = tuple(rows[0])
        connection.execute(_postgres_append(table, names, once=once), _by_column(names, rows))

    def change(self, connection: Connection, table: Table, rows: Sequence[Row]) -> None:
        """See Batch."""
        names = tuple(rows[0])
        connection.execute(_postgres_change(table, names), _by_column(names, rows))


def _by_column(names: Sequence[str], rows: Sequence[Row]) -> dict[str, list[Any]]:
    return {f"all_{name}": [row[name] for row in rows] for name in names}


def _key_columns(table: Table) -> list[Column[Any]]:
    return list(table.primary_key.columns)


@cache
def _sqlite_read(table: Table) -> Select[Any]:
    keys = func.json_each(bindparam("keys", type_=Text)).table_valued("value").alias("k")
    wanted = [key == func.json_extract(keys.c.value, f"$[{place}]") for place, key in enumerate(_key_columns(table))]
    return select(table).join_from(keys, table, and_(*wanted)).order_by(*_key_columns(table))


@cache
def _sqlite_change(table: Table, names: tuple[str, ...]) -> Executable:
    keys = {key.name for key in _key_columns(table)}
    return (
        update(table)
        .where(*(key == bindparam(f"new_{key.name}") for key in _key_columns(table)))
        .values({name: bindparam(f"new_{name}") for name in names if name not in keys})
    )


@cache
def _postgres_read(table: Table, *, lock: bool) -> Select[Any]:
    places = range(len(_key_columns(table)))
    arrays = [bindparam(f"key{place}", type_=ARRAY(Text)) for place in places]
    keys = func.unnest(*arrays).table_valued(*(column_(f"key{place}", Text) for place in places)).render_derived("k")
    wanted = [key == keys.c[f"key{place}"] for place, key in enumerate(_key_columns(table))]
    statement = select(table).join_from(keys, table, and_(*wanted)).order_by(*_key_columns(table))
    return statement.with_for_update(of=table, key_share=True) if lock else statement


@cache
def _postgres_append(table: Table, names: tuple[str, ...], *, once: bool) -> Executable:
    source = _unnested(table, names)
    statement = postgresql.insert(table).from_select(names, select(*(source.c[name] for name in names)))
    return statement.on_conflict_do_nothing() if once else statement


@cache
def _postgres_change(table: Table, names: tuple[str, ...]) -> Executable:
    source = _unnested(table, names)
    keys = _key_columns(table)
    key_names = {key.name for key in keys}
    return (
        update(table)
        .where(*(key == source.c[key.name] for key in keys))
        .values({name: source.c[name] for name in names if name not in key_names})
    )


def _unnested(table: Table, names: Sequence[str]) -> FromClause:
    arrays = [bindparam(f"all_{name}", type_=ARRAY(table.c[name].type)) for name in names]
    columns = [column_(name, table.c[name].type) for name in names]
    return func.unnest(*arrays).table_valued(*columns).render_derived("k")
