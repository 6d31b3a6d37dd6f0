"""Finding what is due, lane by lane, at a cost that does not grow with the backlog of any one lane."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from sqlalchemy import Connection, text

from handoff.service.ports import DueLane, LaneShare

# Lanes looked at in one claim. Where there are more, the next claim goes on behind the last one seen.
_LANES_PER_SCAN: Final = 256

# Skip-scan: each step asks the index for the next lane, so a lane costs three probes however long its queue is.
_SCAN: Final = text("""
WITH RECURSIVE lanes(lane, place) AS (
    SELECT (SELECT min(c.lane) FROM callbacks c WHERE c.state = 'pending' AND c.lane > :behind), 1
    UNION ALL
    SELECT (SELECT min(c.lane) FROM callbacks c WHERE c.state = 'pending' AND c.lane > lanes.lane), lanes.place + 1
    FROM lanes WHERE lanes.lane IS NOT NULL AND lanes.place < :most
)
SELECT lane,
    (SELECT min(c.due_at) FROM callbacks c WHERE c.state = 'pending' AND c.lane = lanes.lane AND c.is_retry = false),
    (SELECT min(c.due_at) FROM callbacks c WHERE c.state = 'pending' AND c.lane = lanes.lane AND c.is_retry = true)
FROM lanes WHERE lane IS NOT NULL
""")

# Told to the driver as it is: a claim asks this of every lane that has something due.
_SQLITE_ROWS: Final = """
SELECT c.account_id, c.callback_id, c.transfer_id, c.app_id, c.url, c.lane, c.body, c.attempts, c.is_retry, c.claims,
    c.expires_at
FROM callbacks c
WHERE c.state = 'pending' AND c.lane = ? AND c.is_retry = ? AND c.due_at <= ?
ORDER BY c.due_at LIMIT ?
"""
_POSTGRES_ROWS: Final = text("""
SELECT r.account_id, r.callback_id, r.transfer_id, r.app_id, r.url, r.lane, r.body, r.attempts, r.is_retry, r.claims,
    r.expires_at
FROM unnest(cast(:lanes AS text[]), cast(:kinds AS boolean[]), cast(:mosts AS integer[])) AS k(lane, is_retry, most)
CROSS JOIN LATERAL (
    SELECT * FROM callbacks c
    WHERE c.state = 'pending' AND c.lane = k.lane AND c.is_retry = k.is_retry AND c.due_at <= :now
    ORDER BY c.due_at LIMIT k.most
    FOR UPDATE SKIP LOCKED
) r
""")


@dataclass(frozen=True, slots=True, kw_only=True)
class Lanes:
    """The lanes of a scan that have something due, and when the next of its other messages is."""

    due: Sequence[DueLane]
    next_due_at: int | None


class DueRow(NamedTuple):
    """A message as a claim finds it; see `handoff.store.tables`."""

    account_id: str
    callback_id: str
    transfer_id: str
    app_id: str
    url: str
    lane: str
    body: str
    attempts: int
    is_retry: bool
    claims: int
    expires_at: int


class LaneScan:
    """Goes round all lanes that have pending messages, a bounded number at a time."""

    def __init__(self) -> None:
        self._behind = ""

    def scan(self, connection: Connection, now_ms: int) -> Lanes:
        """The next lanes in turn; behind the last one the turn begins anew."""
        rows = connection.execute(_SCAN, {"behind": self._behind, "most": _LANES_PER_SCAN}).all()
        if not rows and self._behind:
            self._behind = ""
            rows = connection.execute(_SCAN, {"behind": "", "most": _LANES_PER_SCAN}).all()
        self._behind = rows[-1][0] if len(rows) == _LANES_PER_SCAN else ""
        due = [
            DueLane(name=lane, has_fresh=_is_due(fresh, now_ms), has_retries=_is_due(retry, now_ms))
            for lane, fresh, retry in rows
            if _is_due(fresh, now_ms) or _is_due(retry, now_ms)
        ]
        later = [at for _, fresh, retry in rows for at in (fresh, retry) if at is not None and at > now_ms]
        return Lanes(due=due, next_due_at=now_ms if self._behind else min(later, default=None))


def claim_rows(connection: Connection, shares: Mapping[str, LaneShare], now_ms: int) -> Sequence[DueRow]:
    """The oldest due rows of each lane, as many as its share, locked where the database has row locks."""
    wants = [
        (lane, is_retry, most)
        for lane, wanted in shares.items()
        for is_retry, most in ((False, wanted.fresh), (True, wanted.retries))
        if most
    ]
    if not wants:
        return ()
    if connection.dialect.name == "postgresql":
        lanes, kinds, mosts = (list(column) for column in zip(*wants, strict=True))
        params: dict[str, Any] = {"lanes": lanes, "kinds": kinds, "mosts": mosts, "now": now_ms}
        return [DueRow(*row) for row in connection.execute(_POSTGRES_ROWS, params)]
    return [
        DueRow(*row)
        for lane, is_retry, most in wants
        for row in connection.exec_driver_sql(_SQLITE_ROWS, (lane, is_retry, now_ms, most))
    ]


def _is_due(at: int | None, now_ms: int) -> bool:
    return at is not None and at <= now_ms
