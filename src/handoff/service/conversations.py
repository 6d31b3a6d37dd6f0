"""Sessions as conversations: which there are, who has each of them, and who had it before.

NotFound
├── ConversationNotFound    by the conversation's id
└── SessionNotFound         by the bot session's id
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from handoff.domain.conversation import Step
from handoff.domain.ids import is_id, is_row_id
from handoff.domain.model import Session, SessionState, Stream, Target
from handoff.service.scope import Scope


class NotFound(Exception):  # noqa: N818 (a refusal)
    """There is no such row, or it is another's: one answer."""

    def __init__(self, sentence: str) -> None:
        super().__init__(sentence)
        self.sentence = sentence


class ConversationNotFound(NotFound):
    """There is no such conversation."""


class SessionNotFound(NotFound):
    """There is no such session."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ConversationFilter:
    """Which conversations: in one of these states, of this source and language, with this agent or queue, opened then.

    `since` is in epoch milliseconds. None: any.
    """

    states: frozenset[SessionState] | None = None
    source: str | None = None
    language: str | None = None
    holder: Target | None = None
    since: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredConversation:
    """A session, what was said of it when it was opened at `opened_at` (epoch ms; 0: not known), and its steps.

    The steps are its won transfers, the first one first; of a session with very many attempts, the newest of them.
    """

    session: Session
    source: str | None
    language: str | None
    profile: Mapping[str, Any]
    opened_at: int
    steps: Sequence[Step] = field(default=())


@dataclass(frozen=True, slots=True, kw_only=True)
class ConversationPage:
    """Conversations, the newest first. `next_before` is where the next page begins; None: this was the last.

    A page may be short, or empty, and not the last: a search stops after so many rows. `left_to_skip` is how many of
    those that were to be skipped it had not come to by then.
    """

    conversations: Sequence[StoredConversation]
    next_before: str | None
    left_to_skip: int = 0


class ConversationStore(Protocol):
    """Where conversations are looked up, each answer as of one moment. Synchronous, from any thread."""

    def accounts(self) -> Sequence[str]:
        """Every account that has sessions."""
        ...

    def streams(self, stream_id: str) -> Sequence[Stream]:
        """The streams of this id, of whatever accounts."""
        ...

    def find(
        self, scope: Scope, wanted: ConversationFilter, *, before: str | None, limit: int, skip: int = 0
    ) -> ConversationPage:
        """A page of conversations whose ids come before `before`; the first `skip` of them are left out."""
        ...

    def get(self, scope: Scope, conversation_id: str) -> StoredConversation | None:
        """The conversation, if it is there and in scope."""
        ...

    def of_session(self, scope: Scope, session_id: str) -> StoredConversation | None:
        """The same by the bot session's id."""
        ...

    def close(self) -> None:
        """Let go of the connections."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Conversations:
    """The use cases."""

    store: ConversationStore

    def get(self, scope: Scope, conversation_id: str) -> StoredConversation:
        """The conversation. Raises ConversationNotFound and StoreError."""
        found = self.store.get(scope, conversation_id) if is_row_id(conversation_id) else None
        if found is None:
            raise ConversationNotFound(f"There is no conversation {conversation_id}.")
        return found

    def of_session(self, scope: Scope, session_id: str) -> StoredConversation:
        """The same by the bot session's id. Raises SessionNotFound and StoreError."""
        found = self.store.of_session(scope, session_id) if is_id(session_id) else None
        if found is None:
            raise SessionNotFound(f"There is no session {session_id}.")
        return found
