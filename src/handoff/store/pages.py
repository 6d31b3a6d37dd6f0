"""Lists that walk one index, page by page: a page looks at a bounded number of rows and may therefore be short."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import ColumnElement, Connection, FromClause, Select, func, select
from sqlalchemy.engine import RowMapping

# Rows that one page looks at before it is handed over as it is, so that no search takes long.
MOST_SCANNED: Final = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """The rows that were found, where the next page begins (None: nowhere), and how many are still to be skipped."""

    rows: Sequence[RowMapping]
    next_from: str | None
    left_to_skip: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Search:
    """A walk along one index of `rows` in the order of `key`, from the greatest down unless `is_ascending`.

    `within` are the conditions that the index serves: of the rows that meet them, `most_scanned` are looked at, and
    those that meet `wanted` also are found. Every key lies between the empty text and `behind_all`.
    """

    rows: FromClause
    key: ColumnElement[Any]
    within: Sequence[ColumnElement[bool]]
    wanted: Sequence[ColumnElement[bool]]
    behind_all: str
    most_scanned: int = MOST_SCANNED
    is_ascending: bool = False

    def page(self, connection: Connection, *, limit: int, skip: int = 0) -> Page:
        """The first `limit` of those found, without `skip` of them."""
        found = self._found()
        rows = connection.execute(found.offset(skip).limit(limit + 1)).mappings().all()
        if len(rows) > limit:
            return Page(rows=rows[:limit], next_from=rows[limit - 1][self.key])
        # Where the search looked at all that it may, it goes on behind the last one seen.
        next_from = connection.scalar(self._last())
        if rows or not skip or next_from is None:
            return Page(rows=rows, next_from=next_from)
        skipped: int = connection.execute(select(func.count()).select_from(found.subquery())).scalar_one()
        return Page(rows=(), next_from=next_from, left_to_skip=skip - skipped)

    def _found(self) -> Select[Any]:
        end = func.coalesce(self._last().scalar_subquery(), self.behind_all if self.is_ascending else "")
        is_near = self.key <= end if self.is_ascending else self.key >= end
        return select(self.rows).where(*self.within, is_near, *self.wanted).order_by(self._order)

    def _last(self) -> Select[Any]:
        """The last row that may be looked at, if there are so many."""
        return select(self.key).where(*self.within).order_by(self._order).limit(1).offset(self.most_scanned - 1)

    @property
    def _order(self) -> ColumnElement[Any]:
        return self.key.asc() if self.is_ascending else self.key.desc()
