"""Very many rows: they come into a temporary table first, and from there into their own in one statement.

So each row costs one pass through the driver (COPY on PostgreSQL, executemany on SQLite), and what is done with it,
comparing and all, is done by the database for the whole batch. A temporary table lives as long as its connection.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from importlib import import_module
from operator import itemgetter
from typing import Any, Final

from sqlalchemy import (
    Column,
    ColumnElement,
    Connection,
    MetaData,
    Table,
    Text,
    and_,
    cast,
    delete,
    insert,
    or_,
    select,
    text,
)
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.schema import CreateTable
from sqlalchemy.types import JSON, TypeEngine

from handoff.store.schema import REVISION

Row = Mapping[str, Any]

_INSERT: Final[Mapping[str, Any]] = {"sqlite": sqlite.insert, "postgresql": postgresql.insert}
_KNOWN_ROWS: Final = text("SELECT reltuples FROM pg_class WHERE oid = to_regclass(:name)")


class Staged:
    """A temporary table with these columns, whose rows are given as mappings; JSON in them as text."""

    def __init__(self, name: str, columns: Mapping[str, TypeEngine[Any]]) -> None:
        # A pooler may hand a connection on to another version of this service: the revision keeps them apart.
        self.table = Table(
            f"incoming_{name}_{REVISION}",
            MetaData(),
            *(Column(column, kind) for column, kind in columns.items()),
            prefixes=["TEMPORARY"],
            postgresql_on_commit="DELETE ROWS",
        )
        self.c = self.table.c
        self._create = CreateTable(self.table, if_not_exists=True)
        self._values: Callable[[Row], tuple[Any, ...]] = itemgetter(*columns)
        # Without Core's handling of every value in every row.
        self._insert = str(insert(self.table).compile(dialect=sqlite.dialect()))

    def fill(self, connection: Connection, rows: Iterable[Row]) -> None:
        """Have exactly these rows in the table, until the transaction ends. Raises the store's errors."""
        connection.execute(self._create)
        connection.execute(delete(self.table))
        values = list(map(self._values, rows))
        if connection.dialect.name == "postgresql":
            import_module("handoff.store.copying").copy_in(connection, self.table, values)
        elif values:
            connection.exec_driver_sql(self._insert, values)


Values = Mapping[str, ColumnElement[Any]]


def merged(
    dialect: str, table: Table, staged: Staged, values: Values, *, kept: Sequence[str] = (), stamped: Sequence[str] = ()
) -> Any:  # noqa: ANN401 (two dialects' Insert)
    """Insert the staged rows, or renew those that are there, in the order of keys.

    `values` are what each column but the key gets; they may speak of the row that is there, which is null where there
    is none. The columns `kept` are for new rows only, those `stamped` for rows in which something else changes: one in
    which nothing does is not even touched.
    """
    keys = list(table.primary_key)
    key = [staged.c[column.name] for column in keys]
    renewed = [name for name in values if name not in kept]
    differs = [_differs(table.c[name], values[name]) for name in renewed if name not in stamped]
    source = (
        select(*key, *(value.label(name) for name, value in values.items()))
        .join_from(staged.table, table, same_key(table, staged), isouter=True)
        .where(or_(keys[-1].is_(None), *differs))
        .order_by(*key)
    )
    statement = _INSERT[dialect](table).from_select([*(column.name for column in keys), *values], source)
    if not renewed:
        return statement.on_conflict_do_nothing()
    set_ = {name: statement.excluded[name] for name in renewed}
    return statement.on_conflict_do_update(index_elements=keys, set_=set_)


def look_at(connection: Connection, tables: Sequence[Table], rows: int) -> None:
    """Have PostgreSQL count and sample the tables, unless it already takes the first for one of so many rows."""
    known = connection.scalar(_KNOWN_ROWS, {"name": tables[0].name})
    if known is None or known < rows:
        connection.exec_driver_sql(f"ANALYZE (SKIP_LOCKED) {', '.join(table.name for table in tables)}")


def same_key(table: Table, staged: Staged) -> ColumnElement[bool]:
    """Whether a stored row is the one that was staged."""
    return and_(*(column == staged.c[column.name] for column in table.primary_key))


def _differs(column: Column[Any], value: Any) -> Any:  # noqa: ANN401 (expressions of any type)
    if isinstance(column.type, JSON):  # which PostgreSQL cannot compare
        return cast(column, Text).is_distinct_from(cast(value, Text))
    return column.is_distinct_from(value)
