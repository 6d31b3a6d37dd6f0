"""The part of the composition root that brings a store to this version's tables."""

from handoff.outboxes import open_store, require_store
from handoff.settings import Settings
from handoff.store.engine import is_sqlite
from handoff.store.upgrade import migrate


def prepare_store(settings: Settings) -> None:
    """Make the store usable: the embedded one is migrated, PostgreSQL must have been. Raises StoreError."""
    if is_sqlite(settings.database_url):
        migrate_store(settings)
    else:
        require_store(settings)


def migrate_store(settings: Settings) -> tuple[str | None, str]:
    """Bring the store to this version's revision; the revisions before and after. Raises StoreError."""
    engine = open_store(settings, is_patient=True)
    try:
        return migrate(engine)
    finally:
        engine.dispose()
