"""PostgreSQL's COPY, which takes many rows in one pass through the driver."""

from collections.abc import Iterable
from typing import Any

import psycopg
from psycopg import sql
from sqlalchemy import Connection, Table

from handoff.store.errors_postgres import translate_sqlstate


def copy_in(connection: Connection, table: Table, rows: Iterable[tuple[Any, ...]]) -> None:
    """Add the rows, each with a value for every column. Raises the store's errors."""
    names = sql.SQL(", ").join(sql.Identifier(column.name) for column in table.c)
    command = sql.SQL("COPY {} ({}) FROM STDIN").format(sql.Identifier(table.name), names)
    driver = connection.connection.driver_connection
    assert isinstance(driver, psycopg.Connection)  # noqa: S101 (for the type checker)
    try:
        with driver.cursor() as cursor, cursor.copy(command) as copy:
            for row in rows:
                copy.write_row(row)
    except psycopg.Error as error:
        raise translate_sqlstate(error) from error
