"""Sessions read as conversations, with the steps that made them what they are."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any, Final

from sqlalchemy import ColumnElement, Connection, Engine, Select, TextClause, bindparam, select, text
from sqlalchemy.engine import RowMapping

from handoff.domain.conversation import Step
from handoff.domain.ids import conversation_id_at
from handoff.domain.model import SessionState, Stream, Target, TargetKind
from handoff.service.conversations import ConversationFilter, ConversationPage, StoredConversation
from handoff.service.scope import Scope
from handoff.store.accounts import accounts_of
from handoff.store.engine import snapshot
from handoff.store.pages import MOST_SCANNED, Search
from handoff.store.rows import session_of
from handoff.store.tables import sessions, streams

# Attempts of one session that are looked through for its steps, the newest ones.
_MOST_ATTEMPTS: Final = 10_000
_ACCOUNTS: Final = accounts_of(sessions)
_STREAM_ACCOUNTS: Final = accounts_of(streams)

# An id of ours is less than this.
_BEHIND_ALL: Final = "d"
# A session's id is made before its opening is committed: by no more than a batch and its retries may take.
_OPENING_MS: Final = 60_000

# The floors keep a session with a million attempts from being read whole. They are worked out first and once each,
# which is what MATERIALIZED and CROSS JOIN tell the one and the other planner.
_STEPS: Final = """
WITH floors AS MATERIALIZED (
    SELECT s.session_id, coalesce((SELECT f.transfer_id FROM transfers f
        WHERE f.account_id = s.account_id AND f.session_id = s.session_id
        ORDER BY f.transfer_id DESC LIMIT 1 OFFSET :behind), '') AS floor
    FROM sessions s WHERE s.account_id = :account AND s.session_id IN :sessions
)
SELECT t.session_id, t.transfer_id, t.completed_at, t.previous_state, t.previous_holder_id, t.target_kind, t.target_id,
    a.user_id, a.first_name, a.last_name, a.email_id, q.name AS queue_name
FROM floors CROSS JOIN transfers t {index}
LEFT JOIN agents a ON t.target_kind = 'agent' AND a.account_id = t.account_id AND a.agent_id = t.target_id
LEFT JOIN queues q ON t.target_kind = 'queue' AND q.account_id = t.account_id AND q.queue_id = t.target_id
WHERE t.account_id = :account AND t.session_id = floors.session_id AND t.transfer_id >= floors.floor AND t.status = 200
ORDER BY t.session_id, t.version
"""


class SqlConversations:
    """See `handoff.service.conversations.ConversationStore`. A search looks at `most_scanned` rows for a page."""

    def __init__(
        self, reader: Engine, *, most_scanned: int = MOST_SCANNED, most_attempts: int = _MOST_ATTEMPTS
    ) -> None:
        self._reader = reader
        self._most_scanned = most_scanned
        self._most_attempts = most_attempts

    def accounts(self) -> Sequence[str]:
        """Every account that has sessions."""
        with snapshot(self._reader) as connection:
            return list(connection.execute(_ACCOUNTS).scalars())

    def streams(self, stream_id: str) -> Sequence[Stream]:
        """The streams of this id, of whatever accounts."""
        with snapshot(self._reader) as connection:
            accounts = list(connection.execute(_STREAM_ACCOUNTS).scalars())
            those = streams.c.account_id.in_(accounts) & (streams.c.stream_id == stream_id)
            return [Stream(**row) for row in connection.execute(select(streams).where(those)).mappings()]

    def find(
        self, scope: Scope, wanted: ConversationFilter, *, before: str | None, limit: int, skip: int = 0
    ) -> ConversationPage:
        """A page of conversations, the newest first; a search goes no further than a bounded number of rows."""
        if wanted.states is not None and not wanted.states:
            return ConversationPage(conversations=(), next_before=None)
        search = Search(
            rows=sessions,
            key=sessions.c.conversation_id,
            within=_within(scope, wanted, before),
            wanted=_wanted(scope, wanted),
            behind_all=_BEHIND_ALL,
            most_scanned=self._most_scanned,
        )
        with snapshot(self._reader) as connection:
            page = search.page(connection, limit=limit, skip=skip)
            found = self._with_steps(connection, scope, page.rows)
        return ConversationPage(conversations=found, next_before=page.next_from, left_to_skip=page.left_to_skip)

    def get(self, scope: Scope, conversation_id: str) -> StoredConversation | None:
        """The conversation, if it is there and in scope."""
        return self._one(scope, select(sessions).where(sessions.c.conversation_id == conversation_id))

    def of_session(self, scope: Scope, session_id: str) -> StoredConversation | None:
        """The same by the bot session's id."""
        return self._one(scope, select(sessions).where(sessions.c.session_id == session_id))

    def close(self) -> None:
        """Let go of the connections."""
        self._reader.dispose()

    def _one(self, scope: Scope, wanted: Select[Any]) -> StoredConversation | None:
        wanted = wanted.where(sessions.c.account_id == scope.account_id)
        if scope.stream_id is not None:
            wanted = wanted.where(sessions.c.stream_id == scope.stream_id)
        with snapshot(self._reader) as connection:
            rows = connection.execute(wanted).mappings().all()
            return next(iter(self._with_steps(connection, scope, rows)), None)

    def _with_steps(
        self, connection: Connection, scope: Scope, rows: Sequence[RowMapping]
    ) -> Sequence[StoredConversation]:
        if not rows:
            return []
        ids = [row["session_id"] for row in rows]
        params = {"account": scope.account_id, "sessions": ids, "behind": self._most_attempts - 1}
        steps: Mapping[str, list[Step]] = defaultdict(list)
        for row in connection.execute(_steps_of(connection), params).mappings():
            steps[row["session_id"]].append(_step(row))
        return [_conversation(row, steps[row["session_id"]]) for row in rows]


def _steps_of(connection: Connection) -> TextClause:
    """The statement. SQLite, which keeps no statistics here, would rather walk the whole account."""
    index = "INDEXED BY transfers_session" if connection.dialect.name == "sqlite" else ""
    return text(_STEPS.format(index=index)).bindparams(bindparam("sessions", expanding=True))


def _within(scope: Scope, wanted: ConversationFilter, before: str | None) -> list[ColumnElement[bool]]:
    """The account's rows in a range of ids; those that somebody holds, where one holder's are asked for."""
    s = sessions.c
    conditions = [s.account_id == scope.account_id, s.conversation_id < (before or _BEHIND_ALL)]
    if wanted.since is not None:
        conditions.append(s.conversation_id >= conversation_id_at(wanted.since - _OPENING_MS))
    if wanted.holder is not None:
        conditions.append(s.holder_id.is_not(None))
    return conditions


def _wanted(scope: Scope, wanted: ConversationFilter) -> list[ColumnElement[bool]]:
    """What else is asked for."""
    s = sessions.c
    conditions = []
    if scope.stream_id is not None:
        conditions.append(s.stream_id == scope.stream_id)
    if wanted.states is not None:
        conditions.append(s.state.in_([state.value for state in wanted.states]))
    if wanted.holder is not None:
        conditions.append(s.holder_id == wanted.holder.id)
        conditions.append(s.state == wanted.holder.kind.value)
    if wanted.since is not None:
        conditions.append(s.opened_at >= wanted.since)
    if wanted.source is not None:
        conditions.append(s.source == wanted.source)
    if wanted.language is not None:
        conditions.append(s.language == wanted.language)
    return conditions


def _conversation(row: RowMapping, steps: Sequence[Step]) -> StoredConversation:
    return StoredConversation(
        session=session_of(row),
        source=row["source"],
        language=row["language"],
        profile=row["profile"] or {},
        opened_at=row["opened_at"],
        steps=steps,
    )


def _step(row: RowMapping) -> Step:
    kind = TargetKind(row["target_kind"])
    person = " ".join(name for name in (row["first_name"], row["last_name"]) if name)
    return Step(
        transfer_id=row["transfer_id"],
        at=row["completed_at"],
        previous_state=SessionState(row["previous_state"]) if row["previous_state"] else None,
        previous_holder_id=row["previous_holder_id"],
        target=Target(kind, row["target_id"]),
        user_id=row["user_id"],
        name=person if kind is TargetKind.AGENT else row["queue_name"] or "",
        email_id=row["email_id"] or "",
    )
