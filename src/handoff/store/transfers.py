"""The committer's store: one connection of one thread, one transaction per batch."""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Final, TypeVar

from sqlalchemy import Connection, Engine

from handoff.domain.model import Agent, AgentKey, KeyUse, Queue, QueueKey, Session, SessionKey, Transfer
from handoff.service.ports import Changes, KeyName, TransferKey
from handoff.store import rows, tables
from handoff.store.batch import Append, Batch, Change, Columns
from handoff.store.engine import ThreadConnection
from handoff.store.feed import to_feed

Fact = TypeVar("Fact")

_BRIEF_WAIT: Final = "SET LOCAL lock_timeout = '200ms'"


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

    def wait_briefly(self) -> None:
        """Set the bound of this transaction. SQLite's has all its locks from the start."""
        if self._connection.dialect.name == "postgresql":
            self._connection.exec_driver_sql(_BRIEF_WAIT)

    def sessions(self, wanted: Collection[SessionKey]) -> Mapping[SessionKey, Session]:
        """The sessions that exist, locked."""
        return self._facts(rows.SESSION, wanted, rows.to_session, lock=True)

    def agents(self, wanted: Collection[AgentKey]) -> Mapping[AgentKey, Agent]:
        """The agents that exist, locked."""
        return self._facts(rows.AGENT, wanted, rows.to_agent, lock=True)

    def queues(self, wanted: Collection[QueueKey]) -> Mapping[QueueKey, Queue]:
        """The queues that exist."""
        return self._facts(rows.QUEUE, wanted, rows.to_queue)

    def keys(self, wanted: Collection[KeyName]) -> Mapping[KeyName, KeyUse]:
        """The Idempotency-Keys that were used before."""
        return self._facts(rows.KEY_USE, wanted, rows.to_key_use)

    def transfers(self, wanted: Collection[TransferKey]) -> Mapping[TransferKey, Transfer]:
        """The recorded transfers."""
        return self._facts(rows.TRANSFER, wanted, rows.to_transfer)

    def write(self, changes: Changes) -> None:
        """Write everything the batch decided; the events last, since they keep others of their accounts waiting."""
        # By itself, since the same session may be opened and assigned in one batch.
        opened = Append(tables.sessions, [rows.new_session_row(new) for new in changes.new_sessions])
        self._batch.write(self._connection, [opened])
        self._batch.write(
            self._connection,
            [
                Change(tables.sessions, [rows.session_row(session) for session in changes.sessions]),
                Change(tables.agents, [rows.load_row(agent) for agent in changes.agents]),
                Append(tables.transfers, [rows.transfer_row(transfer) for transfer in changes.transfers]),
                Append(tables.callbacks, [rows.callback_row(callback) for callback in changes.callbacks], once=True),
                Append(tables.idempotency_keys, [rows.key_row(use) for use in changes.keys]),
                to_feed(changes.events),
            ],
        )

    def _facts(
        self, columns: Columns, wanted: Collection[Any], to_fact: Callable[[Sequence[Any]], Fact], *, lock: bool = False
    ) -> dict[Any, Fact]:
        found = self._batch.read(self._connection, columns, wanted, lock=lock)
        length = len(columns[0].table.primary_key)
        return {tuple(row[:length]): to_fact(row) for row in found}
