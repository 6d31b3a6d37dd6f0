"""The store's parts on a fresh store of each kind, as the composition root puts them together."""

from collections.abc import Iterator

import pytest

from handoff import Settings, load_directory
from handoff.service.callbacks import CallbackStore
from handoff.service.ports import TransferStore
from handoff.store.audit import SqlAudit
from handoff.store.outbox import SqlOutbox
from handoff.stores import open_audit, open_callbacks, open_outbox, open_transfer_store
from rigs import sample


@pytest.fixture
def stored(database_url: str) -> Settings:
    """Settings that name a prepared store with the sample's directory."""
    settings = Settings(database_url=database_url)
    load_directory(settings, sample.directory())
    return settings


@pytest.fixture
def transfers(stored: Settings) -> Iterator[TransferStore]:
    store = open_transfer_store(stored)
    yield store
    store.close()


@pytest.fixture
def outbox(stored: Settings) -> Iterator[SqlOutbox]:
    store = open_outbox(stored)
    yield store
    store.close()


@pytest.fixture
def audit(stored: Settings) -> Iterator[SqlAudit]:
    store = open_audit(stored)
    yield store
    store.close()


@pytest.fixture
def callbacks(stored: Settings) -> Iterator[CallbackStore]:
    store = open_callbacks(stored).store
    yield store
    store.close()
