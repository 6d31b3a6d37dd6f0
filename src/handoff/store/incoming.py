"""The statements by which rows of streams, queues, agents and sessions come in, a batch at a time.

What a row leaves open (None) stays as it is stored. Who holds what is never touched.
"""

from collections.abc import Sequence
from functools import cache
from typing import Any, Final

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    ColumnElement,
    Connection,
    Executable,
    Integer,
    Table,
    Text,
    and_,
    case,
    delete,
    func,
    literal,
    literal_column,
    select,
    tuple_,
)

from handoff.domain.model import AgentStatus, SessionState
from handoff.service.ports import Unwritable
from handoff.store.staging import Row, Staged, merged
from handoff.store.tables import agent_skills, agents, queue_agents, queues, sessions, streams

_OFFLINE: Final = AgentStatus.OFFLINE.value
_EMPTY: Final = literal_column("'{}'", JSON)
_SAID_OF_AGENTS: Final = ("org_id", "user_id", "first_name", "last_name", "email_id", "custom_id", "max_sessions")


def _texts(*names: str) -> dict[str, Text]:
    return {name: Text() for name in names}


_streams: Final = Staged("streams", _texts("account_id", "stream_id", "org_id", "name"))
_queues: Final = Staged(
    "queues", {**_texts("account_id", "queue_id", "org_id", "name"), "profile": JSON(), "at": BigInteger()}
)
_agents: Final = Staged(
    "agents",
    {
        **_texts("account_id", "agent_id", "org_id", "user_id", "first_name", "last_name", "email_id", "custom_id"),
        "max_sessions": Integer(),
        "status": Text(),
        "status_expires_at": BigInteger(),
        "profile": JSON(),
        "has_queues": Boolean(),
        "has_skills": Boolean(),
        "at": BigInteger(),
    },
)
_members: Final = Staged(
    "queue_agents", {**_texts("account_id", "queue_id", "agent_id", "org_id"), "is_preferred": Boolean()}
)
_skills: Final = Staged("agent_skills", _texts("account_id", "agent_id", "skill_id"))
_sessions: Final = Staged(
    "sessions",
    {
        **_texts("account_id", "session_id", "stream_id", "org_id", "conversation_id", "source", "language"),
        "profile": JSON(),
        "opened_at": BigInteger(),
    },
)


def bring_streams(connection: Connection, rows: Sequence[Row]) -> None:
    """Insert or renew streams."""
    _streams.fill(connection, rows)
    connection.execute(_merge_streams(connection.dialect.name))


def bring_queues(connection: Connection, rows: Sequence[Row]) -> None:
    """Insert or renew queues."""
    _queues.fill(connection, rows)
    connection.execute(_lock(queues, _queues))
    connection.execute(_merge_queues(connection.dialect.name))


def bring_sessions(connection: Connection, rows: Sequence[Row]) -> None:
    """Insert sessions, which are with the bot then, or renew what is told of them."""
    _sessions.fill(connection, rows)
    connection.execute(_merge_sessions(connection.dialect.name))


def bring_agents(connection: Connection, rows: Sequence[Row]) -> None:
    """Insert or renew agents, with the queues and skills that their rows list. Raises Unwritable."""
    _agents.fill(connection, rows)
    connection.execute(_lock(agents, _agents))
    connection.execute(_merge_agents(connection.dialect.name))
    if any(row["has_queues"] for row in rows):
        _members.fill(connection, (member for row in rows for member in row["queues"]))
        unknown = connection.execute(_unknown_queue).first()
        if unknown is not None:
            raise Unwritable(f"queues: org {unknown.org_id} has no queue {unknown.queue_id}")
        connection.execute(_no_longer(queue_agents, _members, _agents.c.has_queues))
        connection.execute(_merge_members(connection.dialect.name))
    if any(row["has_skills"] for row in rows):
        _skills.fill(connection, (skill for row in rows for skill in row["skills"]))
        connection.execute(_no_longer(agent_skills, _skills, _agents.c.has_skills))
        connection.execute(_merge_skills(connection.dialect.name))


@cache
def _merge_streams(dialect: str) -> Any:  # noqa: ANN401 (two dialects' Insert)
    return merged(dialect, streams, select(*_streams.c), renewed=("org_id", "name"))


@cache
def _merge_queues(dialect: str) -> Any:  # noqa: ANN401
    new = _queues.c
    source = select(
        new.account_id,
        new.queue_id,
        new.org_id,
        new.name,
        func.coalesce(new.profile, queues.c.profile, _EMPTY).label("profile"),
        new.at.label("created_at"),
        new.at.label("updated_at"),
    ).join_from(_queues.table, queues, _is_same(queues, _queues), isouter=True)
    return merged(dialect, queues, source, renewed=("org_id", "name", "profile"), stamped=("updated_at",))


@cache
def _merge_sessions(dialect: str) -> Any:  # noqa: ANN401
    source = select(
        *_sessions.c, literal(SessionState.BOT.value).label("state"), literal(0, BigInteger).label("version")
    )
    return merged(
        dialect, sessions, source, renewed=("stream_id", "org_id"), renewed_if_given=("source", "language", "profile")
    )


@cache
def _merge_agents(dialect: str) -> Any:  # noqa: ANN401
    new, old = _agents.c, agents.c
    comes_online = and_(new.status != _OFFLINE, func.coalesce(old.status, _OFFLINE) == _OFFLINE)
    source = select(
        *(new[name] for name in ("account_id", "agent_id", *_SAID_OF_AGENTS)),
        func.coalesce(new.status, old.status, _OFFLINE).label("status"),
        case((new.status.is_(None), old.status_expires_at), else_=new.status_expires_at).label("status_expires_at"),
        func.coalesce(new.profile, old.profile, _EMPTY).label("profile"),
        new.at.label("created_at"),
        new.at.label("updated_at"),
        case((comes_online, new.at), else_=old.last_online_at).label("last_online_at"),
    ).join_from(_agents.table, agents, _is_same(agents, _agents), isouter=True)
    renewed = (*_SAID_OF_AGENTS, "status", "status_expires_at", "profile", "last_online_at")
    return merged(dialect, agents, source, renewed=renewed, stamped=("updated_at",))


@cache
def _merge_members(dialect: str) -> Any:  # noqa: ANN401
    names = ("account_id", "queue_id", "agent_id", "is_preferred")
    return merged(dialect, queue_agents, select(*(_members.c[name] for name in names)), renewed=("is_preferred",))


@cache
def _merge_skills(dialect: str) -> Any:  # noqa: ANN401
    return merged(dialect, agent_skills, select(*_skills.c), renewed=())


@cache
def _no_longer(table: Table, listed: Staged, are_listed: Column[Any]) -> Executable:
    """What the table has of the agents whose rows list such things, and the rows do not."""
    agent = tuple_(table.c.account_id, table.c.agent_id)
    those = select(_agents.c.account_id, _agents.c.agent_id).where(are_listed)
    key = tuple_(*table.primary_key)
    return delete(table).where(
        agent.in_(those), key.not_in(select(*(listed.c[column.name] for column in table.primary_key)))
    )


@cache
def _lock(table: Table, staged: Staged) -> Executable:
    """The rows that may be renewed, locked in the order of keys, so that what is read of them stays true."""
    keys = list(table.primary_key)
    wanted = select(*keys).join_from(staged.table, table, _is_same(table, staged)).order_by(*keys)
    return wanted.with_for_update(of=table, key_share=True)


def _is_same(table: Table, staged: Staged) -> ColumnElement[bool]:
    return and_(*(column == staged.c[column.name] for column in table.primary_key))


_unknown_queue: Final = (
    select(_members.c.org_id, _members.c.queue_id)
    .join_from(
        _members.table, queues, and_(_is_same(queues, _members), queues.c.org_id == _members.c.org_id), isouter=True
    )
    .where(queues.c.queue_id.is_(None))
    .limit(1)
)
