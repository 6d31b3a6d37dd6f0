"""Events on the wire: on pages of JSON, and as Server-Sent Events (WHATWG HTML, 9.2)."""

import json
from collections.abc import Sequence
from typing import Any, Final

from pydantic import BaseModel, Field

from handoff.domain.event import EventKind
from handoff.service.feed import EventPage, StoredEvent

STREAM_TYPE: Final = "text/event-stream"

# So long a client waits before it connects again.
_RETRY_MS: Final = 1_000
_DATA: Final = {
    "sessionId": "6538f8a3c9cf425ee5cfxxxx",
    "state": "agent",
    "agentId": "a-8cd2673-0cb7-462d-9453-0ee60e52xxxx",
    "version": 1,
}
_AT: Final = 1698825180041


class EventItem(BaseModel):
    """One change."""

    id: str = Field(description="Its position in the account's feed; send it as `after` to go on.", examples=["17"])
    type: str = Field(description="What happened; further types may come.", examples=[kind.value for kind in EventKind])
    at: int = Field(description="When, epoch ms. Ids are in order, times need not be.", examples=[_AT])
    data: dict[str, Any] = Field(description="What changed; further members may come.", examples=[_DATA])


class EventResults(BaseModel):
    """A page of events, the oldest first."""

    results: list[EventItem]
    next: str = Field(
        description="Send it as `after` for what follows, at once while it is another than the one sent before: a "
        "page may be short or empty and not the last.",
        examples=["17"],
    )


def page_of(page: EventPage) -> EventResults:
    """The page as it is answered."""
    return EventResults(results=[_item(event) for event in page.events], next=str(page.next))


def _item(event: StoredEvent) -> EventItem:
    return EventItem(id=str(event.position), type=event.kind, at=event.at, data=json.loads(event.body))


def ready_frame(position: int) -> bytes:
    """How a stream begins: with the id that it goes on behind."""
    return b'retry: %d\nid: %d\nevent: ready\ndata: {"id":"%d"}\n\n' % (_RETRY_MS, position, position)


def event_frames(events: Sequence[StoredEvent]) -> bytes:
    """The events; the data of each is its `data` with its `at` put before the other members."""
    return b"".join(
        b'id: %d\nevent: %s\ndata: {"at":%d,%s\n\n' % (event.position, event.kind.encode(), event.at, event.body[1:])
        for event in events
    )


def silence_frame(position: int, told: int) -> bytes:
    """A comment, so that the connection is seen to live; with the id where events went by that are not shown."""
    return b": keep-alive\n\n" if position == told else b": keep-alive\nid: %d\n\n" % position


EXAMPLE: Final = (
    ready_frame(16)
    + event_frames(
        [
            StoredEvent(
                position=17,
                kind=EventKind.SESSION_TRANSFERRED.value,
                at=_AT,
                org_id="",
                stream_id=None,
                agent_id=None,
                previous_agent_id=None,
                body=json.dumps(_DATA, separators=(",", ":")).encode(),
            )
        ]
    )
    + silence_frame(17, 17)
).decode()
