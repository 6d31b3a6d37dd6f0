"""Writing to the feed of events: positions in the order of commits.

The head of each account's feed is one row. A transaction takes its positions last of all, and keeps that row locked
until it has committed: whoever sees a position sees all those before it, however many processes write.
"""

from collections.abc import Sequence

from handoff.domain.event import Event
from handoff.store.batch import Count, Row
from handoff.store.tables import event_heads, events


def to_feed(new: Sequence[Event]) -> Count:
    """The events, in their order, as what is to be written last in a transaction."""
    return Count(events, event_heads, [_row(event) for event in new])


def _row(event: Event) -> Row:
    return {
        "account_id": event.account_id,
        "kind": event.kind.value,
        "at": event.at,
        "org_id": event.org_id,
        "stream_id": event.stream_id,
        "agent_id": event.agent_id,
        "previous_agent_id": event.previous_agent_id,
        "body": event.body.decode(),
    }
