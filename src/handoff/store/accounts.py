"""Which accounts a table has rows of, found without reading the rows."""

from typing import Final

from sqlalchemy import Table, TextClause, text

# Skip-scan: the next account, as often as there are accounts.
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
