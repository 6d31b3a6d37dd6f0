"""What the use cases need from the world, each as the smallest interface that serves.

StoreError
├── StoreUnavailable    the store cannot be reached, is full or read-only
├── Contended           another transaction won; the same work may be tried again at once
└── Unwritable          the store refuses one of the rows
    └── Locked          somebody else keeps one of the rows locked
"""

from collections.abc import Collection, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Protocol

from handoff.domain.event import Event
from handoff.domain.model import (
    Agent,
    AgentKey,
    App,
    Callback,
    KeyUse,
    OpenRequest,
    Queue,
    QueueKey,
    Session,
    SessionKey,
    Stream,
    Transfer,
)
from handoff.domain.retry import Attempt, Verdict

KeyName = tuple[str, str, str]
TransferKey = tuple[str, str]
StreamKey = tuple[str, str]


class StoreError(Exception):
    """The store did not do what it was asked."""


class StoreUnavailable(StoreError):  # noqa: N818 (a state of the world, not a mistake)
    """The store is unavailable: {reason}.

    `is_lost` tells that the connection went away, so that a new one may succeed, and that a commit under way
    may have happened or not.
    """

    def __init__(self, reason: str, *, is_lost: bool = False) -> None:
        super().__init__(reason)
        self.reason = reason
        self.is_lost = is_lost


class Contended(StoreError):  # noqa: N818
    """Another transaction won a deadlock or a serialization conflict."""


class Unwritable(StoreError):  # noqa: N818
    """The store refuses a row of this batch.

    `rule` is the constraint that the row breaks, as the database calls it, where it says so. `is_lost` tells that the
    connection went away in an earlier try, whose commit may have happened or not.
    """

    def __init__(self, reason: str = "the store refuses a row", rule: str | None = None) -> None:
        super().__init__(reason)
        self.rule = rule
        self.is_lost = False


class Locked(Unwritable):
    """Somebody else keeps a row locked for longer than we wait."""


class Clock(Protocol):
    """The wall clock."""

    def now_ms(self) -> int:
        """Epoch milliseconds."""
        ...


class Ids(Protocol):
    """Where fresh ids come from."""

    def fresh(self) -> str:
        """A UUIDv7 as text: unique, and growing with time."""
        ...


class Chance(Protocol):
    """Where jitter comes from."""

    def share(self) -> float:
        """A number in [0, 1)."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class NewSession:
    """A session to insert, with what its opening says of it; `opened_at` is epoch milliseconds."""

    session: Session
    opening: OpenRequest
    opened_at: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Changes:
    """What one batch writes: sessions that are new, new states of sessions and agents, and appended rows."""

    new_sessions: Sequence[NewSession] = field(default=())
    sessions: Sequence[Session] = field(default=())
    agents: Sequence[Agent] = field(default=())
    transfers: Sequence[Transfer] = field(default=())
    callbacks: Sequence[Callback] = field(default=())
    keys: Sequence[KeyUse] = field(default=())
    events: Sequence[Event] = field(default=())


class TransferTransaction(Protocol):
    """One open transaction. Sessions are locked before agents, each in key order, so that no two can deadlock."""

    def wait_briefly(self) -> None:
        """Wait for a locked row a fifth of a second only, in this transaction."""
        ...

    def sessions(self, wanted: Collection[SessionKey]) -> Mapping[SessionKey, Session]:
        """The sessions that exist, locked until the end of the transaction."""
        ...

    def agents(self, wanted: Collection[AgentKey]) -> Mapping[AgentKey, Agent]:
        """The agents that exist, locked until the end of the transaction."""
        ...

    def queues(self, wanted: Collection[QueueKey]) -> Mapping[QueueKey, Queue]:
        """The queues that exist."""
        ...

    def keys(self, wanted: Collection[KeyName]) -> Mapping[KeyName, KeyUse]:
        """The Idempotency-Keys that were used before."""
        ...

    def transfers(self, wanted: Collection[TransferKey]) -> Mapping[TransferKey, Transfer]:
        """The recorded transfers."""
        ...

    def write(self, changes: Changes) -> None:
        """Write everything the batch decided."""
        ...


class TransferStore(Protocol):
    """Where transfers are recorded. Synchronous: it is used from the committer's one thread."""

    def abort(self) -> None:
        """Make the open transaction fail soon: it has taken too long. Called from any thread."""
        ...

    def begin(self) -> AbstractContextManager[TransferTransaction]:
        """A transaction that commits when its block ends well and leaves nothing otherwise.

        Raises StoreUnavailable, Contended or Unwritable, also from the commit itself.
        """
        ...

    def close(self) -> None:
        """Let go of the connection."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class ClaimedCallback:
    """A message that this dispatcher may post until its lease runs out.

    `number` is that of the attempt to make, from 1; `claim` counts the leases, lost ones too. `is_retry` is also
    true of one that is sent anew. `lease_token` fences the record of a failure.
    """

    account_id: str
    callback_id: str
    transfer_id: str
    app_id: str
    url: str
    lane: str
    body: bytes
    number: int
    is_retry: bool
    claim: int
    expires_at: int
    lease_token: str


@dataclass(frozen=True, slots=True, kw_only=True)
class DueLane:
    """An origin with messages that are due: first attempts, retries, or both."""

    name: str
    has_fresh: bool
    has_retries: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class LaneShare:
    """How many messages of a lane to claim at the most."""

    fresh: int
    retries: int


class ClaimPlan(Protocol):
    """How a dispatcher wants its free slots used. Asked once in a claim, from the store's thread."""

    def shares(self, due: Sequence[DueLane]) -> Mapping[str, LaneShare]:
        """What to claim of each lane; of one that is left out, nothing."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """What was leased, and when the next pending message is due (epoch milliseconds; None: none is known).

    `expired` is how many were buried in passing.
    """

    callbacks: Sequence[ClaimedCallback]
    next_due_at: int | None
    expired: int = 0


@dataclass(frozen=True, slots=True)
class Reclaimed:
    """How many leases had run out, and how many of their messages were buried as poisonous."""

    lapsed: int
    poisonous: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptResult:
    """An attempt, the message it was made for, and what follows."""

    claimed: ClaimedCallback
    attempt: Attempt
    verdict: Verdict


class Outbox(Protocol):
    """The durable queue of callbacks. Synchronous: used from the dispatcher's thread."""

    def claim(self, plan: ClaimPlan, *, now_ms: int, lease_ms: int, lease_token: str) -> Claim:
        """Lease what the plan wants of the lanes that have something due, of each the oldest due first."""
        ...

    def record(self, results: Sequence[AttemptResult], *, now_ms: int) -> None:
        """Write the attempts and what follows from them.

        A success is a fact and is written whoever holds the lease; a failure only by its own lease.
        """
        ...

    def release(self, claimed: Sequence[ClaimedCallback]) -> None:
        """Give messages back whose attempt was broken off here, not by their receiver: due at once, nothing counted."""
        ...

    def reclaim(self, *, now_ms: int) -> Reclaimed:
        """Return messages whose lease ran out to pending, and bury the poisonous."""
        ...

    def close(self) -> None:
        """Let go of the connection."""
        ...


class Sender(Protocol):
    """Makes one attempt. Never raises for what a receiver or the network does."""

    async def send(self, claimed: ClaimedCallback) -> Attempt:
        """Post the message once."""
        ...


class DirectoryStore(Protocol):
    """Apps and streams, read outside any transfer's transaction. Synchronous."""

    def find_apps(self, app_ids: Collection[str]) -> Mapping[str, App | StoreError]:
        """The apps with these ids, of whatever account; for one whose secrets no key opens, the error."""
        ...

    def find_streams(self, keys: Collection[StreamKey]) -> Mapping[StreamKey, Stream]:
        """Of these streams, each named with its account, those that are there."""
        ...

    def check_ready(self) -> None:
        """Raise StoreUnavailable unless the store answers and has the revision that this code needs."""
        ...
