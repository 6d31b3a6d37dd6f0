"""Queues looked up and made."""

from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, Final

from sqlalchemy import ColumnElement, Connection, Engine, Select, func, insert, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import RowMapping

from handoff.service.agent_store import IdPage, Member, OrgScope, QueuePage, StoredQueue
from handoff.store.agent_rows import named_agents
from handoff.store.errors import translated
from handoff.store.tables import agent_skills, agents, queue_agents, queues

# Of each queue on a page; all of them are asked for by name, page by page.
_MOST_MEMBERS: Final = 100

_insert_once: Final = {
    "sqlite": sqlite.insert(queues).on_conflict_do_nothing().returning(queues.c.queue_id),
    "postgresql": postgresql.insert(queues).on_conflict_do_nothing().returning(queues.c.queue_id),
}


class SqlQueues:
    """See `handoff.service.agent_store.QueueStore`."""

    def __init__(self, reader: Engine, writer: Engine) -> None:
        self._reader = reader
        self._writer = writer

    def find(self, scope: OrgScope, *, after: str = "", skip: int = 0, limit: int) -> QueuePage:
        """A page of queues, each with its first agents."""
        mine = _in_scope(scope)
        wanted = select(queues).where(*mine, queues.c.queue_id > after).order_by(queues.c.queue_id)
        with translated(), self._reader.connect() as connection:
            rows = connection.execute(wanted.offset(skip).limit(limit + 1)).mappings().all()
            found = [_completed(connection, _queue(row)) for row in rows[:limit]]
            total = connection.execute(select(func.count()).select_from(queues).where(*mine)).scalar_one()
        return QueuePage(queues=found, total=total, next_after=found[-1].queue_id if len(rows) > limit else None)

    def queues_of(self, scope: OrgScope, agent_ids: Collection[str], *, after: str, limit: int) -> IdPage:
        """The queues that any of the agents belongs to."""
        m = queue_agents
        theirs = select(m.c.queue_id).where(
            m.c.account_id == scope.account_id,
            m.c.agent_id.in_(named_agents(scope, agent_ids)),
            m.c.queue_id > after,
        )
        wanted = select(queues.c.queue_id).where(*_in_scope(scope), queues.c.queue_id.in_(theirs))
        with translated(), self._reader.connect() as connection:
            ids = list(connection.execute(wanted.order_by(queues.c.queue_id).limit(limit + 1)).scalars())
        return IdPage(ids=ids[:limit], next_after=ids[limit - 1] if len(ids) > limit else None)

    @contextmanager
    def begin(self) -> Iterator["SqlQueueTransaction"]:
        """A transaction that commits when its block ends well. Raises only the store's own errors."""
        with translated(), self._writer.begin() as connection:
            yield SqlQueueTransaction(connection)

    def close(self) -> None:
        """Let go of the connections."""
        self._reader.dispose()
        self._writer.dispose()


class SqlQueueTransaction:
    """See `handoff.service.agent_store.QueueTransaction`."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def agents(self, account_id: str, org_id: str, ids: Collection[str]) -> Mapping[str, str]:
        """The user's id of each agent that is named; in key order kept from being deleted, not from transfers."""
        named = named_agents(OrgScope(account_id=account_id, org_id=org_id), ids)
        wanted = (
            select(agents.c.agent_id, agents.c.user_id)
            .where(agents.c.account_id == account_id, agents.c.agent_id.in_(named))
            .order_by(agents.c.agent_id)
            .with_for_update(read=True, key_share=True)
        )
        return {row.agent_id: row.user_id for row in self._connection.execute(wanted)}

    def queue_counts(self, account_id: str, agent_ids: Collection[str]) -> Mapping[str, int]:
        """How many queues each of the agents belongs to."""
        m = queue_agents
        counted = (
            select(m.c.agent_id, func.count().label("queues"))
            .where(m.c.account_id == account_id, m.c.agent_id.in_(sorted(agent_ids)))
            .group_by(m.c.agent_id)
        )
        return {row.agent_id: row.queues for row in self._connection.execute(counted)}

    def insert(self, queue: StoredQueue) -> bool:
        """Write a new queue; whoever comes second with an id writes nothing."""
        names = (column.name for column in queues.c)
        row = {name: getattr(queue, name) for name in names}
        return self._connection.execute(_insert_once[self._connection.dialect.name], row).first() is not None

    def add_members(self, queue: StoredQueue, agents: Mapping[str, bool]) -> None:
        """Make the agents members of the queue, preferred or not."""
        key = {"account_id": queue.account_id, "queue_id": queue.queue_id}
        rows = [key | {"agent_id": one, "is_preferred": preferred} for one, preferred in sorted(agents.items())]
        if rows:
            self._connection.execute(insert(queue_agents), rows)

    def completed(self, queue: StoredQueue) -> StoredQueue:
        """The queue with its first agents."""
        return _completed(self._connection, queue)


def _in_scope(scope: OrgScope) -> list[ColumnElement[bool]]:
    mine: list[ColumnElement[bool]] = [queues.c.account_id == scope.account_id]
    return mine if scope.org_id is None else [*mine, queues.c.org_id == scope.org_id]


def _queue(row: RowMapping) -> StoredQueue:
    return StoredQueue(**row)


def _completed(connection: Connection, queue: StoredQueue) -> StoredQueue:
    """The queue with its first agents, and how many it has."""
    rows = connection.execute(_members_of(queue)).mappings().all()
    s = agent_skills
    skills: dict[str, list[str]] = {row["agent_id"]: [] for row in rows}
    theirs = select(s.c.agent_id, s.c.skill_id).where(
        s.c.account_id == queue.account_id, s.c.agent_id.in_(sorted(skills))
    )
    for agent_id, skill_id in connection.execute(theirs.order_by(s.c.agent_id, s.c.skill_id)) if rows else ():
        skills[agent_id].append(skill_id)
    return replace(
        queue,
        members=[Member(**row, skill_ids=skills[row["agent_id"]]) for row in rows],
        member_count=connection.execute(_count_of(queue)).scalar_one(),
    )


def _members_of(queue: StoredQueue) -> Select[Any]:
    m = queue_agents
    return (
        select(agents.c.agent_id, agents.c.user_id, agents.c.first_name, agents.c.last_name, m.c.is_preferred)
        .join_from(m, agents, (agents.c.account_id == m.c.account_id) & (agents.c.agent_id == m.c.agent_id))
        .where(m.c.account_id == queue.account_id, m.c.queue_id == queue.queue_id)
        .order_by(m.c.agent_id)
        .limit(_MOST_MEMBERS)
    )


def _count_of(queue: StoredQueue) -> Select[Any]:
    m = queue_agents
    mine = (m.c.account_id == queue.account_id, m.c.queue_id == queue.queue_id)
    return select(func.count()).select_from(m).where(*mine)
