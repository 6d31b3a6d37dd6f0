"""Rows as the facts that transfers are decided on, and what is decided as rows."""

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

from sqlalchemy import Table
from sqlalchemy.engine import RowMapping

from handoff.domain.model import (
    Agent,
    AgentStatus,
    Callback,
    KeyUse,
    PassedOver,
    Queue,
    Session,
    SessionState,
    Target,
    TargetKind,
    Transfer,
)
from handoff.service.ports import NewSession
from handoff.store import tables
from handoff.store.batch import Columns, Row

_STATES: Final = {state.value: state for state in SessionState}
_STATUSES: Final = {status.value: status for status in AgentStatus}


def _columns(table: Table, names: str) -> Columns:
    return tuple(table.c[name] for name in names.split())


# What a fact is made of, in the order in which it takes it; the columns of the key come first.
SESSION: Final = _columns(
    tables.sessions, "account_id session_id conversation_id stream_id org_id state holder_id version transfer_id"
)
AGENT: Final = _columns(
    tables.agents, "account_id agent_id org_id status status_expires_at max_sessions active_sessions"
)
QUEUE: Final = _columns(tables.queues, "account_id queue_id org_id")
KEY_USE: Final = _columns(tables.idempotency_keys, "account_id app_id key fingerprint transfer_id created_at")
TRANSFER: Final[Columns] = tuple(tables.transfers.c)


def to_session(row: Sequence[Any]) -> Session:
    """The session of the columns SESSION."""
    account_id, session_id, conversation_id, stream_id, org_id, state, holder_id, version, transfer_id = row
    return Session(
        account_id=account_id,
        session_id=session_id,
        conversation_id=conversation_id,
        stream_id=stream_id,
        org_id=org_id,
        state=_STATES[state],
        holder_id=holder_id,
        version=version,
        transfer_id=transfer_id,
    )


def session_of(row: RowMapping) -> Session:
    """The session in a row of `sessions`."""
    return to_session([row[column.name] for column in SESSION])


def to_agent(row: Sequence[Any]) -> Agent:
    """The agent of the columns AGENT."""
    account_id, agent_id, org_id, status, status_expires_at, max_sessions, active_sessions = row
    return Agent(
        account_id=account_id,
        agent_id=agent_id,
        org_id=org_id,
        status=_STATUSES[status],
        status_expires_at=status_expires_at,
        max_sessions=max_sessions,
        active_sessions=active_sessions,
    )


def agent_of(row: RowMapping | Mapping[str, Any]) -> Agent:
    """The agent in a row of `agents`."""
    return to_agent([row[column.name] for column in AGENT])


def to_queue(row: Sequence[Any]) -> Queue:
    """The queue of the columns QUEUE."""
    account_id, queue_id, org_id = row
    return Queue(account_id=account_id, queue_id=queue_id, org_id=org_id)


def to_key_use(row: Sequence[Any]) -> KeyUse:
    """The use of a key, of the columns KEY_USE."""
    account_id, app_id, key, fingerprint, transfer_id, created_at = row
    return KeyUse(
        account_id=account_id,
        app_id=app_id,
        key=key,
        fingerprint=fingerprint,
        transfer_id=transfer_id,
        created_at=created_at,
    )


def to_transfer(row: Sequence[Any]) -> Transfer:
    """The recorded outcome of the columns TRANSFER."""
    return transfer_of({column.name: value for column, value in zip(TRANSFER, row, strict=True)})


def transfer_of(row: RowMapping | Mapping[str, Any]) -> Transfer:
    """The recorded outcome in a row of `transfers`."""
    return Transfer(
        account_id=row["account_id"],
        transfer_id=row["transfer_id"],
        app_id=row["app_id"],
        stream_id=row["stream_id"],
        org_id=row["org_id"],
        session_id=row["session_id"],
        target=Target(TargetKind(row["target_kind"]), row["target_id"]),
        expected_agent_id=row["expected_agent_id"],
        previous_state=SessionState(row["previous_state"]) if row["previous_state"] else None,
        previous_holder_id=row["previous_holder_id"],
        status=row["status"],
        code=row["code"],
        version=row["version"],
        completed_at=row["completed_at"],
        callback_url=row["callback_url"],
        request_id=row["request_id"],
        body=row["body"].encode(),
        passed_over=_passed_over(row["passed_over"]) if row["passed_over"] else (),
    )


def _passed_over(text: str) -> tuple[PassedOver, ...]:
    return tuple(PassedOver(Target(TargetKind(kind), target_id), code) for kind, target_id, code in json.loads(text))


def _passed_over_text(passed_over: Sequence[PassedOver]) -> str:
    return json.dumps([(one.target.kind.value, one.target.id, one.code) for one in passed_over])


def new_session_row(new: NewSession) -> Row:
    """A row of `sessions` to insert."""
    session = new.session
    return {
        **session_row(session),
        "conversation_id": session.conversation_id,
        "stream_id": session.stream_id,
        "org_id": session.org_id,
        "source": new.opening.source,
        "language": new.opening.language,
        "profile": new.opening.profile,
        "opened_at": new.opened_at,
    }


def session_row(session: Session) -> Row:
    """What changes of a session, and its key."""
    return {
        "account_id": session.account_id,
        "session_id": session.session_id,
        "state": session.state.value,
        "holder_id": session.holder_id,
        "version": session.version,
        "transfer_id": session.transfer_id,
    }


def load_row(agent: Agent) -> Row:
    """What changes of an agent, and its key."""
    return {
        "account_id": agent.account_id,
        "agent_id": agent.agent_id,
        "active_sessions": agent.active_sessions,
    }


def transfer_row(transfer: Transfer) -> Row:
    """A row of `transfers`."""
    return {
        "account_id": transfer.account_id,
        "transfer_id": transfer.transfer_id,
        "app_id": transfer.app_id,
        "stream_id": transfer.stream_id,
        "org_id": transfer.org_id,
        "session_id": transfer.session_id,
        "target_kind": transfer.target.kind.value,
        "target_id": transfer.target.id,
        "expected_agent_id": transfer.expected_agent_id,
        "previous_state": transfer.previous_state.value if transfer.previous_state else None,
        "previous_holder_id": transfer.previous_holder_id,
        "status": transfer.status,
        "code": transfer.code,
        "version": transfer.version,
        "completed_at": transfer.completed_at,
        "callback_url": transfer.callback_url,
        "request_id": transfer.request_id,
        "body": transfer.body.decode(),
        "passed_over": _passed_over_text(transfer.passed_over) if transfer.passed_over else None,
    }


def callback_row(callback: Callback) -> Row:
    """A row of `callbacks`."""
    return {
        "account_id": callback.account_id,
        "callback_id": callback.callback_id,
        "transfer_id": callback.transfer_id,
        "app_id": callback.app_id,
        "url": callback.url,
        "lane": callback.lane,
        "body": callback.body.decode(),
        "due_at": callback.due_at,
        "expires_at": callback.expires_at,
    }


def key_row(use: KeyUse) -> Row:
    """A row of `idempotency_keys`."""
    return {
        "account_id": use.account_id,
        "app_id": use.app_id,
        "key": use.key,
        "fingerprint": use.fingerprint,
        "transfer_id": use.transfer_id,
        "created_at": use.created_at,
    }
