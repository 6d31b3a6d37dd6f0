"""Lists that walk one index, page by page: a page looks at a bounded number of rows and may therefore be short."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import ColumnElement, Connection, Select, Subquery, func, select, text
from sqlalchemy.engine import RowMapping

# Rows that one page looks at before it is handed over as it is, so that no search takes long.
MOST_SCANNED: Final = 10_000

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


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """The rows that were found, where the next page begins (None: nowhere), and how many are still to be skipped."""

    rows: Sequence[RowMapping]
    next_from: str | None
    left_to_skip: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Search:
    """One page's search: `scanned` are the rows that it looks at, `most_scanned` at the most, in the order of `key`.

    `found` selects those that are wanted, in the same order.
    """

    scanned: Subquery
    found: Select[Any]
    key: str
    most_scanned: int = MOST_SCANNED
    is_ascending: bool = False

    def page(
        self, connection: Connection, params: Mapping[str, Any] | None = None, *, limit: int, skip: int = 0
    ) -> Page:
        """The first `limit` of those found behind `skip` of them; `params` are what the statements leave open."""
        rows = connection.execute(self.found.offset(skip).limit(limit + 1), params).mappings().all()
        if len(rows) > limit:
            return Page(rows=rows[:limit], next_from=rows[limit - 1][self.key])
        # Where the search looked at all that it may, it goes on behind the last one seen.
        last = select(self.scanned.c[self.key]).order_by(self._order).offset(self.most_scanned - 1)
        next_from = connection.scalar(last, params)
        if rows or not skip or next_from is None:
            return Page(rows=rows, next_from=next_from)
        skipped: int = connection.execute(select(func.count()).select_from(self.found.subquery()), params).scalar_one()
        return Page(rows=(), next_from=next_from, left_to_skip=skip - skipped)

    @property
    def _order(self) -> ColumnElement[Any]:
        key = self.scanned.c[self.key]
        return key.asc() if self.is_ascending else key.desc()


def accounts_of(connection: Connection, table: str) -> Sequence[str]:
    """Every account that has rows in the table, whose primary key begins with it."""
    return list(connection.execute(text(_ACCOUNTS.format(table=table))).scalars())
