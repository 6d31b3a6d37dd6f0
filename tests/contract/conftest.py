"""The store's parts on a fresh store of each kind, as the composition root puts them together."""

from collections.abc import Iterator
from dataclasses import replace

import pytest

from fakes import FakeClock, FakeIds
from handoff import Settings
from handoff.outboxes import open_outbox
from handoff.service.agents import Agents
from handoff.service.callbacks import CallbackStore
from handoff.service.ports import TransferStore
from handoff.service.queues import Queues
from handoff.store.audit import SqlAudit
from handoff.store.outbox import SqlOutbox
from handoff.stores import open_agents, open_audit, open_callbacks, open_transfer_store
from rigs.statements import heard, strays
from rigs.tables import Tables


@pytest.fixture(autouse=True)
def every_statement_names_the_account() -> Iterator[None]:
    """Whatever the store says in a test, but for what is of all accounts by its nature."""
    with heard() as found:
        yield
    assert strays(found.statements) == set()


@pytest.fixture
def stored(loaded_url: str) -> Settings:
    """Settings that name a prepared store with the sample's directory."""
    return Settings(database_url=loaded_url)


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


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def directory(stored: Settings, clock: FakeClock) -> Iterator[tuple[Agents, Queues]]:
    """The use cases of agents and queues, on a clock that stands still."""
    agents, queues = open_agents(stored)
    ids = FakeIds()
    yield replace(agents, clock=clock, ids=ids), replace(queues, clock=clock, ids=ids)
    agents.store.close()


@pytest.fixture
def agents(directory: tuple[Agents, Queues]) -> Agents:
    return directory[0]


@pytest.fixture
def queues(directory: tuple[Agents, Queues]) -> Queues:
    return directory[1]


@pytest.fixture
def tables(stored: Settings) -> Iterator[Tables]:
    """The rows themselves."""
    opened = Tables(stored.database_url)
    yield opened
    opened.close()
