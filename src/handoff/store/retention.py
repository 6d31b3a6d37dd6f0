"""Purging callbacks whose time is over: in small steps by primary key, which grows with time, so no index is needed."""

from typing import Any, Final

from sqlalchemy import Engine, text

from handoff.domain.ids import callback_id_at
from handoff.service.retention import Cutoffs, Place, Step
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
        bound = callback_id_at(max(cutoffs.delivered_before, cutoffs.dead_before))
        with translated(), self._engine.begin() as connection:
            if connection.dialect.name == "postgresql" and not connection.scalar(
                text("SELECT pg_try_advisory_xact_lock(:key)"), {"key": _PURGE_LOCK}
            ):
                return Step(purged=0, behind=None)
            account = behind.account_id
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
                return Step(purged=purged, behind=Place(account, end))
            after = connection.scalar(_NEXT_ACCOUNT, {"account": account})
        return Step(purged=purged, behind=None if after is None else Place(after))

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
