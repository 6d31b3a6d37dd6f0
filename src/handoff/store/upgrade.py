"""The way from the tables that a store has to those that this code needs."""

from pathlib import Path
from typing import Final

from alembic import command
from alembic.config import Config
from sqlalchemy import Engine, text

from handoff.store.errors import translated
from handoff.store.schema import REVISION, found_revision

# Any constant will do, so long as no other program on the same server uses it for its advisory locks.
_MIGRATION_LOCK: Final = 4_851_001


def migrate(engine: Engine, *, to: str = REVISION) -> tuple[str | None, str]:
    """Bring the store to a revision, one migrator at a time; the revision before and after. Raises StoreError."""
    with translated(), engine.begin() as connection:
        if connection.dialect.name == "postgresql":
            connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _MIGRATION_LOCK})
        before = found_revision(connection)
        if before != to:
            config = Config()
            config.set_main_option("script_location", str(Path(__file__).parent / "migrations").replace("%", "%%"))
            config.attributes["connection"] = connection
            command.upgrade(config, to)
    return before, to
