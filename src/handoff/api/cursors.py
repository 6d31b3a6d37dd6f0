"""Opaque cursors: where the next page begins, in a form that callers pass on and never read."""

import base64
import json
from typing import Final

from handoff.api.problems import Refuse
from handoff.domain.ids import is_id
from handoff.domain.refusals import Refusal

_LONGEST: Final = 1_024


def write_cursor(row_id: str, at_ms: int = 0) -> str:
    """A cursor behind the row with this id, and a time where the page has one."""
    return base64.urlsafe_b64encode(json.dumps([row_id, at_ms]).encode()).decode().rstrip("=")


def read_cursor(cursor: str) -> tuple[str, int]:
    """The id and the time. Raises Refuse for a cursor that is not of our making."""
    match _values(cursor):
        case [str(row_id), int(at_ms)] if not isinstance(at_ms, bool) and is_id(row_id):
            return row_id, at_ms
    raise Refuse(Refusal.INVALID_REQUEST, "cursor: send the nextCursor of the page before as it came.")


def _values(cursor: str) -> object:
    padded = cursor[:_LONGEST] + "=" * (-len(cursor) % 4)
    try:
        return json.loads(base64.b64decode(padded, altchars=b"-_", validate=True))
    except (ValueError, RecursionError):  # UnicodeError and binascii.Error are ValueErrors
        return None
