"""The revision of the tables: which one this code needs, which one a store has, and the way from one to the other."""

from pathlib import Path
from typing import Final

from alembic import command
from alembic.config import Config
from sqlalchemy import Connection, Engine, inspect, text

from handoff.service.ports import StoreError
from handoff.store.errors import translated

# The newest file of `migrations/versions`; a test holds the two together.
REVISION: Final = "0003"

# Any constant will do, so long as no other program on the same server uses it for its advisory locks.
_MIGRATION_LOCK: Final = 4_851_001


class WrongRevision(StoreError):  # noqa: N818
    """The store has revision {found}, this version of Handoff needs {needed}."""

    def __init__(self, found: str | None) -> None:
        had = f"is at revision {found}" if found else "has no Handoff tables"
        super().__init__(f"the store {had}, this version needs {REVISION}: run `handoff migrate`")
        self.found = found
        self.needed = REVISION


def migrate(engine: Engine) -> tuple[str | None, str]:
    """Bring the store to REVISION, one migrator at a time; the revision before and after."""
    with translated(), engine.begin() as connection:
        if connection.dialect.name == "postgresql":
            connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _MIGRATION_LOCK})
        before = found_revision(connection)
        if before != REVISION:
            config = Config()
            config.set_main_option("script_location", str(Path(__file__).parent / "migrations").replace("%", "%%"))
            config.attributes["connection"] = connection
            command.upgrade(config, REVISION)
    return before, REVISION


def require_revision(connection: Connection) -> None:
    """Raise WrongRevision unless the store has the tables that this code was written for."""
    found = found_revision(connection)
    if found != REVISION:
        raise WrongRevision(found)


def found_revision(connection: Connection) -> str | None:
    """The store's revision; None where it has no tables of ours."""
    if not inspect(connection).has_table("alembic_version"):
        return None
    revision: str | None = connection.scalar(text("SELECT version_num FROM alembic_version"))
    return revision
