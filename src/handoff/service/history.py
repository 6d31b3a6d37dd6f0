"""Every recorded attempt to move a session, won or refused: who asked, from whom to whom, and what came of it.

NotFound
└── TransferNotFound    by the transfer's id
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from handoff.domain.ids import is_id, is_row_id
from handoff.domain.model import TargetKind, Transfer
from handoff.service.conversations import NotFound, SessionNotFound
from handoff.service.scope import Scope


class TransferNotFound(NotFound):
    """There is no such transfer."""


class Outcome(StrEnum):
    """What came of an attempt."""

    TRANSFERRED = "transferred"
    RELEASED = "released"
    CLOSED = "closed"
    REFUSED = "refused"


_OUTCOME_OF = {
    TargetKind.AGENT: Outcome.TRANSFERRED,
    TargetKind.QUEUE: Outcome.TRANSFERRED,
    TargetKind.BOT: Outcome.RELEASED,
    TargetKind.CLOSED: Outcome.CLOSED,
}


def outcome_of(transfer: Transfer) -> Outcome:
    """What came of it."""
    return Outcome.REFUSED if transfer.code else _OUTCOME_OF[transfer.target.kind]


@dataclass(frozen=True, slots=True, kw_only=True)
class TransferFilter:
    """Which transfers: of this session, to or from this agent, with this outcome or code, recorded at or after `since`.

    `since` is in epoch milliseconds. None: any.
    """

    session_id: str | None = None
    agent_id: str | None = None
    outcome: Outcome | None = None
    code: str | None = None
    since: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class TransferPage:
    """Transfers in the order of their ids, and the id behind which the next page begins (None: this was the last).

    A page may be short, or empty, and not the last: a search stops after so many rows.
    """

    transfers: Sequence[Transfer]
    next_from: str | None


class HistoryStore(Protocol):
    """Where recorded transfers are looked up, each answer as of one moment. Synchronous, from any thread."""

    def accounts(self) -> Sequence[str]:
        """Every account that has transfers."""
        ...

    def find(self, scope: Scope, wanted: TransferFilter, *, before: str | None, limit: int) -> TransferPage:
        """A page of transfers whose ids come before `before`, the newest first."""
        ...

    def get(self, scope: Scope, transfer_id: str) -> Transfer | None:
        """The transfer, if it is there and in scope."""
        ...

    def of_session(self, scope: Scope, session_id: str, *, after: str | None, limit: int) -> TransferPage | None:
        """A page of the session's transfers whose ids come after `after`, the oldest first; None: no such session."""
        ...

    def close(self) -> None:
        """Let go of the connections."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class History:
    """The use cases."""

    store: HistoryStore

    def get(self, scope: Scope, transfer_id: str) -> Transfer:
        """The transfer. Raises TransferNotFound and StoreError."""
        found = self.store.get(scope, transfer_id) if is_row_id(transfer_id) else None
        if found is None:
            raise TransferNotFound(f"There is no transfer {transfer_id}.")
        return found

    def of_session(self, scope: Scope, session_id: str, *, after: str | None, limit: int) -> TransferPage:
        """A page of what was tried with a session, the oldest first. Raises SessionNotFound and StoreError."""
        page = self.store.of_session(scope, session_id, after=after, limit=limit) if is_id(session_id) else None
        if page is None:
            raise SessionNotFound(f"There is no session {session_id}.")
        return page
