"""Apps, streams, agents, queues and sessions outside of transfers: reading them, and bringing them in."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from sqlalchemy import Engine, Select, Table, and_, bindparam, case, func, literal, null, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import RowMapping

from handoff.domain.model import AgentStatus, App, Stream
from handoff.store import tables
from handoff.store.batch import Row
from handoff.store.errors import translated
from handoff.store.schema import require_revision

# What an import never touches in a row that is there already: who holds what is changed by transfers alone.
_KEPT: Final[Mapping[str, frozenset[str]]] = {
    "agents": frozenset({"created_at"}),
    "queues": frozenset({"created_at"}),
    "sessions": frozenset({"state", "version", "conversation_id", "opened_at"}),
}


class SqlDirectory:
    """See `handoff.service.ports.DirectoryStore`. Used from any thread."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def find_app(self, app_id: str) -> App | None:
        """The app with this id, of whatever account."""
        row = self._first(select(tables.apps).where(tables.apps.c.app_id == bindparam("app")), {"app": app_id})
        return None if row is None else _app(row)

    def find_stream(self, account_id: str, stream_id: str) -> Stream | None:
        """The stream, if the account has it."""
        streams = tables.streams
        wanted = select(streams).where(
            and_(streams.c.account_id == bindparam("account"), streams.c.stream_id == bindparam("stream"))
        )
        row = self._first(wanted, {"account": account_id, "stream": stream_id})
        return None if row is None else Stream(**row)

    def check_ready(self) -> None:
        """Raise StoreUnavailable or WrongRevision unless the store can serve this code."""
        with translated(), self._engine.connect() as connection:
            require_revision(connection)

    def close(self) -> None:
        """Let go of the connections."""
        self._engine.dispose()

    def _first(self, wanted: Select[Any], params: Row) -> RowMapping | None:
        with translated(), self._engine.connect() as connection:
            return connection.execute(wanted, params).mappings().first()


class SqlDirectoryWriter:
    """Brings rows of a directory in, a transaction for each call. Used from one thread."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def upsert(self, section: str, rows: Sequence[Row]) -> None:
        """Insert the rows of one table, all with the same columns, or renew what they say of rows that are there.

        An agent's status of None keeps the stored one. Raises Unwritable where the store refuses a row.
        """
        table = tables.metadata.tables[section]
        with translated(), self._engine.begin() as connection:
            connection.execute(_upsert(connection.dialect.name, table, tuple(rows[0])), list(rows))

    def close(self) -> None:
        """Let go of the connection."""
        self._engine.dispose()


def _upsert(dialect_name: str, table: Table, names: Sequence[str]) -> Any:  # noqa: ANN401 (two dialects' Insert)
    insert = postgresql.insert if dialect_name == "postgresql" else sqlite.insert
    given = {name: bindparam(name, type_=table.c[name].type) for name in names}
    inserted: dict[str, Any] = dict(given)
    renewed: dict[str, Any] = {
        name: value
        for name, value in given.items()
        if not table.c[name].primary_key and name not in _KEPT.get(table.name, ())
    }
    if table is tables.agents:
        inserted["status"] = func.coalesce(given["status"], literal(AgentStatus.OFFLINE.value))
        renewed["status"] = func.coalesce(given["status"], table.c.status)
        renewed["status_expires_at"] = case((given["status"].is_(None), table.c.status_expires_at), else_=null())
    return insert(table).values(inserted).on_conflict_do_update(index_elements=list(table.primary_key), set_=renewed)


def _app(row: RowMapping) -> App:
    return App(
        account_id=row["account_id"],
        app_id=row["app_id"],
        name=row["name"],
        secrets=tuple(row["secrets"]),
        public_keys=tuple(row["public_keys"]),
        algorithms=tuple(row["algorithms"]),
        scopes=frozenset(row["scopes"]),
        streams=None if row["streams"] == "*" else frozenset(row["streams"]),
        require_exp=row["require_exp"],
        require_jti=row["require_jti"],
        is_enabled=row["is_enabled"],
    )
