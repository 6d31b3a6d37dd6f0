"""Writing to the feed of events: positions in the order of commits.

The head of each account's feed is one row. A transaction takes its positions last of all, and keeps that row locked
until it has committed: whoever sees a position sees all those before it, however many processes write.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Final

from sqlalchemy import Connection, text

from handoff.domain.event import Event
from handoff.store.batch import Batch, Row
from handoff.store.tables import events


def append_events(connection: Connection, batch: Batch, new: Sequence[Event]) -> None:
    """Give the events, in their order, the next positions of their accounts, and write them.

    To be called last in a transaction: other writers of the same accounts wait until it ends.
    """
    counts = Counter(event.account_id for event in new)
    # In the order of keys, so that no two transactions can wait for each other.
    heads = _ADVANCE[connection.dialect.name](connection, sorted(counts.items()))
    positions = {account_id: head - counts[account_id] for account_id, head in heads.items()}
    rows: list[Row] = []
    for event in new:
        positions[event.account_id] += 1
        rows.append(_row(event, positions[event.account_id]))
    batch.append(connection, events, rows)


def _advance_sqlite(connection: Connection, counts: Sequence[tuple[str, int]]) -> Mapping[str, int]:
    return {
        account_id: connection.execute(_ONE_HEAD, {"account": account_id, "count": count}).scalar_one()
        for account_id, count in counts
    }


def _advance_postgres(connection: Connection, counts: Sequence[tuple[str, int]]) -> Mapping[str, int]:
    """In one round trip, however many accounts there are."""
    accounts, by = zip(*counts, strict=True)
    rows = connection.execute(_ALL_HEADS, {"accounts": list(accounts), "counts": list(by)})
    return {row.account_id: row.position for row in rows}


_ONE_HEAD: Final = text("""
INSERT INTO event_heads (account_id, position) VALUES (:account, :count)
ON CONFLICT (account_id) DO UPDATE SET position = event_heads.position + excluded.position
RETURNING position
""")
# Rows are locked as they are inserted, one after the other.
_ALL_HEADS: Final = text("""
INSERT INTO event_heads (account_id, position)
SELECT k.account_id, k.count
FROM unnest(CAST(:accounts AS text[]), CAST(:counts AS bigint[])) WITH ORDINALITY AS k (account_id, count, place)
ORDER BY k.place
ON CONFLICT (account_id) DO UPDATE SET position = event_heads.position + excluded.position
RETURNING account_id, position
""")
_ADVANCE: Final = {"sqlite": _advance_sqlite, "postgresql": _advance_postgres}


def _row(event: Event, position: int) -> Row:
    return {
        "account_id": event.account_id,
        "position": position,
        "kind": event.kind.value,
        "at": event.at,
        "org_id": event.org_id,
        "stream_id": event.stream_id,
        "agent_id": event.agent_id,
        "previous_agent_id": event.previous_agent_id,
        "body": event.body.decode(),
    }
