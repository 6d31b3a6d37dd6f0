"""The part of the composition root that brings a store to this version's tables.

Alembic is imported where a store has others: it takes a tenth of what a server needs, which it would hold for ever.
"""

from importlib import import_module

from handoff.outboxes import open_store, require_store
from handoff.settings import Settings
from handoff.store.engine import is_sqlite
from handoff.store.schema import WrongRevision


def prepare_store(settings: Settings) -> None:
    """Make the store usable: the embedded one is migrated, PostgreSQL must have been. Raises StoreError."""
    try:
        require_store(settings)
    except WrongRevision:
        if not is_sqlite(settings.database_url):
            raise
        migrate_store(settings)


def migrate_store(settings: Settings) -> tuple[str | None, str]:
    """Bring the store to this version's revision; the revisions before and after. Raises StoreError."""
    engine = open_store(settings, is_patient=True)
    try:
        before, after = import_module("handoff.store.upgrade").migrate(engine)
    finally:
        engine.dispose()
    return before, after
