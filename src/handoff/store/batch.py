"""The dialect seam: how one statement reads or writes many rows.

SQLite takes the keys of a read as one JSON text and writes with the driver's executemany, which costs it nothing since
it runs in this process; SQLAlchemy's own would cost more than the write. PostgreSQL takes arrays, one per column, so
that each read and each write is one round trip.
"""

import json
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Final, Protocol

from sqlalchemy import (
    ARRAY,
    Column,
    Connection,
    Executable,
    FromClause,
    Insert,
    Select,
    Table,
    Text,
    Update,
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

_SQLITE: Final = sqlite.dialect(paramstyle="qmark")
# Before the name of a parameter that finds the row, so that it is not taken for a new value.
_KEY: Final = "key_"


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
        statement = _sqlite_append(table, tuple(rows[0]), once=once)
        connection.exec_driver_sql(statement.text, statement.values(rows))

    def change(self, connection: Connection, table: Table, rows: Sequence[Row]) -> None:
        """See Batch."""
        statement = _sqlite_change(table, tuple(rows[0]))
        connection.exec_driver_sql(statement.text, statement.values(rows))


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


@dataclass(frozen=True, slots=True)
class _Written:
    """A statement as SQLite's driver takes it: its text, and which value of a row stands at which place."""

    text: str
    names: tuple[str, ...]
    processors: Mapping[str, Callable[[Any], Any]]

    def values(self, rows: Sequence[Row]) -> list[tuple[Any, ...]]:
        """The rows as the driver takes them."""
        if not self.processors:
            return [tuple([row[name] for name in self.names]) for row in rows]
        return [tuple([self._processed(name, row[name]) for name in self.names]) for row in rows]

    def _processed(self, name: str, value: Any) -> Any:  # noqa: ANN401 (of the column's type)
        processor = self.processors.get(name)
        return value if processor is None else processor(value)


def _written(table: Table, statement: Insert | Update) -> _Written:
    compiled = statement.compile(dialect=_SQLITE)
    names = tuple(name.removeprefix(_KEY) for name in compiled.positiontup or ())
    found = {name: table.c[name].type.dialect_impl(_SQLITE).bind_processor(_SQLITE) for name in names}
    return _Written(str(compiled), names, {name: processor for name, processor in found.items() if processor})


@cache
def _sqlite_append(table: Table, names: tuple[str, ...], *, once: bool) -> _Written:
    statement = sqlite.insert(table).values({name: bindparam(name) for name in names})
    return _written(table, statement.on_conflict_do_nothing() if once else statement)


@cache
def _sqlite_change(table: Table, names: tuple[str, ...]) -> _Written:
    keys = _key_columns(table)
    key_names = {key.name for key in keys}
    wanted = [key == bindparam(f"{_KEY}{key.name}", type_=key.type) for key in keys]
    new_values: dict[str, Any] = {name: bindparam(name) for name in names if name not in key_names}
    return _written(table, update(table).where(*wanted).values(new_values))


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
