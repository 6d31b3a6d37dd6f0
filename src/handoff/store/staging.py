"""Very many rows: they come into a temporary table first, and from there into their own in one statement.

So each row costs one pass through the driver (COPY on PostgreSQL, executemany on SQLite), and what is done with it,
comparing and all, is done by the database for the whole batch. A temporary table lives as long as its connection.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from operator import itemgetter
from typing import Any, Final

import psycopg
from psycopg import sql
from sqlalchemy import Column, Connection, MetaData, Select, Table, Text, cast, delete, func, insert, or_
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.schema import CreateTable
from sqlalchemy.types import JSON, TypeEngine

from handoff.store.errors import translate_sqlstate
from handoff.store.schema import REVISION

Row = Mapping[str, Any]

_INSERT: Final[Mapping[str, Any]] = {"sqlite": sqlite.insert, "postgresql": postgresql.insert}


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
        names = sql.SQL(", ").join(map(sql.Identifier, columns))
        self._copy = sql.SQL("COPY {} ({}) FROM STDIN").format(sql.Identifier(self.table.name), names)

    def fill(self, connection: Connection, rows: Iterable[Row]) -> None:
        """Have exactly these rows in the table, until the transaction ends. Raises the store's errors."""
        connection.execute(self._create)
        connection.execute(delete(self.table))
        values = list(map(self._values, rows))
        driver = connection.connection.driver_connection
        if isinstance(driver, psycopg.Connection):
            self._copy_in(driver, values)
        elif values:
            connection.exec_driver_sql(self._insert, values)

    def _copy_in(self, driver: psycopg.Connection[Any], values: Iterable[tuple[Any, ...]]) -> None:
        try:
            with driver.cursor() as cursor, cursor.copy(self._copy) as copy:
                for row in values:
                    copy.write_row(row)
        except psycopg.Error as error:
            raise translate_sqlstate(error) from error


def merged(
    dialect: str,
    table: Table,
    source: Select[Any],
    *,
    renewed: Sequence[str],
    renewed_if_given: Sequence[str] = (),
    stamped: Sequence[str] = (),
) -> Any:  # noqa: ANN401 (two dialects' Insert)
    """Insert what the source selects, in the order of keys, and renew these columns of rows that are there.

    With `renewed_if_given` a null keeps what is stored. A row in which nothing would change is left untouched; only
    where something does are the `stamped` columns renewed too.
    """
    keys = list(table.primary_key)
    chosen = source.selected_columns
    statement = _INSERT[dialect](table).from_select(chosen.keys(), source.order_by(*(chosen[key.name] for key in keys)))
    new = statement.excluded
    values = {name: new[name] for name in renewed}
    values |= {name: func.coalesce(new[name], table.c[name]) for name in renewed_if_given}
    if not values:
        return statement.on_conflict_do_nothing()
    changes = [_differs(table.c[name], value) for name, value in values.items()]
    values |= {name: new[name] for name in stamped}
    return statement.on_conflict_do_update(index_elements=keys, set_=values, where=or_(*changes))


def _differs(column: Column[Any], value: Any) -> Any:  # noqa: ANN401 (expressions of any type)
    if isinstance(column.type, JSON):  # which PostgreSQL cannot compare
        return cast(column, Text).is_distinct_from(cast(value, Text))
    return column.is_distinct_from(value)
