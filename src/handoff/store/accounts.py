"""Which accounts a table has rows of: a skip-scan over its primary key, one look for each account."""

from collections.abc import Iterator
from typing import Final

from sqlalchemy import Connection, Table, TextClause, text

# The next account, as often as there are accounts.
_ACCOUNTS: Final = """
WITH RECURSIVE accounts(account_id) AS (
    SELECT min(c.account_id) FROM {table} c
    UNION ALL
    SELECT (SELECT min(c.account_id) FROM {table} c WHERE c.account_id > accounts.account_id)
    FROM accounts WHERE accounts.account_id IS NOT NULL
)
SELECT account_id FROM accounts WHERE account_id IS NOT NULL
"""


def accounts_of(table: Table) -> TextClause:
    """The statement that gives the accounts in the order of their ids."""
    return text(_ACCOUNTS.format(table=table.name))


def accounts_in(connection: Connection, table: Table, account_id: str | None = None) -> Iterator[str]:
    """The accounts that have rows in the table, in order; where one is named, that one."""
    if account_id is not None:
        return iter([account_id])
    return iter(connection.execute(accounts_of(table)).scalars().all())
