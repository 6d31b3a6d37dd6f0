"""The dialect seam: how one statement reads or writes many rows.

Both take the keys of a read as one JSON text. SQLite writes with the driver's executemany, which costs it nothing since
it runs in this process; SQLAlchemy's own would cost more than the write. PostgreSQL takes rows as one JSON text too, so
that each write is one round trip; as arrays, one per column, they would cost the driver four times as much.
"""

import json
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Final, Protocol

from sqlalchemy import (
    JSON,
    Column,
    ColumnElement,
    Connection,
    Insert,
    Table,
    Text,
    Update,
    and_,
    bindparam,
    cast,
    func,
    literal_column,
    select,
    update,
)
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.dialects.postgresql import psycopg

Row = Mapping[str, Any]
Key = tuple[str, ...]
# Of one table, and of types that need nothing done to their values.
Columns = tuple[Column[Any], ...]

_encode = json.JSONEncoder(ensure_ascii=False, check_circular=False, separators=(",", ":")).encode

_ROWS: Final = "rows"
_GIVEN: Final = func.jsonb_array_elements(cast(bindparam(_ROWS, type_=Text), postgresql.JSONB)).table_valued(
    "value", name="given"
)
_ROW: Final = _GIVEN.c.value
_SQLITE: Final = sqlite.dialect(paramstyle="qmark")
_POSTGRES: Final = psycopg.dialect()  # type: ignore[no-untyped-call] # SQLAlchemy has no annotation there
# Before the name of a parameter that finds the row, so that it is not taken for a new value.
_KEY: Final = "key_"


class Batch(Protocol):
    """Reads and writes many rows by primary key, in one statement each."""

    def read(
        self, connection: Connection, columns: Columns, keys: Collection[Key], *, lock: bool
    ) -> Sequence[Sequence[Any]]:
        """These columns of the rows that exist, in key order; locked in that order where `lock` and rows can be."""
        ...

    def append(self, connection: Connection, table: Table, rows: Sequence[Row], *, once: bool = False) -> None:
        """Insert the rows, all with the same columns; with `once`, skip those whose key is there already."""
        ...

    def change(self, connection: Connection, table: Table, rows: Sequence[Row]) -> None:
        """Update the rows by primary key with their other columns, the same ones in all."""
        ...


class SqliteBatch:
    """The seam for SQLite."""

    def read(
        self, connection: Connection, columns: Columns, keys: Collection[Key], *, lock: bool
    ) -> Sequence[Sequence[Any]]:
        """See Batch. `lock` needs nothing: the transaction began with the write lock."""
        del lock
        return connection.exec_driver_sql(_sqlite_read(columns), (_encode(sorted(keys)),)).all()

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

    def read(
        self, connection: Connection, columns: Columns, keys: Collection[Key], *, lock: bool
    ) -> Sequence[Sequence[Any]]:
        """See Batch."""
        statement = _postgres_read(columns, lock=lock)
        return connection.exec_driver_sql(statement, {_ROWS: _encode(sorted(keys))}).all()

    def append(self, connection: Connection, table: Table, rows: Sequence[Row], *, once: bool = False) -> None:
        """See Batch."""
        names = tuple(rows[0])
        connection.exec_driver_sql(_postgres_append(table, names, once=once), _as_json(names, rows))

    def change(self, connection: Connection, table: Table, rows: Sequence[Row]) -> None:
        """See Batch."""
        names = tuple(rows[0])
        connection.exec_driver_sql(_postgres_change(table, names), _as_json(names, rows))


def _as_json(names: Sequence[str], rows: Sequence[Row]) -> dict[str, str]:
    """The values of the rows as one JSON text: an array for each row, in the order of the names."""
    return {_ROWS: _encode([[row[name] for name in names] for row in rows])}


def _key_columns(table: Table) -> list[Column[Any]]:
    return list(table.primary_key.columns)


@cache
def _sqlite_read(columns: Columns) -> str:
    keys = _key_columns(columns[0].table)
    given = func.json_each(bindparam(_ROWS, type_=Text)).table_valued("value").alias("given")
    paths: list[ColumnElement[str]] = [literal_column(f"'$[{place}]'") for place in range(len(keys))]
    wanted = [key == func.json_extract(given.c.value, path) for key, path in zip(keys, paths, strict=True)]
    return str(select(*columns).join_from(given, keys[0].table, and_(*wanted)).order_by(*keys).compile(dialect=_SQLITE))


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
def _postgres_read(columns: Columns, *, lock: bool) -> str:
    table = columns[0].table
    keys = _key_columns(table)
    given = _given([key.name for key in keys], table)
    wanted = [key == given[key.name] for key in keys]
    statement = select(*columns).join_from(_GIVEN, table, and_(*wanted)).order_by(*keys)
    return str((statement.with_for_update(of=table, key_share=True) if lock else statement).compile(dialect=_POSTGRES))


@cache
def _postgres_append(table: Table, names: tuple[str, ...], *, once: bool) -> str:
    given = _given(names, table)
    statement = postgresql.insert(table).from_select(names, select(*given.values()).select_from(_GIVEN))
    return str((statement.on_conflict_do_nothing() if once else statement).compile(dialect=_POSTGRES))


@cache
def _postgres_change(table: Table, names: tuple[str, ...]) -> str:
    given = _given(names, table)
    keys = _key_columns(table)
    key_names = {key.name for key in keys}
    statement = (
        update(table)
        .where(*(key == given[key.name] for key in keys))
        .values({name: value for name, value in given.items() if name not in key_names})
    )
    return str(statement.compile(dialect=_POSTGRES))


def _given(names: Sequence[str], table: Table) -> dict[str, ColumnElement[Any]]:
    """The values of a row that came as JSON, by name, each of its column's type."""
    return {name: _from_json(place, table.c[name]) for place, name in enumerate(names)}


def _from_json(place: int, column: Column[Any]) -> ColumnElement[Any]:
    if isinstance(column.type, JSON):
        return cast(_ROW.op("->")(literal_column(str(place))), column.type)
    text: ColumnElement[Any] = _ROW.op("->>", return_type=Text())(literal_column(str(place)))
    return text if isinstance(column.type, Text) else cast(text, column.type)
