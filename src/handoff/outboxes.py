"""The part of the composition root that opens what a dispatcher needs of the store, and loads nothing more of it."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from sqlalchemy import Engine

from handoff.service.retention import Retention
from handoff.settings import Settings
from handoff.store.batch import Batch
from handoff.store.batch_postgres import PostgresBatch
from handoff.store.batch_sqlite import SqliteBatch
from handoff.store.engine import is_sqlite, open_writer
from handoff.store.errors import translated
from handoff.store.outbox import SqlOutbox
from handoff.store.retention import SqlRetention
from handoff.store.schema import require_revision
from handoff.system import SystemClock

_DAY_MS: Final = 86_400_000


def require_store(settings: Settings) -> None:
    """See to it that the store has this version's tables. Raises StoreError."""
    engine = open_store(settings)
    try:
        with translated(), engine.connect() as connection:
            require_revision(connection)
    finally:
        engine.dispose()


def open_outbox(settings: Settings) -> SqlOutbox:
    """The store that a dispatcher works on. What it loses with the power is posted again, which it may be."""
    engine = open_writer(settings.database_url, durability="NORMAL", prepare=settings.database_prepare)
    return SqlOutbox(engine, batch_for(settings))


@contextmanager
def retaining(settings: Settings) -> Iterator[Retention]:
    """The purge of callbacks that are over, of old events and of ended tokens, as the settings say."""
    store = SqlRetention(open_store(settings))
    yield Retention(
        store=store,
        clock=SystemClock(),
        delivered_ms=round(settings.retention_delivered_days * _DAY_MS),
        dead_ms=round(settings.retention_dead_days * _DAY_MS),
        events_ms=round(settings.retention_events_days * _DAY_MS),
    )
    store.close()


def open_store(settings: Settings, *, is_patient: bool = False) -> Engine:
    """An engine for one thread that writes. `is_patient` is for an operator's long work."""
    return open_writer(settings.database_url, prepare=settings.database_prepare, is_patient=is_patient)


def batch_for(settings: Settings) -> Batch:
    """The dialect seam for the store that the settings name."""
    return SqliteBatch() if is_sqlite(settings.database_url) else PostgresBatch()
