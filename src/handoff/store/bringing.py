"""Bringing a directory in, a transaction for each batch of rows of one section."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from operator import itemgetter
from typing import Final

from sqlalchemy import Connection, Engine, Table

from handoff.service.importing import FreshSecret
from handoff.service.ports import Unwritable
from handoff.store.apps import bring_apps
from handoff.store.engine import ThreadConnection
from handoff.store.incoming import bring_agents, bring_queues, bring_sessions, bring_streams
from handoff.store.sealing import Seals
from handoff.store.staging import Row, look_at
from handoff.store.tables import agent_skills, agents, apps, metadata, queue_agents, queues, sessions, streams

_BRING: Final[Mapping[Table, Callable[[Connection, Sequence[Row]], None]]] = {
    streams: bring_streams,
    queues: bring_queues,
    agents: bring_agents,
    sessions: bring_sessions,
}

_FILLED_WITH: Final = {agents: (queue_agents, agent_skills)}
# Rows of a section after which the database is told for the first time to look at its tables.
_FIRST_LOOK: Final = 1_000

# What is wrong with a row that breaks a rule.
_BROKEN: Final = {
    "apps_app_id": "appId: another account has an app with this id",
    "agents_user": "userId: another agent of the org has it",
    "agents_email": "emailId: another agent of the org has it",
    "sessions_conversation": "conversationId: another session of the account has it",
}
# SQLite tells a rule of uniqueness by its columns, PostgreSQL by its name.
_NAMES: Final = {
    ", ".join(f"{table.name}.{column.name}" for column in index.columns): index.name
    for table in metadata.sorted_tables
    for index in table.indexes
    if index.unique
}


class SqlDirectoryWriter:
    """See `handoff.service.importing.DirectoryWriter`. Used from one thread."""

    def __init__(self, engine: Engine, seals: Seals, fresh_secret: Callable[[], str]) -> None:
        self._engine = engine
        self._connection = ThreadConnection(engine)
        self._seals = seals
        self._fresh_secret = fresh_secret
        self._brought = Counter[Table]()
        self._next_look = dict.fromkeys(_BRING, _FIRST_LOOK)

    def upsert(self, section: str, rows: Sequence[Row]) -> Sequence[FreshSecret]:
        """Insert the rows of one section, or renew what they say of rows that are there; the secrets that were made.

        Raises Unwritable, with a sentence about the row where only one is given.
        """
        table = metadata.tables[section]
        try:
            with self._connection.transaction() as connection:
                if table is apps:
                    return bring_apps(connection, self._seals, rows, self._fresh_secret)
                for part in _without_repeats(table, rows):
                    _BRING[table](connection, part)
            self._learn(table, len(rows))
        except Unwritable as error:
            rule = str(error.rule)
            raise Unwritable(_BROKEN.get(_NAMES.get(rule) or rule, str(error))) from error
        return ()

    def _learn(self, table: Table, count: int) -> None:
        """Have PostgreSQL look at tables that have grown to twice what they were when it last looked.

        It does so by itself within a minute. Until then it takes an index on the account for one that finds a row, and
        reads all of the account for each row of the batch.
        """
        self._brought[table] += count
        if self._brought[table] < self._next_look[table]:
            return
        self._next_look[table] = 2 * self._brought[table]
        with self._connection.transaction() as connection:
            if connection.dialect.name == "postgresql":
                look_at(connection, (table, *_FILLED_WITH.get(table, ())), self._brought[table])

    def close(self) -> None:
        """Let go of the connection."""
        self._connection.close()
        self._engine.dispose()


def _without_repeats(table: Table, rows: Sequence[Row]) -> Iterator[Sequence[Row]]:
    """The rows in parts in which no key stands twice: one statement cannot renew what it has just inserted."""
    key_of = itemgetter(*(column.name for column in table.primary_key))
    first, seen = 0, set[tuple[str, str]]()
    for place, row in enumerate(rows):
        key = key_of(row)
        if key in seen:
            yield rows[first:place]
            first = place
            seen.clear()
        seen.add(key)
    yield rows[first:]
