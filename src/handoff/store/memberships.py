"""Which queues agents serve and which skills they have, as the rows of a directory list them."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cache
from operator import itemgetter
from typing import Any, Final

from sqlalchemy import Boolean, Connection, Table, Text, and_, bindparam, delete, select

from handoff.service.ports import Unwritable
from handoff.store.staging import Row, Staged, merged
from handoff.store.tables import agent_skills, queue_agents, queues

_members: Final = Staged(
    "queue_agents", {"account_id": Text(), "queue_id": Text(), "agent_id": Text(), "is_preferred": Boolean()}
)
_skills: Final = Staged("agent_skills", {"account_id": Text(), "agent_id": Text(), "skill_id": Text()})
_wanted: Final = Staged("wanted_queues", {"account_id": Text(), "org_id": Text(), "queue_id": Text()})


def bring_queues_of_agents(connection: Connection, agents: Staged, rows: Sequence[Row]) -> None:
    """Have each of these agents in exactly the queues that its row lists; None lists nothing. Raises Unwritable."""
    listed = [row for row in rows if row["queues"] is not None]
    if listed:
        _require_queues(connection, listed)
        wanted = (
            {**_key(row), "queue_id": queue, "is_preferred": is_preferred}
            for row in listed
            for queue, is_preferred in row["queues"].items()
        )
        _have_exactly(connection, queue_agents, _members, _known(connection, queue_agents, agents, listed), wanted)


def bring_skills_of_agents(connection: Connection, agents: Staged, rows: Sequence[Row]) -> None:
    """Have each of these agents with exactly the skills that its row lists; None lists nothing."""
    listed = [row for row in rows if row["skills"] is not None]
    if listed:
        wanted = ({**_key(row), "skill_id": skill} for row in listed for skill in row["skills"])
        _have_exactly(connection, agent_skills, _skills, _known(connection, agent_skills, agents, listed), wanted)


def _key(row: Row) -> dict[str, str]:
    return {"account_id": row["account_id"], "agent_id": row["agent_id"]}


def _require_queues(connection: Connection, rows: Sequence[Row]) -> None:
    named = {(row["account_id"], row["org_id"], queue) for row in rows for queue in row["queues"]}
    _wanted.fill(connection, (dict(zip(("account_id", "org_id", "queue_id"), one, strict=True)) for one in named))
    unknown = connection.execute(_unknown).first()
    if unknown is not None:
        raise Unwritable(f"queues: org {unknown.org_id} has no queue {unknown.queue_id}")


def _have_exactly(
    connection: Connection, table: Table, staged: Staged, known: Iterable[Row], wanted: Iterable[Row]
) -> None:
    """Of the rows that are known keep those that are wanted, and add the others: what is right is left untouched."""
    key_of: Callable[[Row], tuple[str, ...]] = itemgetter(*(column.name for column in table.primary_key))
    before = {key_of(row): row for row in known}
    after = {key_of(row): row for row in wanted}
    gone = [row for key, row in before.items() if key not in after]
    new = [row for key, row in after.items() if before.get(key) != row]
    if gone:
        connection.execute(_delete(table), [{f"the_{name}": value for name, value in row.items()} for row in gone])
    if new:
        staged.fill(connection, new)
        connection.execute(_merge(connection.dialect.name, table, staged))


def _known(connection: Connection, table: Table, of: Staged, agents: Sequence[Row]) -> Iterator[Row]:
    """What the table has of these agents, who are among those that have been staged."""
    listed = {(row["account_id"], row["agent_id"]) for row in agents}
    for row in connection.execute(_of_agents(table, of)).mappings():
        if (row["account_id"], row["agent_id"]) in listed:
            yield dict(row)


@cache
def _of_agents(table: Table, of: Staged) -> Any:  # noqa: ANN401 (Select of the table's columns)
    """Read from the staged agents on, as an outer join must be: nobody reads all that the accounts have."""
    is_theirs = and_(table.c.account_id == of.c.account_id, table.c.agent_id == of.c.agent_id)
    return select(table).join_from(of.table, table, is_theirs, isouter=True)


@cache
def _delete(table: Table) -> Any:  # noqa: ANN401 (Delete)
    return delete(table).where(*(column == bindparam(f"the_{column.name}") for column in table.primary_key))


@cache
def _merge(dialect: str, table: Table, staged: Staged) -> Any:  # noqa: ANN401 (two dialects' Insert)
    return merged(dialect, table, staged, {one.name: staged.c[one.name] for one in table.c if not one.primary_key})


_unknown: Final = (
    select(_wanted.c.org_id, _wanted.c.queue_id)
    .join_from(
        _wanted.table,
        queues,
        and_(*(queues.c[name] == _wanted.c[name] for name in ("account_id", "queue_id", "org_id"))),
        isouter=True,
    )
    .where(queues.c.queue_id.is_(None))
    .limit(1)
)
