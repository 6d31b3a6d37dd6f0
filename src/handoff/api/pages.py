"""Pages: by the documented number, or by a cursor of ours, which costs the same however far it leads."""

from typing import Annotated, Any, Final

from fastapi import Query, Response

from handoff.api.cursors import read_cursor, write_cursor
from handoff.api.problems import Refuse
from handoff.api.schemas import WrittenCursor
from handoff.domain.refusals import Refusal

# Rows that a page's number may pass over, all of which are read.
_MOST_SKIPPED: Final = 10_000
_NEXT_CURSOR: Final = "X-Next-Cursor"

# What the OpenAPI document says of an answer that has no room for a cursor.
CURSOR_HEADER: Final[dict[int | str, dict[str, Any]]] = {
    200: {
        "headers": {
            _NEXT_CURSOR: {
                "description": "Extension, where there is more: send it as `cursor` for what follows.",
                "schema": {"type": "string"},
            }
        }
    }
}

PageNumber = Annotated[int, Query(ge=1, description="The page, from 1; far ones are reached by cursor.")]
Cursor = Annotated[WrittenCursor | None, Query(description="Extension: where to go on, as the answer before gave it.")]


def skip_to(page: int, limit: int, cursor: str | None) -> int:
    """How many rows come before the page. Raises Refuse where page and cursor disagree, or the page is too far."""
    skip = (page - 1) * limit
    if cursor is not None and skip:
        raise Refuse(Refusal.INVALID_REQUEST, "page: send page or cursor, not both.")
    if skip > _MOST_SKIPPED:
        raise Refuse(Refusal.INVALID_REQUEST, f"page: beyond {_MOST_SKIPPED} results go on by the nextCursor.")
    return skip


def after(cursor: str | None) -> str:
    """The id behind which the page begins; of the first, the empty one. Raises Refuse."""
    return "" if cursor is None else read_cursor(cursor)[0]


def next_cursor(next_after: str | None) -> str | None:
    """The cursor of the next page, if there is one."""
    return None if next_after is None else write_cursor(next_after)


def announce(next_after: str | None, response: Response) -> None:
    """Tell of the next page in a header: of an answer whose documented body has no room for it."""
    if next_after is not None:
        response.headers[_NEXT_CURSOR] = write_cursor(next_after)
