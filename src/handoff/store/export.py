"""Reading a directory out: a page at a time by primary key, all as of one moment."""

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from typing import Any, Final

from sqlalchemy import Column, Connection, Engine, Select, Table, bindparam, select

from handoff.store.accounts import accounts_in
from handoff.store.errors import translated
from handoff.store.sealing import Seals
from handoff.store.tables import agent_skills, agents, apps, metadata, queue_agents, queues, sessions, streams

_PAGE: Final = 1_000

# What the file has of each table, the id after the account first.
_COLUMNS: Final[Mapping[Table, Sequence[Column[Any]]]] = {
    apps: [apps.c.app_id, *(column for column in apps.c if not column.primary_key)],
    streams: [streams.c.stream_id, streams.c.org_id, streams.c.name],
    queues: [queues.c.queue_id, queues.c.org_id, queues.c.name, queues.c.profile],
    agents: [
        agents.c[name]
        for name in (
            *("agent_id", "user_id", "org_id", "first_name", "last_name", "email_id", "custom_id", "max_sessions"),
            *("status", "status_expires_at", "profile"),
        )
    ],
    sessions: [
        sessions.c[name]
        for name in (
            *("session_id", "stream_id", "org_id", "conversation_id", "source", "language", "opened_at", "profile"),
        )
    ],
}

Row = Mapping[str, Any]


class SqlExport:
    """Reads the directory of the store, apps' secrets only where they are asked for."""

    def __init__(self, engine: Engine, seals: Seals, *, with_secrets: bool) -> None:
        self._engine = engine
        self._seals = seals
        self._with_secrets = with_secrets

    @contextmanager
    def snapshot(self) -> Iterator["Snapshot"]:
        """The directory as of one moment, while the service goes on."""
        with translated(), self._engine.connect() as connection:
            if connection.dialect.name == "postgresql":
                connection.execution_options(isolation_level="REPEATABLE READ")
            with connection.begin():
                yield Snapshot(connection, self._secrets_of)

    def close(self) -> None:
        """Let go of the connections."""
        self._engine.dispose()

    def _secrets_of(self, row: Row) -> Sequence[str] | None:
        if not self._with_secrets:
            return None
        return [self._seals.open(row["account_id"], row["app_id"], stored) for stored in row["secrets"]]


class Snapshot:
    """See `handoff.service.exporting.DirectoryReader`."""

    def __init__(self, connection: Connection, secrets_of: Callable[[Row], Sequence[str] | None]) -> None:
        self._connection = connection
        self._secrets_of = secrets_of

    def rows(self, section: str, account_id: str | None) -> Iterator[Row]:
        """The rows of one section, of an account or of all, in the order of their keys."""
        table = metadata.tables[section]
        for account in accounts_in(self._connection, table, account_id):
            after = ""
            while True:
                page = self._read(_page(table), {"account": account, "after": after, "rows": _PAGE})
                self._complete(table, page, after)
                yield from page
                if len(page) < _PAGE:
                    break
                after = page[-1][_id_of(table).name]

    def _read(self, wanted: Select[Any], params: Row) -> list[dict[str, Any]]:
        found = self._connection.execute(wanted, params)
        names = tuple(found.keys())
        return [dict(zip(names, row, strict=True)) for row in found]

    def _complete(self, table: Table, page: Sequence[dict[str, Any]], after: str) -> None:
        """Put in what stands in other tables, and leave out what is not for everyone. An empty profile is none."""
        if table is apps:
            for row in page:
                row["secrets"] = self._secrets_of(row)
        if "profile" in table.c:
            for row in page:
                row["profile"] = row["profile"] or None
        if table is agents and page:
            between = {"account": page[0]["account_id"], "after": after, "last": page[-1]["agent_id"]}
            queues_of, skills_of = self._by_agent(_members, between), self._by_agent(_skills, between)
            for row in page:
                row["queues"] = [(one["queue_id"], one["is_preferred"]) for one in queues_of[row["agent_id"]]]
                row["skills"] = [one["skill_id"] for one in skills_of[row["agent_id"]]]

    def _by_agent(self, wanted: Select[Any], between: Row) -> Mapping[str, Sequence[Row]]:
        found = defaultdict[str, list[Row]](list)
        for row in self._read(wanted, between):
            found[row["agent_id"]].append(row)
        return found


def _id_of(table: Table) -> Column[Any]:
    return _COLUMNS[table][0]


@cache
def _page(table: Table) -> Select[Any]:
    wanted = select(table.c.account_id, *_COLUMNS[table]).where(
        table.c.account_id == bindparam("account"), _id_of(table) > bindparam("after")
    )
    if table is sessions:
        wanted = wanted.where(sessions.c.state != "closed")
    return wanted.order_by(_id_of(table)).limit(bindparam("rows"))


def _of_agents(table: Table) -> Select[Any]:
    """What the table has of the agents of one page."""
    return (
        select(table)
        .where(
            table.c.account_id == bindparam("account"),
            table.c.agent_id > bindparam("after"),
            table.c.agent_id <= bindparam("last"),
        )
        .order_by(*table.primary_key)
    )


_members: Final = _of_agents(queue_agents)
_skills: Final = _of_agents(agent_skills)
