"""The seam for SQLite, which runs in this process: a statement for each row costs it nothing.

Keys go in as one JSON text, rows through the driver's executemany; SQLAlchemy's own would cost more than the write.
"""

from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Final

from sqlalchemy import (
    Column,
    ColumnElement,
    Connection,
    Insert,
    Table,
    Text,
    Update,
    and_,
    bindparam,
    func,
    literal_column,
    select,
    update,
)
from sqlalchemy.dialects import sqlite

from handoff.domain.encoding import as_json
from handoff.store.batch import Append, Change, Columns, Count, Key, Row, Write

_DIALECT: Final = sqlite.dialect(paramstyle="qmark")
# Before the name of a parameter that finds the row, so that it is not taken for a new value.
_KEY: Final = "key_"


class SqliteBatch:
    """See Batch."""

    def read(
        self, connection: Connection, columns: Columns, keys: Collection[Key], *, lock: bool
    ) -> Sequence[Sequence[Any]]:
        """See Batch. `lock` needs nothing: the transaction began with the write lock."""
        del lock
        return connection.exec_driver_sql(_read(columns), (as_json(sorted(keys)).decode(),)).all()

    def write(self, connection: Connection, writes: Sequence[Write]) -> None:
        """See Batch."""
        for write in writes:
            if not write.rows:
                continue
            match write:
                case Append(table, rows, once):
                    _run(connection, _append(table, tuple(rows[0]), once=once), rows)
                case Change(table, rows):
                    _run(connection, _change(table, tuple(rows[0])), rows)
                case Count(table, heads, rows):
                    counted = _counted(connection, heads, rows)
                    _run(connection, _append(table, tuple(counted[0]), once=False), counted)


def _counted(connection: Connection, heads: Table, rows: Sequence[Row]) -> Sequence[Row]:
    counts = Counter(row["account_id"] for row in rows)
    next_positions = {
        account: connection.exec_driver_sql(_advance(heads), (account, count)).scalar_one() - count + 1
        for account, count in counts.items()
    }
    counted = []
    for row in rows:
        account = row["account_id"]
        counted.append({**row, "position": next_positions[account]})
        next_positions[account] += 1
    return counted


def _run(connection: Connection, statement: "_Written", rows: Sequence[Row]) -> None:
    connection.exec_driver_sql(statement.text, statement.values(rows))


@cache
def _read(columns: Columns) -> str:
    keys = _key_columns(columns[0].table)
    given = func.json_each(bindparam("keys", type_=Text)).table_valued("value").alias("given")
    paths: list[ColumnElement[str]] = [literal_column(f"'$[{place}]'") for place in range(len(keys))]
    wanted = [key == func.json_extract(given.c.value, path) for key, path in zip(keys, paths, strict=True)]
    return str(
        select(*columns).join_from(given, keys[0].table, and_(*wanted)).order_by(*keys).compile(dialect=_DIALECT)
    )


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
    compiled = statement.compile(dialect=_DIALECT)
    names = tuple(name.removeprefix(_KEY) for name in compiled.positiontup or ())
    found = {name: table.c[name].type.dialect_impl(_DIALECT).bind_processor(_DIALECT) for name in names}
    return _Written(str(compiled), names, {name: processor for name, processor in found.items() if processor})


@cache
def _append(table: Table, names: tuple[str, ...], *, once: bool) -> _Written:
    statement = sqlite.insert(table).values({name: bindparam(name) for name in names})
    return _written(table, statement.on_conflict_do_nothing() if once else statement)


@cache
def _change(table: Table, names: tuple[str, ...]) -> _Written:
    keys = _key_columns(table)
    key_names = {key.name for key in keys}
    wanted = [key == bindparam(f"{_KEY}{key.name}", type_=key.type) for key in keys]
    new_values: dict[str, Any] = {name: bindparam(name) for name in names if name not in key_names}
    return _written(table, update(table).where(*wanted).values(new_values))


@cache
def _advance(heads: Table) -> str:
    statement = sqlite.insert(heads).values(account_id=bindparam("account"), position=bindparam("count"))
    return str(
        statement.on_conflict_do_update(
            index_elements=[heads.c.account_id], set_={"position": heads.c.position + statement.excluded.position}
        )
        .returning(heads.c.position)
        .compile(dialect=_DIALECT)
    )


def _key_columns(table: Table) -> list[Column[Any]]:
    return list(table.primary_key.columns)
