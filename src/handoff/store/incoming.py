"""The statements by which rows of streams, queues, agents and sessions come in, a batch at a time.

What a row leaves open (None) stays as it is stored. Who holds what is never touched.
"""

from collections.abc import Sequence
from functools import cache
from typing import Any, Final

from sqlalchemy import (
    JSON,
    BigInteger,
    Connection,
    Executable,
    Integer,
    Table,
    Text,
    and_,
    case,
    func,
    literal,
    literal_column,
    select,
    true,
)

from handoff.domain.model import AgentStatus, SessionState
from handoff.store.memberships import bring_queues_of_agents, bring_skills_of_agents
from handoff.store.staging import Row, Staged, merged, same_key
from handoff.store.tables import agents, queues, sessions, streams

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
        "at": BigInteger(),
    },
)
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
    bring_queues_of_agents(connection, _agents, rows)
    bring_skills_of_agents(connection, _agents, rows)


@cache
def _merge_streams(dialect: str) -> Any:  # noqa: ANN401 (two dialects' Insert)
    return merged(dialect, streams, _streams, {name: _streams.c[name] for name in ("org_id", "name")})


@cache
def _merge_queues(dialect: str) -> Any:  # noqa: ANN401
    new = _queues.c
    values = {
        "org_id": new.org_id,
        "name": new.name,
        "profile": func.coalesce(new.profile, queues.c.profile, _EMPTY),
        "created_at": new.at,
        "updated_at": new.at,
    }
    return merged(dialect, queues, _queues, values, kept=("created_at",), stamped=("updated_at",))


@cache
def _merge_sessions(dialect: str) -> Any:  # noqa: ANN401
    new = _sessions.c
    values = {
        "stream_id": new.stream_id,
        "org_id": new.org_id,
        **{name: func.coalesce(new[name], sessions.c[name]) for name in ("source", "language", "profile")},
        "state": literal(SessionState.BOT.value),
        "version": literal(0, BigInteger),
        "conversation_id": new.conversation_id,
        "opened_at": new.opened_at,
    }
    return merged(dialect, sessions, _sessions, values, kept=("state", "version", "conversation_id", "opened_at"))


@cache
def _merge_agents(dialect: str) -> Any:  # noqa: ANN401
    new, old = _agents.c, agents.c
    was_online = and_(old.status != _OFFLINE, func.coalesce(old.status_expires_at > new.at, true()))
    is_online = and_(new.status != _OFFLINE, func.coalesce(new.status_expires_at > new.at, true()))
    values = {
        **{name: new[name] for name in _SAID_OF_AGENTS},
        "status": func.coalesce(new.status, old.status, _OFFLINE),
        "status_expires_at": case((new.status.is_(None), old.status_expires_at), else_=new.status_expires_at),
        "profile": func.coalesce(new.profile, old.profile, _EMPTY),
        "created_at": new.at,
        "updated_at": new.at,
        "last_online_at": case((and_(is_online, was_online.is_not(true())), new.at), else_=old.last_online_at),
    }
    return merged(dialect, agents, _agents, values, kept=("created_at",), stamped=("updated_at",))


@cache
def _lock(table: Table, staged: Staged) -> Executable:
    """The rows that may be renewed, locked in the order of keys, so that what is read of them stays true."""
    keys = list(table.primary_key)
    wanted = select(*keys).join_from(staged.table, table, same_key(table, staged)).order_by(*keys)
    return wanted.with_for_update(of=table, key_share=True)
