"""The committer's store: one connection of one thread, one transaction per batch."""

import json
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

from sqlalchemy import Connection, Engine, Table
from sqlalchemy.engine import RowMapping

from handoff.domain.model import (
    Agent,
    AgentKey,
    AgentStatus,
    Callback,
    KeyUse,
    PassedOver,
    Queue,
    QueueKey,
    Session,
    SessionKey,
    SessionState,
    Target,
    TargetKind,
    Transfer,
)
from handoff.service.ports import Changes, KeyName, NewSession, TransferKey
from handoff.store import tables
from handoff.store.batch import Batch, Key, Row
from handoff.store.engine import ThreadConnection
from handoff.store.feed import append_events

Fact = TypeVar("Fact")


class SqlTransferStore:
    """Opens the transactions of transfers. Used from one thread."""

    def __init__(self, engine: Engine, batch: Batch) -> None:
        self._connection = ThreadConnection(engine)
        self._batch = batch

    @contextmanager
    def begin(self) -> Iterator["SqlTransferTransaction"]:
        """See `handoff.service.ports.TransferStore`."""
        with self._connection.transaction() as connection:
            yield SqlTransferTransaction(connection, self._batch)

    def abort(self) -> None:
        """Make the transaction that is open in the other thread fail."""
        self._connection.abort()

    def close(self) -> None:
        """Let go of the connection."""
        self._connection.close()


class SqlTransferTransaction:
    """See `handoff.service.ports.TransferTransaction`."""

    def __init__(self, connection: Connection, batch: Batch) -> None:
        self._connection = connection
        self._batch = batch

    def sessions(self, wanted: Collection[SessionKey]) -> Mapping[SessionKey, Session]:
        """The sessions that exist, locked."""
        return self._facts(tables.sessions, wanted, session_of, lock=True)

    def agents(self, wanted: Collection[AgentKey]) -> Mapping[AgentKey, Agent]:
        """The agents that exist, locked."""
        return self._facts(tables.agents, wanted, _agent, lock=True)

    def queues(self, wanted: Collection[QueueKey]) -> Mapping[QueueKey, Queue]:
        """The queues that exist."""
        return self._facts(tables.queues, wanted, _queue)

    def keys(self, wanted: Collection[KeyName]) -> Mapping[KeyName, KeyUse]:
        """The Idempotency-Keys that were used before."""
        return self._facts(tables.idempotency_keys, wanted, lambda row: KeyUse(**row))

    def transfers(self, wanted: Collection[TransferKey]) -> Mapping[TransferKey, Transfer]:
        """The recorded transfers."""
        return self._facts(tables.transfers, wanted, transfer_of)

    def write(self, changes: Changes) -> None:
        """Write everything the batch decided; the events last, since they keep others of their accounts waiting."""
        self._append(tables.sessions, [_new_session_row(new) for new in changes.new_sessions])
        self._change(tables.sessions, [_session_row(session) for session in changes.sessions])
        self._change(tables.agents, [_load_row(agent) for agent in changes.agents])
        self._append(tables.transfers, [_transfer_row(transfer) for transfer in changes.transfers])
        self._append(tables.callbacks, [_callback_row(callback) for callback in changes.callbacks], once=True)
        self._append(tables.idempotency_keys, [_key_row(use) for use in changes.keys])
        if changes.events:
            append_events(self._connection, self._batch, changes.events)

    def _facts(
        self, table: Table, wanted: Collection[Any], fact_of: Callable[[RowMapping], Fact], *, lock: bool = False
    ) -> dict[Any, Fact]:
        names = [key.name for key in table.primary_key.columns]
        rows = self._batch.read(self._connection, table, wanted, lock=lock)
        return {_key(row, names): fact_of(row) for row in rows}

    def _change(self, table: Table, rows: Sequence[Row]) -> None:
        if rows:
            self._batch.change(self._connection, table, rows)

    def _append(self, table: Table, rows: Sequence[Row], *, once: bool = False) -> None:
        if rows:
            self._batch.append(self._connection, table, rows, once=once)


def _key(row: RowMapping, names: Sequence[str]) -> Key:
    return tuple(row[name] for name in names)


def session_of(row: RowMapping) -> Session:
    """The session in a row of `sessions`."""
    return Session(
        account_id=row["account_id"],
        session_id=row["session_id"],
        conversation_id=row["conversation_id"],
        stream_id=row["stream_id"],
        org_id=row["org_id"],
        state=SessionState(row["state"]),
        holder_id=row["holder_id"],
        version=row["version"],
        transfer_id=row["transfer_id"],
    )


def _agent(row: RowMapping) -> Agent:
    return Agent(
        account_id=row["account_id"],
        agent_id=row["agent_id"],
        org_id=row["org_id"],
        status=AgentStatus(row["status"]),
        status_expires_at=row["status_expires_at"],
        max_sessions=row["max_sessions"],
        active_sessions=row["active_sessions"],
    )


def _queue(row: RowMapping) -> Queue:
    return Queue(account_id=row["account_id"], queue_id=row["queue_id"], org_id=row["org_id"])


def transfer_of(row: RowMapping) -> Transfer:
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


def _new_session_row(new: NewSession) -> Row:
    session = new.session
    return {
        **_session_row(session),
        "conversation_id": session.conversation_id,
        "stream_id": session.stream_id,
        "org_id": session.org_id,
        "source": new.opening.source,
        "language": new.opening.language,
        "profile": new.opening.profile,
        "opened_at": new.opened_at,
    }


def _session_row(session: Session) -> Row:
    return {
        "account_id": session.account_id,
        "session_id": session.session_id,
        "state": session.state.value,
        "holder_id": session.holder_id,
        "version": session.version,
        "transfer_id": session.transfer_id,
    }


def _load_row(agent: Agent) -> Row:
    return {
        "account_id": agent.account_id,
        "agent_id": agent.agent_id,
        "active_sessions": agent.active_sessions,
    }


def _transfer_row(transfer: Transfer) -> Row:
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


def _callback_row(callback: Callback) -> Row:
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


def _key_row(use: KeyUse) -> Row:
    return {
        "account_id": use.account_id,
        "app_id": use.app_id,
        "key": use.key,
        "fingerprint": use.fingerprint,
        "transfer_id": use.transfer_id,
        "created_at": use.created_at,
    }
