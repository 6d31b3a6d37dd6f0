"""The feed of events as those who follow it see it.

FeedRefusal
├── EventsGone         what follows this position is no longer kept
├── UnknownPosition    the feed has not come so far
└── TooManyStreams     this process serves no further stream
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

# Where to begin: behind this position, with the oldest event that is kept, or with the next one that happens.
After = int | Literal["oldest", "latest"]


class FeedRefusal(Exception):  # noqa: N818 (a refusal)
    """What was asked of the feed cannot be done. The message is a sentence."""


class EventsGone(FeedRefusal):
    """The events that follow {after} are kept from {oldest} on only."""

    def __init__(self, after: int, oldest: int) -> None:
        super().__init__(
            f"The events that follow {after} are kept from {oldest} on only: "
            "read the state anew, then go on with after=latest."
        )
        self.after = after
        self.oldest = oldest


class UnknownPosition(FeedRefusal):
    """The feed has not come to {after}."""

    def __init__(self, after: int) -> None:
        super().__init__(f"The feed has not come to {after}: send an id as it came.")
        self.after = after


class TooManyStreams(FeedRefusal):
    """The stream is not taken up: {reason}."""

    def __init__(self, reason: str) -> None:
        super().__init__(f"Connect again later: {reason}.")
        self.reason = reason


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredEvent:
    """An event at its position in its account's feed; see `handoff.domain.event.Event`."""

    position: int
    kind: str
    at: int
    org_id: str
    stream_id: str | None
    agent_id: str | None
    previous_agent_id: str | None
    body: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """What a caller sees: the events of its stream's sessions and of its org's agents.

    With `agent_id`, of those only the ones that concern this agent, who has the session or had it before.
    """

    account_id: str
    stream_id: str
    org_id: str
    agent_id: str | None = None

    def shows(self, event: StoredEvent) -> bool:
        """Whether the caller sees this event of its account."""
        is_here = event.org_id == self.org_id if event.stream_id is None else event.stream_id == self.stream_id
        return is_here and (self.agent_id is None or self.agent_id in {event.agent_id, event.previous_agent_id})


@dataclass(frozen=True, slots=True, kw_only=True)
class EventPage:
    """Events in the order of positions, and the position to go on behind.

    Whatever lies up to `next` and is not here, the view does not show. A page may be short, or empty, and not the
    last: a search stops after so many rows. Where `next` is the position that was asked with, nothing follows yet.
    """

    events: Sequence[StoredEvent]
    next: int


class FeedStore(Protocol):
    """Where events are read. Synchronous, from any thread."""

    def locate(self, account_id: str, after: After) -> int:
        """The position that this names. Raises EventsGone and UnknownPosition."""
        ...

    def page(self, view: View, *, after: After, limit: int) -> EventPage:
        """The events behind that, of one moment. Raises EventsGone and UnknownPosition."""
        ...

    def heads(self, account_ids: Collection[str]) -> Mapping[str, int]:
        """The last positions of those accounts that have any."""
        ...

    def between(self, account_id: str, after: int, upto: int) -> Sequence[StoredEvent]:
        """Every event behind the one position, up to the other, that is still kept."""
        ...

    def close(self) -> None:
        """Let go of the connections."""
        ...
