"""Writing to the feed of events: positions in the order of commits.

The head of each account's feed is one row. A transaction takes its positions last of all, and keeps that row locked
until it has committed: whoever sees a position sees all those before it, however many processes write.
"""

from collections import Counter
from collections.abc import Sequence
from typing import Any, Final

from sqlalchemy import Connection, bindparam
from sqlalchemy.dialects import postgresql, sqlite

from handoff.domain.event import Event
from handoff.store.batch import Batch, Row
from handoff.store.tables import event_heads, events


def append_events(connection: Connection, batch: Batch, new: Sequence[Event]) -> None:
    """Give the events, in their order, the next positions of their accounts, and write them.

    To be called last in a transaction: other writers of the same accounts wait until it ends.
    """
    counts = Counter(event.account_id for event in new)
    advance = _ADVANCE[connection.dialect.name]
    # In the order of keys, so that no two transactions can wait for each other.
    heads = {
        account_id: connection.execute(advance, {"account": account_id, "count": counts[account_id]}).scalar_one()
        for account_id in sorted(counts)
    }
    positions = {account_id: head - counts[account_id] for account_id, head in heads.items()}
    rows: list[Row] = []
    for event in new:
        positions[event.account_id] += 1
        rows.append(_row(event, positions[event.account_id]))
    batch.append(connection, events, rows)


def _advance(insert: Any) -> Any:  # noqa: ANN401 (two dialects' Insert)
    statement = insert(event_heads).values(account_id=bindparam("account"), position=bindparam("count"))
    return statement.on_conflict_do_update(
        index_elements=[event_heads.c.account_id],
        set_={"position": event_heads.c.position + statement.excluded.position},
    ).returning(event_heads.c.position)


_ADVANCE: Final = {"sqlite": _advance(sqlite.insert), "postgresql": _advance(postgresql.insert)}


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
