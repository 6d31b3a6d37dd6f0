"""Apps and streams as the front door reads them."""

import logging
from collections.abc import Collection, Mapping
from typing import Any, Final

from sqlalchemy import Engine, Select, Text, any_, bindparam, select
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.engine import RowMapping

from handoff.domain.model import App, Stream
from handoff.service.ports import StreamKey
from handoff.store.batch import Batch
from handoff.store.errors import translated
from handoff.store.schema import require_revision
from handoff.store.sealing import SETTING, Seals, Unopenable
from handoff.store.tables import apps, streams

log = logging.getLogger(__name__)

# PostgreSQL gets one array, so that its statement is one, and prepared, for any number of ids.
_WANTED: Final[Mapping[str, Select[Any]]] = {
    "sqlite": select(apps).where(apps.c.app_id.in_(bindparam("apps", expanding=True))),
    "postgresql": select(apps).where(apps.c.app_id == any_(bindparam("apps", type_=ARRAY(Text)))),
}


class SqlDirectory:
    """See `handoff.service.ports.DirectoryStore`. Used from any thread."""

    def __init__(self, engine: Engine, batch: Batch, seals: Seals) -> None:
        self._engine = engine
        self._batch = batch
        self._seals = seals

    def find_app(self, app_id: str) -> App | None:
        """The app with this id, of whatever account. Raises Unopenable where no key opens its secrets."""
        found = self.find_apps([app_id]).get(app_id)
        if isinstance(found, Unopenable):
            raise found
        return found

    def find_apps(self, app_ids: Collection[str]) -> Mapping[str, App | Unopenable]:
        """The apps with these ids, of whatever account; for one whose secrets no key opens, the error."""
        with translated(), self._engine.connect() as connection:
            wanted = _WANTED[connection.dialect.name]
            rows = connection.execute(wanted, {"apps": list(app_ids)}).mappings().all()
        return {row["app_id"]: self._opened(row) for row in rows}

    def find_streams(self, keys: Collection[StreamKey]) -> Mapping[StreamKey, Stream]:
        """Of these streams, each named with its account, those that are there."""
        with translated(), self._engine.connect() as connection:
            rows = self._batch.read(connection, tuple(streams.c), keys, lock=False)
        return {
            (account_id, stream_id): Stream(account_id=account_id, stream_id=stream_id, org_id=org_id, name=name)
            for account_id, stream_id, org_id, name in rows
        }

    def check_ready(self) -> None:
        """Raise StoreUnavailable or WrongRevision unless the store can serve this code."""
        with translated(), self._engine.connect() as connection:
            require_revision(connection)

    def close(self) -> None:
        """Let go of the connections."""
        self._engine.dispose()

    def _opened(self, row: RowMapping) -> App | Unopenable:
        account_id, app_id = row["account_id"], row["app_id"]
        try:
            secrets = tuple(self._seals.open(account_id, app_id, stored) for stored in row["secrets"])
        except Unopenable as error:
            log.warning("secrets cannot be opened", extra={"app_id": app_id, "setting": SETTING})
            return error
        return _app(row, secrets)


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
