"""Which accounts a table has rows of: a skip-scan over its primary key, one look for each account."""

from collections.abc import Iterator
from functools import cache
from typing import Any

from sqlalchemy import Connection, Select, Table, bindparam, func, select


def accounts_in(connection: Connection, table: Table, account_id: str | None = None) -> Iterator[str]:
    """The accounts that have rows in the table, in order; where one is named, that one."""
    if account_id is not None:
        yield account_id
        return
    found = connection.scalar(_next(table), {"after": ""})
    while found is not None:
        yield found
        found = connection.scalar(_next(table), {"after": found})


@cache
def _next(table: Table) -> Select[Any]:
    return select(func.min(table.c.account_id)).where(table.c.account_id > bindparam("after"))
