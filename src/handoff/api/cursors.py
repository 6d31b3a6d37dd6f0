"""Opaque cursors: where the next page begins, in a form that callers pass on and never read."""

import base64
import json
from typing import Final

from handoff.api.problems import Refuse
from handoff.api.schemas import LONGEST_CURSOR
from handoff.domain.ids import is_row_id
from handoff.domain.refusals import Refusal

# More than any time or count that a cursor carries, and no more than a store can compare.
_GREATEST: Final = 1 << 53


def write_cursor(row_id: str, number: int = 0) -> str:
    """A cursor behind the row with this id, and a time or count where the page has one."""
    return base64.urlsafe_b64encode(json.dumps([row_id, number]).encode()).decode().rstrip("=")


def read_cursor(cursor: str) -> tuple[str, int]:
    """The id and the number. Raises Refuse for a cursor that is not of our making."""
    match _values(cursor):
        case [str(row_id), int(number)] if not isinstance(number, bool) and is_row_id(row_id):
            if 0 <= number < _GREATEST:
                return row_id, number
    raise Refuse(Refusal.INVALID_REQUEST, "cursor: send the nextCursor of the page before as it came.")


def _values(cursor: str) -> object:
    padded = cursor[:LONGEST_CURSOR] + "=" * (-len(cursor) % 4)
    try:
        return json.loads(base64.b64decode(padded, altchars=b"-_", validate=True))
    except (ValueError, RecursionError):  # UnicodeError and binascii.Error are ValueErrors
        return None
