"""Recorded transfers looked up, won and refused."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

from sqlalchemy import ColumnElement, Connection, Engine, FromClause, Select, and_, func, or_, select, text
from sqlalchemy.engine import RowMapping

from handoff.domain.ids import transfer_id_at
from handoff.domain.model import SessionState, TargetKind, Transfer
from handoff.domain.refusals import Refusal
from handoff.service.history import Outcome, TransferFilter, TransferPage
from handoff.service.scope import Scope
from handoff.store.accounts import accounts_of
from handoff.store.engine import snapshot
from handoff.store.pages import MOST_SCANNED, Search
from handoff.store.rows import transfer_of
from handoff.store.tables import sessions, transfers

Conditions = Sequence[ColumnElement[bool]]

_ACCOUNTS: Final = accounts_of(transfers)

# An id of ours is less than this.
_BEHIND_ALL: Final = "u"
# A transfer's id is made before its outcome: by no more than a batch and its retries may take.
_DECIDING_MS: Final = 60_000

_ANY: Final = TransferFilter()

# Refused before the session was looked at: it may be another stream's, and so may whoever has it.
_UNSEEN: Final = (Refusal.ORG_NOT_FOUND.code, Refusal.SESSION_NOT_FOUND.code)
_KINDS: Final[Mapping[Outcome, Sequence[str]]] = {
    Outcome.TRANSFERRED: (TargetKind.AGENT.value, TargetKind.QUEUE.value),
    Outcome.RELEASED: (TargetKind.BOT.value,),
    Outcome.CLOSED: (TargetKind.CLOSED.value,),
}


class SqlHistory:
    """See `handoff.service.history.HistoryStore`. A search looks at `most_scanned` rows for a page."""

    def __init__(self, reader: Engine, *, most_scanned: int = MOST_SCANNED) -> None:
        self._reader = reader
        self._most_scanned = most_scanned

    def accounts(self) -> Sequence[str]:
        """Every account that has transfers."""
        with snapshot(self._reader) as connection:
            return list(connection.execute(_ACCOUNTS).scalars())

    def find(self, scope: Scope, wanted: TransferFilter, *, before: str | None, limit: int) -> TransferPage:
        """A page of transfers, the newest first; a search goes no further than a bounded number of rows."""
        with snapshot(self._reader) as connection:
            t = _rows(connection, wanted)
            within = [*_within(t, scope, wanted), t.c.transfer_id < (before or _BEHIND_ALL)]
            return self._page(connection, t, within, _wanted(t, scope, wanted), limit=limit)

    def get(self, scope: Scope, transfer_id: str) -> Transfer | None:
        """The transfer, if it is there and in scope."""
        t = transfers
        is_this = (*_within(t, scope, _ANY), t.c.transfer_id == transfer_id, *_wanted(t, scope, _ANY))
        with snapshot(self._reader) as connection:
            row = connection.execute(select(t).where(*is_this)).mappings().first()
        return None if row is None else _transfer(row)

    def of_session(self, scope: Scope, session_id: str, *, after: str | None, limit: int) -> TransferPage | None:
        """A page of the session's transfers, the oldest first; None: no such session."""
        wanted = TransferFilter(session_id=session_id)
        with snapshot(self._reader) as connection:
            if connection.execute(_session(scope, session_id)).first() is None:
                return None
            t = _rows(connection, wanted)
            within = [*_within(t, scope, wanted), t.c.transfer_id > (after or "")]
            return self._page(connection, t, within, _wanted(t, scope, wanted), limit=limit, is_ascending=True)

    def close(self) -> None:
        """Let go of the connections."""
        self._reader.dispose()

    def _page(
        self,
        connection: Connection,
        t: FromClause,
        within: Conditions,
        wanted: Conditions,
        *,
        limit: int,
        is_ascending: bool = False,
    ) -> TransferPage:
        search = Search(
            rows=t,
            key=t.c.transfer_id,
            within=within,
            wanted=wanted,
            behind_all=_BEHIND_ALL,
            most_scanned=self._most_scanned,
            is_ascending=is_ascending,
        )
        page = search.page(connection, limit=limit)
        return TransferPage(transfers=[_transfer(row) for row in page.rows], next_from=page.next_from)


def _rows(connection: Connection, wanted: TransferFilter) -> FromClause:
    """The table. SQLite, which keeps no statistics here, has to be told that a session is less than its account."""
    if wanted.session_id is None or connection.dialect.name != "sqlite":
        return transfers
    return text("SELECT * FROM transfers INDEXED BY transfers_session").columns(*transfers.c).subquery("t")


def _within(t: FromClause, scope: Scope, wanted: TransferFilter) -> Conditions:
    """The account's rows, of one session where that is asked for, not from before the time that is."""
    conditions: list[ColumnElement[bool]] = [t.c.account_id == scope.account_id]
    if wanted.session_id is not None:
        conditions.append(t.c.session_id == wanted.session_id)
    if wanted.since is not None:
        conditions.append(t.c.transfer_id >= transfer_id_at(wanted.since - _DECIDING_MS))
    return conditions


def _wanted(t: FromClause, scope: Scope, wanted: TransferFilter) -> Conditions:
    """What else is asked for."""
    conditions: list[ColumnElement[bool]] = []
    if scope.stream_id is not None:
        conditions.append(t.c.stream_id == scope.stream_id)
    if wanted.agent_id is not None:
        conditions.append(_names_agent(t, wanted.agent_id))
    if wanted.outcome is Outcome.REFUSED:
        conditions.append(t.c.code.is_not(None))
    elif wanted.outcome is not None:
        conditions.append(and_(t.c.code.is_(None), t.c.target_kind.in_(_KINDS[wanted.outcome])))
    if wanted.code is not None:
        conditions.append(t.c.code == wanted.code)
    if wanted.since is not None:
        conditions.append(t.c.completed_at >= wanted.since)
    return conditions


def _names_agent(t: FromClause, agent_id: str) -> ColumnElement[bool]:
    """Whether the agent was to get the session, or had it before."""
    is_target = and_(t.c.target_kind == TargetKind.AGENT.value, t.c.target_id == agent_id)
    had_it = and_(t.c.previous_state == SessionState.AGENT.value, t.c.previous_holder_id == agent_id)
    return or_(is_target, and_(had_it, func.coalesce(t.c.code, "").not_in(_UNSEEN)))


def _session(scope: Scope, session_id: str) -> Select[Any]:
    s = sessions.c
    one = select(s.session_id).where(s.account_id == scope.account_id, s.session_id == session_id)
    return one if scope.stream_id is None else one.where(s.stream_id == scope.stream_id)


def _transfer(row: RowMapping) -> Transfer:
    """The transfer, without what its asker may not know."""
    found = transfer_of(row)
    return replace(found, previous_state=None, previous_holder_id=None) if found.code in _UNSEEN else found
