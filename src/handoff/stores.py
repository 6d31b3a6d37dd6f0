"""The part of the composition root that opens stores: of the kind and with the keys that the settings name."""

from collections.abc import Callable
from typing import Final

from handoff.outboxes import batch_for, open_store
from handoff.service.agents import Agents
from handoff.service.apps import Apps
from handoff.service.callbacks import Callbacks
from handoff.service.conversations import Conversations
from handoff.service.history import History
from handoff.service.ports import TransferStore
from handoff.service.queues import Queues
from handoff.settings import Settings
from handoff.store.agents import SqlAgents
from handoff.store.apps import SqlApps
from handoff.store.audit import SqlAudit
from handoff.store.bringing import SqlDirectoryWriter
from handoff.store.callbacks import SqlCallbacks
from handoff.store.conversations import SqlConversations
from handoff.store.directory import SqlDirectory
from handoff.store.engine import is_sqlite, open_reader, open_writer
from handoff.store.errors import translated
from handoff.store.events import SqlFeed
from handoff.store.export import SqlExport
from handoff.store.history import SqlHistory
from handoff.store.queues import SqlQueues
from handoff.store.schema import require_revision
from handoff.store.sealing import Seals
from handoff.store.streams import SqlStreams
from handoff.store.transfers import SqlTransferStore
from handoff.store.used_tokens import SqlUsedTokens
from handoff.system import SystemClock, SystemIds, fresh_secret

_DAY_MS: Final = 86_400_000


def open_transfer_store(settings: Settings) -> TransferStore:
    """The store that the committer writes to: a commit there is on disk."""
    engine = open_writer(settings.database_url, durability="FULL", prepare=settings.database_prepare)
    return SqlTransferStore(engine, batch_for(settings))


def open_directory(settings: Settings) -> SqlDirectory:
    """The stored apps and streams, for reading."""
    reader = open_reader(settings.database_url, prepare=settings.database_prepare)
    return SqlDirectory(reader, batch_for(settings), open_seals(settings))


def open_directory_writer(settings: Settings) -> SqlDirectoryWriter:
    """Where a directory file is brought in.

    Its statements are planned anew each time: what was good for a table that is empty is very bad for a large one.
    """
    return SqlDirectoryWriter(open_writer(settings.database_url, prepare=False), open_seals(settings), fresh_secret)


def open_export(settings: Settings, *, with_secrets: bool) -> SqlExport:
    """Where a directory is read out."""
    reader = open_reader(settings.database_url, prepare=settings.database_prepare, is_patient=True)
    return SqlExport(reader, open_seals(settings), with_secrets=with_secrets)


def open_apps(settings: Settings) -> Apps:
    """The stored apps, to look at and to change."""
    return Apps(store=SqlApps(open_store(settings), open_seals(settings)), fresh_secret=fresh_secret)


def open_streams(settings: Settings) -> SqlStreams:
    """The stored streams, to look at and to change."""
    return SqlStreams(open_store(settings, is_patient=True))


def open_feed(settings: Settings) -> SqlFeed:
    """The stored events, for reading."""
    return SqlFeed(open_reader(settings.database_url, prepare=settings.database_prepare), batch_for(settings))


def open_agents(settings: Settings, *, changed: Callable[[], object] = lambda: None) -> tuple[Agents, Queues]:
    """The stored agents and queues, which share their connections; closing the one store closes both.

    `changed` is called after every change that is an event.
    """
    reader = open_reader(settings.database_url, prepare=settings.database_prepare)
    # PostgreSQL takes changes over the connections of reads; SQLite's must begin with the write lock.
    writer = open_store(settings) if is_sqlite(settings.database_url) else reader
    clock, ids = SystemClock(), SystemIds()
    agents = Agents(store=SqlAgents(reader, writer, batch_for(settings)), clock=clock, ids=ids, changed=changed)
    return agents, Queues(store=SqlQueues(reader, writer), clock=clock, ids=ids)


def open_callbacks(settings: Settings, *, wake: Callable[[], object] = lambda: None) -> Callbacks:
    """The stored callbacks, to look at and to set going again; `wake` is called when some are due."""
    reader = open_reader(settings.database_url, prepare=settings.database_prepare)
    return Callbacks(store=SqlCallbacks(reader, open_store(settings)), clock=SystemClock(), wake=wake)


def open_audit(settings: Settings) -> SqlAudit:
    """The store's auditor. Raises StoreError where the store has another revision."""
    reader = open_reader(settings.database_url, prepare=settings.database_prepare, is_patient=True)
    with translated(), reader.connect() as connection:
        require_revision(connection)
    kept_ms = round(min(settings.retention_delivered_days, settings.retention_dead_days) * _DAY_MS)
    writer = open_store(settings, is_patient=True)
    return SqlAudit(reader, writer, kept_since=SystemClock().now_ms() - kept_ms, seals=open_seals(settings))


def open_conversations(settings: Settings) -> tuple[Conversations, History]:
    """The stored conversations and transfers, to look at; closing the one store closes both."""
    reader = open_reader(settings.database_url, prepare=settings.database_prepare)
    return Conversations(store=SqlConversations(reader)), History(store=SqlHistory(reader))


def open_used_tokens(settings: Settings) -> SqlUsedTokens:
    """The store of used tokens: a use is on disk before its call is served."""
    return SqlUsedTokens(open_store(settings))


def open_seals(settings: Settings) -> Seals:
    """What apps' secrets are sealed with in the store."""
    return Seals([key.get_secret_value() for key in settings.secret_keys])
