"""Agents looked up and changed, outside of transfers.

The locks: an agent's row goes before the rows that hang on it, and the head of the feed comes last.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Final

from sqlalchemy import Connection, Engine, delete, insert, select, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import IntegrityError

from handoff.domain.event import Event
from handoff.service.agent_store import AgentFilter, AgentPage, OrgScope, StoredAgent
from handoff.store.accounts import accounts_of
from handoff.store.agent_rows import (
    agent_of,
    completed,
    content_row,
    is_agent,
    is_named,
    key_row,
    matches,
    status_row,
)
from handoff.store.batch import Batch
from handoff.store.errors import translated
from handoff.store.feed import to_feed
from handoff.store.tables import agent_skills, agents, queue_agents, queues, streams

_ACCOUNTS: Final = accounts_of(agents)
_ORGS: Final = (
    select(streams.c.account_id, streams.c.org_id).distinct().order_by(streams.c.account_id, streams.c.org_id)
)
_BRIEF: Final = ("phoneNumber", "profImage")
_brief_columns: Final = [column for column in agents.c if column is not agents.c.profile]
_insert_once: Final = {
    "sqlite": sqlite.insert(agents).on_conflict_do_nothing().returning(agents.c.agent_id),
    "postgresql": postgresql.insert(agents).on_conflict_do_nothing().returning(agents.c.agent_id),
}


class SqlAgents:
    """See `handoff.service.agent_store.AgentStore`."""

    def __init__(self, reader: Engine, writer: Engine, batch: Batch) -> None:
        self._reader = reader
        self._writer = writer
        self._batch = batch

    def accounts(self) -> Sequence[str]:
        """Every account that has agents."""
        with translated(), self._reader.connect() as connection:
            return list(connection.execute(_ACCOUNTS).scalars())

    def orgs(self) -> Sequence[OrgScope]:
        """Every org that has a stream."""
        with translated(), self._reader.connect() as connection:
            return [OrgScope(account_id=account_id, org_id=org_id) for account_id, org_id in connection.execute(_ORGS)]

    def get(self, scope: OrgScope, agent_id: str) -> StoredAgent | None:
        """The agent with its skills and queues, if it is there and in scope."""
        with translated(), self._reader.connect() as connection:
            row = connection.execute(select(agents).where(*is_named(scope, agent_id))).mappings().first()
            if row is None:
                return None
            (found,) = completed(connection, [agent_of(row)], with_queues=True)
        return found

    def find(
        self,
        scope: OrgScope,
        wanted: AgentFilter,
        *,
        after: str = "",
        skip: int = 0,
        limit: int,
        with_queues: bool = False,
    ) -> AgentPage:
        """A page of agents, with their skills."""
        statement = select(agents).where(*matches(scope, wanted, after)).order_by(agents.c.agent_id)
        with translated(), self._reader.connect() as connection:
            rows = connection.execute(statement.offset(skip).limit(limit + 1)).mappings().all()
            found = completed(connection, [agent_of(row) for row in rows[:limit]], with_queues=with_queues)
        return _page(found, has_more=len(rows) > limit)

    def find_brief(self, scope: OrgScope, wanted: AgentFilter, *, after: str, limit: int) -> AgentPage:
        """A page of agents with little of their profiles."""
        members = [agents.c.profile[name].label(name) for name in _BRIEF]
        statement = select(*_brief_columns, *members).where(*matches(scope, wanted, after))
        with translated(), self._reader.connect() as connection:
            rows = connection.execute(statement.order_by(agents.c.agent_id).limit(limit + 1)).mappings().all()
        found = [
            agent_of({**row, "profile": {name: row[name] for name in _BRIEF if row[name] is not None}})
            for row in rows[:limit]
        ]
        return _page(found, has_more=len(rows) > limit)

    @contextmanager
    def begin(self) -> Iterator["SqlAgentTransaction"]:
        """A transaction that commits when its block ends well. Raises only the store's own errors."""
        with translated(), self._writer.begin() as connection:
            yield SqlAgentTransaction(connection, self._batch)

    def close(self) -> None:
        """Let go of the connections."""
        self._reader.dispose()
        self._writer.dispose()


class SqlAgentTransaction:
    """See `handoff.service.agent_store.AgentTransaction`."""

    def __init__(self, connection: Connection, batch: Batch) -> None:
        self._connection = connection
        self._batch = batch

    def lock(self, scope: OrgScope, agent_id: str) -> StoredAgent | None:
        """The agent, locked against transfers and against those who would change it too."""
        found = self._connection.execute(
            select(agents).where(*is_named(scope, agent_id)).with_for_update(key_share=True)
        )
        row = found.mappings().first()
        return None if row is None else agent_of(row)

    def completed(self, agent: StoredAgent) -> StoredAgent:
        """The agent with its skills and queues."""
        (found,) = completed(self._connection, [agent], with_queues=True)
        return found

    def known_queues(self, account_id: str, org_id: str, queue_ids: Collection[str]) -> set[str]:
        """Those of the queues that the org has."""
        wanted = select(queues.c.queue_id).where(
            queues.c.account_id == account_id, queues.c.org_id == org_id, queues.c.queue_id.in_(sorted(queue_ids))
        )
        return set(self._connection.execute(wanted).scalars())

    def insert(self, agent: StoredAgent) -> bool:
        """Write a new agent; whoever comes second with an id, userId or emailId writes nothing."""
        row = key_row(agent) | content_row(agent) | status_row(agent)
        row |= {"org_id": agent.agent.org_id, "user_id": agent.user_id, "active_sessions": agent.agent.active_sessions}
        row |= {"created_at": agent.created_at}
        return self._connection.execute(_insert_once[self._connection.dialect.name], row).first() is not None

    def update(self, agent: StoredAgent) -> bool:
        """Write all but status and load; where it cannot be, the transaction can only be given up."""
        try:
            self._connection.execute(update(agents).where(*is_agent(agent)).values(content_row(agent)))
        except IntegrityError:
            return False
        return True

    def set_skills(self, agent: StoredAgent) -> None:
        """Make these skills the agent's, and no others."""
        key = key_row(agent)
        mine = (agent_skills.c.account_id == key["account_id"], agent_skills.c.agent_id == key["agent_id"])
        self._connection.execute(delete(agent_skills).where(*mine))
        if agent.skills:
            self._connection.execute(insert(agent_skills), [key | {"skill_id": one} for one in sorted(agent.skills)])

    def set_queues(self, agent: StoredAgent, queues: Mapping[str, bool]) -> None:
        """Make the agent a member of these queues, and of no others."""
        key = key_row(agent)
        self._leave_queues(key)
        if queues:
            rows = [key | {"queue_id": one, "is_preferred": preferred} for one, preferred in sorted(queues.items())]
            self._connection.execute(insert(queue_agents), rows)

    def _leave_queues(self, key: Mapping[str, str]) -> None:
        mine = (queue_agents.c.account_id == key["account_id"], queue_agents.c.agent_id == key["agent_id"])
        self._connection.execute(delete(queue_agents).where(*mine))

    def set_status(self, agent: StoredAgent) -> None:
        """Write the status, its end, and when the agent was last online."""
        self._connection.execute(update(agents).where(*is_agent(agent)).values(status_row(agent)))

    def delete_idle(self, agent: StoredAgent) -> bool:
        """Delete the agent if it holds no session.

        The row goes before its memberships: who adds one waits for the row, and then finds no agent.
        """
        gone = self._connection.execute(delete(agents).where(*is_agent(agent), agents.c.active_sessions == 0))
        if gone.rowcount == 0:
            return False
        self.set_skills(replace(agent, skills={}))
        self._leave_queues(key_row(agent))
        return True

    def append(self, event: Event) -> None:
        """Write an event."""
        self._batch.write(self._connection, [to_feed([event])])


def _page(found: Sequence[StoredAgent], *, has_more: bool) -> AgentPage:
    return AgentPage(agents=found, next_after=found[-1].agent.agent_id if has_more else None)
