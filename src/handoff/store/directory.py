"""Apps and streams as the front door reads them."""

import logging
from typing import Any

from sqlalchemy import Engine, Select, and_, bindparam, select
from sqlalchemy.engine import RowMapping

from handoff.domain.model import App, Stream
from handoff.store import tables
from handoff.store.batch import Row
from handoff.store.errors import translated
from handoff.store.schema import require_revision
from handoff.store.sealing import SETTING, Seals, Unopenable

log = logging.getLogger(__name__)


class SqlDirectory:
    """See `handoff.service.ports.DirectoryStore`. Used from any thread."""

    def __init__(self, engine: Engine, seals: Seals) -> None:
        self._engine = engine
        self._seals = seals

    def find_app(self, app_id: str) -> App | None:
        """The app with this id, of whatever account. Raises Unopenable where no key opens its secrets."""
        row = self._first(select(tables.apps).where(tables.apps.c.app_id == bindparam("app")), {"app": app_id})
        if row is None:
            return None
        try:
            secrets = tuple(self._seals.open(row["account_id"], app_id, stored) for stored in row["secrets"])
        except Unopenable:
            log.warning("secrets cannot be opened", extra={"app_id": app_id, "setting": SETTING})
            raise
        return _app(row, secrets)

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


def _app(row: RowMapping, secrets: tuple[str, ...]) -> App:
    return App(
        account_id=row["account_id"],
        app_id=row["app_id"],
        name=row["name"],
        secrets=secrets,
        public_keys=tuple(row["public_keys"]),
        algorithms=tuple(row["algorithms"]),
        scopes=frozenset(row["scopes"]),
        streams=None if row["streams"] == "*" else frozenset(row["streams"]),
        require_exp=row["require_exp"],
        require_jti=row["require_jti"],
        is_enabled=row["is_enabled"],
    )
