"""What statements on agents share: the conditions, and the way between rows and facts."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

from sqlalchemy import ColumnElement, Connection, Select, select, union
from sqlalchemy.engine import RowMapping

from handoff.service.agent_store import AgentFilter, Membership, OrgScope, StoredAgent
from handoff.store import rows
from handoff.store.tables import agent_skills, agents, queue_agents, queues

# Where a profile keeps the entries of skills as they were sent, and the member of each that names the skill.
_SKILLS: Final = "skills"
_SKILL_ID: Final = "skillId"


def named_agents(scope: OrgScope, ids: Collection[str]) -> Select[Any]:
    """The ids of agents that are named by their own or their users' ids; each way has its index."""
    mine = in_scope(scope)
    own = select(agents.c.agent_id).where(*mine, agents.c.agent_id.in_(sorted(ids)))
    users = select(agents.c.agent_id).where(*mine, agents.c.user_id.in_(sorted(ids)))
    return select(union(own, users).subquery("named").c.agent_id)


def in_scope(scope: OrgScope) -> list[ColumnElement[bool]]:
    """The conditions on all agents of the scope."""
    mine: list[ColumnElement[bool]] = [agents.c.account_id == scope.account_id]
    return mine if scope.org_id is None else [*mine, agents.c.org_id == scope.org_id]


def is_named(scope: OrgScope, agent_id: str) -> list[ColumnElement[bool]]:
    """The conditions on this agent, if it is in scope."""
    return [*in_scope(scope), agents.c.agent_id == agent_id]


def is_agent(agent: StoredAgent) -> tuple[ColumnElement[bool], ColumnElement[bool]]:
    """The conditions on the row of this very agent."""
    return agents.c.account_id == agent.agent.account_id, agents.c.agent_id == agent.agent.agent_id


def matches(scope: OrgScope, wanted: AgentFilter, after: str) -> list[ColumnElement[bool]]:
    """The conditions on a page. Each set of ids is found by its own index, whatever else is asked for."""
    found = in_scope(scope)
    if wanted.custom_id is not None:
        found.append(agents.c.custom_id == wanted.custom_id)
    sets = _sets(scope, wanted)
    # Behind `after` within the sets, where there are some: else SQLite would rather walk through the whole org.
    if not sets:
        return [*found, agents.c.agent_id > after]
    return [*found, *(agents.c.agent_id.in_(one.where(one.selected_columns.agent_id > after)) for one in sets)]


def _sets(scope: OrgScope, wanted: AgentFilter) -> list[Select[Any]]:
    """The ids of agents that each of the lists finds."""
    sets = [named_agents(scope, wanted.agent_ids)] if wanted.agent_ids else []
    for table, column, ids in (
        (queue_agents, queue_agents.c.queue_id, wanted.queue_ids),
        (agent_skills, agent_skills.c.skill_id, wanted.skill_ids),
    ):
        if ids:
            sets.append(select(table.c.agent_id).where(table.c.account_id == scope.account_id, column.in_(sorted(ids))))
    return sets


def completed(connection: Connection, found: Sequence[StoredAgent], *, with_queues: bool) -> list[StoredAgent]:
    """The agents, all of one account and one page, with their skills and, where asked for, their queues."""
    if not found:
        return []
    account_id, agent_ids = found[0].agent.account_id, [one.agent.agent_id for one in found]
    skills: dict[str, list[str]] = {agent_id: [] for agent_id in agent_ids}
    for agent_id, skill_id in connection.execute(_skills_of(account_id, agent_ids)):
        skills[agent_id].append(skill_id)
    done = [replace(one, skills=_as_sent(one, skills[one.agent.agent_id])) for one in found]
    if not with_queues:
        return done
    memberships: dict[str, list[Membership]] = {agent_id: [] for agent_id in agent_ids}
    for row in connection.execute(_queues_of(account_id, agent_ids)).mappings():
        memberships[row["agent_id"]].append(_membership(row))
    return [replace(one, queues=memberships[one.agent.agent_id]) for one in done]


def _as_sent(agent: StoredAgent, skill_ids: Collection[str]) -> dict[str, Mapping[str, Any]]:
    """The agent's skills as it said them, in its order, then those of which only the id is known."""
    said = {skill_id: entry for skill_id, entry in agent.skills.items() if skill_id in skill_ids}
    return said | {skill_id: {_SKILL_ID: skill_id} for skill_id in skill_ids if skill_id not in said}


def _skills_of(account_id: str, agent_ids: Sequence[str]) -> Select[Any]:
    s = agent_skills
    return (
        select(s.c.agent_id, s.c.skill_id)
        .where(s.c.account_id == account_id, s.c.agent_id.in_(agent_ids))
        .order_by(s.c.agent_id, s.c.skill_id)
    )


def _queues_of(account_id: str, agent_ids: Sequence[str]) -> Select[Any]:
    m = queue_agents
    return (
        select(
            m.c.agent_id,
            m.c.queue_id,
            m.c.is_preferred,
            queues.c.name,
            queues.c.profile["description"].as_string().label("description"),
        )
        .join_from(m, queues, (queues.c.account_id == m.c.account_id) & (queues.c.queue_id == m.c.queue_id))
        .where(m.c.account_id == account_id, m.c.agent_id.in_(agent_ids))
        .order_by(m.c.agent_id, m.c.queue_id)
    )


def _membership(row: RowMapping) -> Membership:
    return Membership(
        queue_id=row["queue_id"],
        is_preferred=row["is_preferred"],
        name=row["name"],
        description=str(row["description"] or ""),
    )


def agent_of(row: RowMapping | Mapping[str, Any]) -> StoredAgent:
    """The agent in a row of `agents`, with what it said of its skills."""
    profile = dict(row["profile"])
    said = [entry for entry in profile.pop(_SKILLS, ()) if isinstance(entry, dict) and _SKILL_ID in entry]
    return StoredAgent(
        agent=rows.agent_of(row),
        user_id=row["user_id"],
        first_name=row["first_name"],
        last_name=row["last_name"],
        email_id=row["email_id"],
        custom_id=row["custom_id"],
        profile=profile,
        created_at=row["created_at"],
        updated_at=row["updated_at"],
        last_online_at=row["last_online_at"],
        skills={entry[_SKILL_ID]: entry for entry in said},
    )


def key_row(agent: StoredAgent) -> dict[str, str]:
    """The columns of the primary key."""
    return {"account_id": agent.agent.account_id, "agent_id": agent.agent.agent_id}


def content_row(agent: StoredAgent) -> dict[str, Any]:
    """The columns that a caller's words change."""
    skills = {_SKILLS: list(agent.skills.values())} if agent.skills else {}
    return {
        "first_name": agent.first_name,
        "last_name": agent.last_name,
        "email_id": agent.email_id,
        "custom_id": agent.custom_id,
        "max_sessions": agent.agent.max_sessions,
        "profile": {**agent.profile, **skills},
        "updated_at": agent.updated_at,
    }


def status_row(agent: StoredAgent) -> dict[str, Any]:
    """The columns that tell whether the agent is there."""
    return {
        "status": agent.agent.status.value,
        "status_expires_at": agent.agent.status_expires_at,
        "last_online_at": agent.last_online_at,
    }
