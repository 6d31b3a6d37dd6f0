"""What a history is made of: calls with their times and answers, what the store keeps, and the callbacks that came."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import inf
from typing import TypeAlias

# All that makes two calls under one Idempotency-Key the same request.
Fingerprint: TypeAlias = tuple[str, str, str, str | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One HTTP request of assign-conversation. Its `request_id` (X-Request-Id) is no other's: a repeat has its own.

    The calls of a history name agents and no queues, have no fallback and are no dry runs; nobody releases or closes a
    session. An Idempotency-Key is of one session.
    """

    caller: str
    session: str
    agent: str
    callback_url: str
    request_id: str
    key: str | None = None
    expected: str | None = None

    @property
    def fingerprint(self) -> Fingerprint:
        return (self.session, self.agent, self.callback_url, self.expected)


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What came back; `code` is None of a 200, `transfer_id` None where nothing was recorded."""

    status: int
    code: str | None
    body: bytes
    transfer_id: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """A call, when it was begun and answered (monotonic seconds), and its answer.

    Without an answer its outcome is unknown: the connection died, it took too long, or it was answered 503. Such a call
    may take effect at any time after its start, or never.
    """

    call: Call
    started: float
    ended: float = inf
    answer: Answer | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Recorded:
    """A stored transfer; `code` is None of one that was won, `holder` whom a refusal's body names."""

    transfer_id: str
    session: str
    agent: str
    request_id: str
    callback_url: str
    status: int
    code: str | None
    version: int | None
    holder: str | None
    body: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """The store in the end: who has each session (None: the bot) at which version, transfers, and agents' loads."""

    sessions: Mapping[str, tuple[str | None, int]]
    transfers: Sequence[Recorded]
    loads: Mapping[str, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Heard:
    """One callback as it was received at `url`."""

    webhook_id: str
    url: str
    body: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """How the service was set up: the agents with their slots, and HANDOFF_REASSIGN.

    Whether an agent had a free slot at a moment, other sessions decide: such a refusal is taken wherever it may come.
    With `has_room` agents are available and have slots for all sessions, and there is none.
    """

    slots: Mapping[str, int]
    is_reassign_always: bool = False
    has_room: bool = True
