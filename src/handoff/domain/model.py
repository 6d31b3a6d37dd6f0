"""The facts that a transfer is decided on. All are frozen: a change makes a new one.

Times are epoch milliseconds. Ids are opaque text (`handoff.domain.ids`).
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final, Literal

from handoff.domain.fact import fact

# Who asks, where it is the operator at the command line: no id of an app can be this.
OPERATOR: Final = "(operator)"

SessionKey = tuple[str, str]
AgentKey = tuple[str, str]
QueueKey = tuple[str, str]


class TargetKind(StrEnum):
    """Where a conversation can go. The words are those of the state it is in then (SessionState)."""

    AGENT = "agent"
    QUEUE = "queue"
    BOT = "bot"
    CLOSED = "closed"


class SessionState(StrEnum):
    """Who has a session: the bot, a queue, an agent, or nobody any more."""

    BOT = "bot"
    QUEUE = "queue"
    AGENT = "agent"
    CLOSED = "closed"


class AgentStatus(StrEnum):
    """The four status types of the API family; only AVAILABLE receives conversations."""

    AVAILABLE = "AVAILABLE"
    AWAY = "AWAY"
    BUSY = "BUSY"
    OFFLINE = "OFFLINE"


@dataclass(frozen=True, slots=True)
class Target:
    """The agent or queue that a request names; the bot and the end have the empty id."""

    kind: TargetKind
    id: str


@dataclass(frozen=True, slots=True)
class PassedOver:
    """A target that was named first and could not be taken, with the code of the refusal."""

    target: Target
    code: str


@fact
class AssignRequest:
    """One validated call of assign-conversation.

    `stream_org_id` is the org of the stream in the path, as the directory has it.
    `expected_agent_id` makes the call a compare-and-set on the present holder. `fallback` are the targets to try in
    order where `target` is unavailable or full. A dry run is decided like any other call and leaves nothing.
    """

    account_id: str
    app_id: str
    stream_id: str
    stream_org_id: str
    org_id: str
    session_id: str
    target: Target
    callback_url: str
    expected_agent_id: str | None = None
    fallback: tuple[Target, ...] = ()
    is_dry_run: bool = False
    idempotency_key: str | None = None
    request_id: str

    @property
    def targets(self) -> tuple[Target, ...]:
        """Everyone who is named, in the order in which they are tried."""
        return (self.target, *self.fallback)

    def fingerprint(self) -> str:
        """Digest of everything that makes two calls under one Idempotency-Key the same request."""
        parts = (
            self.stream_id,
            self.org_id,
            self.session_id,
            self.target.kind,
            self.target.id,
            self.callback_url,
            self.expected_agent_id,
            *((target.kind, target.id) for target in self.fallback),
        )
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


@fact
class OpenRequest:
    """One call that opens a session: it is with the bot then. `profile` is a JSON object of the caller's, or None."""

    account_id: str
    app_id: str
    stream_id: str
    org_id: str
    session_id: str
    source: str | None = None
    language: str | None = None
    profile: Mapping[str, Any] | None = None
    request_id: str


@fact
class MoveRequest:
    """One call that gives a session back to the bot (`kind` BOT) or ends it (CLOSED).

    With `expected_agent_id` only if this agent has it now.
    """

    account_id: str
    app_id: str
    stream_id: str
    session_id: str
    kind: Literal[TargetKind.BOT, TargetKind.CLOSED]
    expected_agent_id: str | None = None
    request_id: str


@fact
class Session:
    """A bot session. `version` grows by one per change of holder or state.

    `transfer_id` names the transfer by which its present agent or queue got it, or by which it was closed, else None.
    """

    account_id: str
    session_id: str
    conversation_id: str
    stream_id: str
    org_id: str
    state: SessionState
    holder_id: str | None
    version: int
    transfer_id: str | None

    def is_with(self, target: Target) -> bool:
        """Whether this very agent or queue has the session now."""
        return self.state == target.kind.value and self.holder_id == target.id


@fact
class Agent:
    """An agent, with its load: `active_sessions` held out of `max_sessions` slots.

    `status_expires_at` is when the status lapses to OFFLINE (None: never).
    """

    account_id: str
    agent_id: str
    org_id: str
    status: AgentStatus
    status_expires_at: int | None
    max_sessions: int
    active_sessions: int

    def with_load(self, active_sessions: int) -> "Agent":
        """The agent holding so many sessions."""
        # In full, since it is done for every call: `dataclasses.replace` takes three times as long.
        return Agent(
            account_id=self.account_id,
            agent_id=self.agent_id,
            org_id=self.org_id,
            status=self.status,
            status_expires_at=self.status_expires_at,
            max_sessions=self.max_sessions,
            active_sessions=active_sessions,
        )


@fact
class Queue:
    """A queue of an org. It has no capacity of its own."""

    account_id: str
    queue_id: str
    org_id: str


@fact
class Transfer:
    """One recorded outcome, won or refused: the row that is appended and never changed.

    `status` and `body` are the HTTP answer, byte for byte. `code` is None for a won transfer. A release is a transfer
    to the bot, a close one to nobody (`target`); both have no callback and the empty `callback_url`. `passed_over`
    are the targets that were named before the one that was taken; of a refusal, those named after `target`.
    `version` is the session's version after a won transfer, or the one a refusal names.
    `previous_state` and `previous_holder_id` tell who had the session before (None: no such session).
    """

    account_id: str
    transfer_id: str
    app_id: str
    stream_id: str
    org_id: str
    session_id: str
    target: Target
    expected_agent_id: str | None
    previous_state: SessionState | None
    previous_holder_id: str | None
    status: int
    code: str | None
    version: int | None
    completed_at: int
    callback_url: str
    request_id: str
    body: bytes
    passed_over: tuple[PassedOver, ...] = ()

    @property
    def previous_agent_id(self) -> str | None:
        """The agent whom the session was taken from, if one had it."""
        return self.previous_holder_id if self.previous_state is SessionState.AGENT else None


@fact
class KeyUse:
    """An app's Idempotency-Key, the digest of the request it came with, and the transfer that answered it."""

    account_id: str
    app_id: str
    key: str
    fingerprint: str
    transfer_id: str
    created_at: int


@fact
class Callback:
    """One message of the outbox as it is first written: posted to `url` from `due_at` on.

    `lane` is the origin of `url`. `body` is the exact bytes of every attempt.
    """

    account_id: str
    callback_id: str
    transfer_id: str
    app_id: str
    url: str
    lane: str
    body: bytes
    due_at: int
    expires_at: int


@fact
class App:
    """A caller's credentials and what they open.

    `secrets` are the live HMAC keys, newest first; `public_keys` PEM texts for RS256, ES256 and EdDSA.
    `streams` is None where the app may use every stream of its account.
    """

    account_id: str
    app_id: str
    name: str
    secrets: tuple[str, ...]
    public_keys: tuple[str, ...]
    algorithms: tuple[str, ...]
    scopes: frozenset[str]
    streams: frozenset[str] | None
    require_exp: bool
    require_jti: bool
    is_enabled: bool


@fact
class Stream:
    """A bot instance and the org it belongs to."""

    account_id: str
    stream_id: str
    org_id: str
    name: str
