"""Purging what is over: in small steps by primary key, which grows with time, so no index is needed."""

from typing import Any, Final

from sqlalchemy import Connection, Engine, text

from handoff.domain.ids import callback_id_at
from handoff.service.retention import CallbackPlace, Cutoffs, EventPlace, Place, Purged, Step
from handoff.store.errors import translated

# Rows looked at in one transaction: some milliseconds of the embedded store's one writer.
_ROWS: Final = 1_000
# Any constant will do, so long as no other program on the same server uses it for its advisory locks.
_PURGE_LOCK: Final = 4_851_002

_NEXT_ACCOUNT: Final = text("SELECT min(c.account_id) FROM callbacks c WHERE c.account_id > :account")
_END_OF_STEP: Final = text("""
SELECT c.callback_id FROM callbacks c
WHERE c.account_id = :account AND c.callback_id > :behind AND c.callback_id < :bound
ORDER BY c.callback_id LIMIT 1 OFFSET :rows
""")
_DELETE: Final = text("""
DELETE FROM callbacks
WHERE account_id = :account AND callback_id > :behind AND callback_id <= :upto
    AND (state = 'delivered' AND ended_at < :delivered_before
        OR state IN ('dead', 'cancelled') AND ended_at < :dead_before)
""")
_DELETE_ATTEMPTS: Final = text("""
DELETE FROM callback_attempts
WHERE account_id = :account AND callback_id > :behind AND callback_id <= :upto
    AND NOT EXISTS (SELECT 1 FROM callbacks c
        WHERE c.account_id = callback_attempts.account_id AND c.callback_id = callback_attempts.callback_id)
""")


_NEXT_FEED: Final = text("SELECT min(h.account_id) FROM event_heads h WHERE h.account_id > :account")
_OLDEST_EVENT: Final = text("SELECT min(e.position) FROM events e WHERE e.account_id = :account")
_FIRST_EVENT_KEPT: Final = text("""
SELECT min(e.position) FROM events e
WHERE e.account_id = :account AND e.position < :bound AND e.at >= :events_before
""")
_DELETE_EVENTS: Final = text("DELETE FROM events WHERE account_id = :account AND position < :upto")
_NEXT_OWNER: Final = text("SELECT min(t.account_id) FROM used_tokens t WHERE t.account_id > :account")
_LAST_OF_STEP: Final = text("""
SELECT t.expires_at FROM used_tokens t
WHERE t.account_id = :account AND t.expires_at < :before
ORDER BY t.expires_at LIMIT 1 OFFSET :rows
""")
_FORGET_TOKENS: Final = text("DELETE FROM used_tokens WHERE account_id = :account AND expires_at <= :upto")


class SqlRetention:
    """See `handoff.service.retention.RetentionStore`. Opens a connection for each step."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def purge_step(self, cutoffs: Cutoffs, behind: Place) -> Step:
        """Purge what is over among the next rows. One purger at a time: another finds nothing to do."""
        with translated(), self._engine.begin() as connection:
            if connection.dialect.name == "postgresql" and not connection.scalar(
                text("SELECT pg_try_advisory_xact_lock(:key)"), {"key": _PURGE_LOCK}
            ):
                return Step(purged=Purged(), behind=None)
            if isinstance(behind, EventPlace):
                return _purge_events(connection, cutoffs, behind)
            return _purge_callbacks(connection, cutoffs, behind)

    def forget_tokens(self, expired_before: int) -> int:
        """See RetentionStore."""
        forgotten = 0
        with translated(), self._engine.begin() as connection:
            account = connection.scalar(_NEXT_OWNER, {"account": ""})
            while account is not None and not forgotten:
                params = {"account": account, "before": expired_before}
                last = connection.scalar(_LAST_OF_STEP, params | {"rows": _ROWS - 1})
                upto = expired_before - 1 if last is None else last
                forgotten = connection.execute(_FORGET_TOKENS, {"account": account, "upto": upto}).rowcount
                account = connection.scalar(_NEXT_OWNER, {"account": account})
        return forgotten

    def close(self) -> None:
        """Let go of the connections."""
        self._engine.dispose()


def _purge_callbacks(connection: Connection, cutoffs: Cutoffs, behind: CallbackPlace) -> Step:
    account = behind.account_id
    bound = callback_id_at(max(cutoffs.delivered_before, cutoffs.dead_before))
    params: dict[str, Any] = {"account": account, "behind": behind.callback_id, "bound": bound}
    end = connection.scalar(_END_OF_STEP, params | {"rows": _ROWS - 1})
    params |= {
        "upto": end or bound,
        "delivered_before": cutoffs.delivered_before,
        "dead_before": cutoffs.dead_before,
    }
    purged = connection.execute(_DELETE, params).rowcount
    if purged:
        connection.execute(_DELETE_ATTEMPTS, params)
    if end is not None:
        return Step(purged=Purged(callbacks=purged), behind=CallbackPlace(account, end))
    after = connection.scalar(_NEXT_ACCOUNT, {"account": account})
    return Step(purged=Purged(callbacks=purged), behind=EventPlace() if after is None else CallbackPlace(after))


def _purge_events(connection: Connection, cutoffs: Cutoffs, behind: EventPlace) -> Step:
    account = connection.scalar(_NEXT_FEED, {"account": behind.account_id})
    if account is None:
        return Step(purged=Purged(), behind=None)
    oldest = connection.scalar(_OLDEST_EVENT, {"account": account})
    if oldest is None:
        return Step(purged=Purged(), behind=EventPlace(account))
    bound = oldest + _ROWS
    kept = connection.scalar(
        _FIRST_EVENT_KEPT, {"account": account, "bound": bound, "events_before": cutoffs.events_before}
    )
    purged = connection.execute(_DELETE_EVENTS, {"account": account, "upto": kept or bound}).rowcount
    # Where all of them were over, the next ones of this account may be too.
    return Step(purged=Purged(events=purged), behind=EventPlace(account) if kept or purged < _ROWS else behind)
