"""The invariants as queries over the stored rows."""

from collections.abc import Iterator, Sequence
from typing import Final

from sqlalchemy import Connection, Engine, select, text

from handoff.service.audit import Violation
from handoff.store.errors import translated
from handoff.store.sealing import SETTING, Seals, is_sealed
from handoff.store.tables import apps

# Each query names the rows that break the invariant: account, id, and what is wrong.
_CHECKS: Final = (
    (
        "I1",
        """SELECT s.account_id, s.session_id, 'is with ' || s.state || ' ' || s.holder_id || ', which does not exist'
        FROM sessions s
        LEFT JOIN agents a ON s.state = 'agent' AND a.account_id = s.account_id AND a.agent_id = s.holder_id
        LEFT JOIN queues q ON s.state = 'queue' AND q.account_id = s.account_id AND q.queue_id = s.holder_id
        WHERE s.state IN ('agent', 'queue') AND a.agent_id IS NULL AND q.queue_id IS NULL""",
    ),
    (
        "I2",
        """SELECT a.account_id, a.agent_id,
            'counts ' || a.active_sessions || ' sessions and holds ' || coalesce(h.held, 0)
        FROM agents a
        LEFT JOIN (SELECT account_id, holder_id, count(*) AS held FROM sessions WHERE state = 'agent'
            GROUP BY account_id, holder_id) h ON h.account_id = a.account_id AND h.holder_id = a.agent_id
        WHERE a.active_sessions <> coalesce(h.held, 0)""",
    ),
    (
        "I3",
        """SELECT s.account_id, s.session_id, 'is with ' || s.state || ' ' || s.holder_id || ' by no recorded transfer'
        FROM sessions s
        LEFT JOIN transfers t ON t.account_id = s.account_id AND t.transfer_id = s.transfer_id AND t.status = 200
            AND t.session_id = s.session_id AND t.target_kind = s.state AND t.target_id = s.holder_id
            AND t.version = s.version
        WHERE s.state IN ('agent', 'queue') AND t.transfer_id IS NULL""",
    ),
    (
        "I4",
        """SELECT t.account_id, t.transfer_id, 'has no callback'
        FROM transfers t
        LEFT JOIN callbacks c ON c.account_id = t.account_id AND c.callback_id = 'msg_' || substr(t.transfer_id, 4)
        WHERE c.callback_id IS NULL AND t.target_kind IN ('agent', 'queue') AND t.completed_at >= :kept_since""",
    ),
    (
        "I5",
        """SELECT c.account_id, c.callback_id, 'tells of a transfer that is not recorded'
        FROM callbacks c
        LEFT JOIN transfers t ON t.account_id = c.account_id AND t.transfer_id = c.transfer_id
        WHERE t.transfer_id IS NULL""",
    ),
    (
        "I5",
        """SELECT c.account_id, c.callback_id, 'is ' || c.state || ' without a cause'
        FROM callbacks c
        WHERE (c.state = 'dead' AND c.dead_reason IS NULL)
            OR (c.state = 'sending' AND (c.lease_token IS NULL OR c.lease_until IS NULL))
            OR (c.state = 'delivered' AND NOT EXISTS (SELECT 1 FROM callback_attempts a
                WHERE a.account_id = c.account_id AND a.callback_id = c.callback_id
                    AND a.status BETWEEN 200 AND 299))""",
    ),
    (
        "I6",
        """SELECT s.account_id, s.session_id, 'is at version ' || s.version || ' after ' || coalesce(t.won, 0)
            || ' changes up to version ' || coalesce(t.newest, 0)
        FROM sessions s
        LEFT JOIN (SELECT account_id, session_id, count(DISTINCT version) AS won, max(version) AS newest FROM transfers
            WHERE status = 200 GROUP BY account_id, session_id) t
            ON t.account_id = s.account_id AND t.session_id = s.session_id
        WHERE s.version <> coalesce(t.won, 0) OR s.version <> coalesce(t.newest, 0)""",
    ),
    (
        "feed",
        """SELECT e.account_id, e.oldest, 'keeps ' || e.kept || ' events from ' || e.oldest || ' to ' || e.newest
            || ' while the feed stands at ' || coalesce(h.position, 0)
        FROM (SELECT account_id, count(*) AS kept, min(position) AS oldest, max(position) AS newest FROM events
            GROUP BY account_id) e
        LEFT JOIN event_heads h ON h.account_id = e.account_id
        WHERE e.newest <> coalesce(h.position, 0) OR e.newest - e.oldest + 1 <> e.kept OR e.oldest < 1""",
    ),
)

_REPAIR: Final = """UPDATE agents SET active_sessions = counted.held
    FROM (SELECT a.account_id, a.agent_id, coalesce(h.held, 0) AS held FROM agents a
        LEFT JOIN (SELECT account_id, holder_id, count(*) AS held FROM sessions WHERE state = 'agent'
            GROUP BY account_id, holder_id) h ON h.account_id = a.account_id AND h.holder_id = a.agent_id) counted
    WHERE counted.account_id = agents.account_id AND counted.agent_id = agents.agent_id
        AND agents.active_sessions <> counted.held"""


class SqlAudit:
    """See `handoff.service.audit.Audit`. Callbacks of transfers before `kept_since` (epoch ms) may have been purged."""

    def __init__(self, reader: Engine, writer: Engine, *, kept_since: int, seals: Seals | None = None) -> None:
        self._reader = reader
        self._writer = writer
        self._seals = seals or Seals()
        self._kept_since = kept_since

    def violations(self) -> Sequence[Violation]:
        """Every violation there is, as of one moment, while the service goes on."""
        with translated(), self._reader.connect() as connection:
            if connection.dialect.name == "postgresql":
                connection.execution_options(isolation_level="REPEATABLE READ")
            with connection.begin():
                broken = [
                    Violation(invariant, f"{account_id}/{row_id}", detail)
                    for invariant, query in _CHECKS
                    for account_id, row_id, detail in connection.execute(text(query), {"kept_since": self._kept_since})
                ]
                return [*broken, *self._secrets(connection)]

    def _secrets(self, connection: Connection) -> Iterator[Violation]:
        """Secrets that the service cannot use, and those that are in clear although there is a key."""
        for row in connection.execute(select(apps.c.account_id, apps.c.app_id, apps.c.secrets)):
            subject = f"{row.account_id}/{row.app_id}"
            if any(self._seals.peek(row.account_id, row.app_id, stored) is None for stored in row.secrets):
                yield Violation("secrets", subject, f"has a secret that none of {SETTING} opens")
            elif self._seals.are_set and not all(is_sealed(stored) for stored in row.secrets):
                yield Violation("secrets", subject, "has a secret in clear: run `handoff apps seal`")

    def repair_counters(self) -> int:
        """Set every agent's `active_sessions` to the sessions it holds, transfers held off; how many were wrong."""
        with translated(), self._writer.begin() as connection:
            _hold_off_transfers(connection)
            return connection.execute(text(_REPAIR)).rowcount

    def close(self) -> None:
        """Let go of the connections."""
        self._reader.dispose()
        self._writer.dispose()


def _hold_off_transfers(connection: Connection) -> None:
    if connection.dialect.name == "postgresql":  # SQLite's transaction began with the write lock
        connection.execute(text("LOCK TABLE sessions, agents IN EXCLUSIVE MODE"))
