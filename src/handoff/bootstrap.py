"""The composition root: who is wired to whom, and the order of start and stop."""

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from functools import lru_cache, partial
from typing import TYPE_CHECKING, Final, cast

from fastapi import FastAPI
from sqlalchemy import Engine

from handoff import __version__
from handoff.api.app import build_app
from handoff.api.auth import Authenticator
from handoff.api.directory_schemas import Stamp, to_row
from handoff.api.services import Services
from handoff.delivery.sender import HttpSender, SenderOptions
from handoff.delivery.signature import Signer, app_secret, parse_secret, show_secret
from handoff.domain.address_policy import AddressRules, refuse_url
from handoff.domain.rules import Reassign
from handoff.limiting import checking_tokens, limiting, require_rate_store
from handoff.metering import metering
from handoff.service.callbacks import Callbacks
from handoff.service.committer import Committer
from handoff.service.directory import Directory
from handoff.service.directory_file import Entry
from handoff.service.dispatcher import Dispatcher, DispatchLimits
from handoff.service.importing import ImportReport, import_entries
from handoff.service.meter import UNMEASURED, Meter
from handoff.service.outcomes import Answer, Moved, Request, Settled
from handoff.service.ports import TransferStore
from handoff.service.rates import Budgets
from handoff.service.retention import Retention, purge_for_ever
from handoff.service.transfer import Transfers
from handoff.service.used_tokens import UsedTokens
from handoff.service.worker import Worker
from handoff.settings import Settings, SettingsError
from handoff.store.audit import SqlAudit
from handoff.store.batch import Batch, PostgresBatch, SqliteBatch
from handoff.store.callbacks import SqlCallbacks
from handoff.store.directory import SqlDirectory, SqlDirectoryWriter
from handoff.store.engine import is_sqlite, open_reader, open_writer
from handoff.store.errors import translated
from handoff.store.outbox import SqlOutbox
from handoff.store.retention import SqlRetention
from handoff.store.schema import migrate, require_revision
from handoff.store.transfers import SqlTransferStore
from handoff.store.wakeups import listening, notifying
from handoff.system import SystemChance, SystemClock, SystemIds
from handoff.telemetry.logs import Teller

if TYPE_CHECKING:
    from handoff.domain.lifecycle import Opened
    from handoff.domain.model import AssignRequest, MoveRequest, OpenRequest

_URLS_REMEMBERED: Final = 4_096
_READ_THREADS: Final = 2
_DAY_MS: Final = 86_400_000

# Past every bound that the store itself sets on a batch.
_BATCH_DEADLINE_S: Final = 20.0

OpenTransferStore = Callable[[Settings], TransferStore]


def create_app(
    settings: Settings | None = None,
    *,
    open_transfers: OpenTransferStore | None = None,
    metrics_port: socket.socket | None = None,
) -> FastAPI:
    """The whole service as an ASGI application; with no settings, those of the environment.

    Its work begins with the application's start (the ASGI lifespan). `open_transfers` is where another store of
    transfers can be put in; `metrics_port`, the socket of HANDOFF_METRICS_PORT where it is open already. Raises
    SettingsError.
    """
    chosen = settings or Settings.load()
    _signing_secrets(chosen)
    require_rate_store(chosen)
    return build_app(__version__, partial(_running, chosen, open_transfers or open_transfer_store, metrics_port))


def open_transfer_store(settings: Settings) -> TransferStore:
    """The store that the committer writes to: a commit there is on disk."""
    engine = open_writer(settings.database_url, durability="FULL", prepare=settings.database_prepare)
    return SqlTransferStore(engine, _batch(settings))


def open_outbox(settings: Settings) -> SqlOutbox:
    """The store that a dispatcher works on. What it loses with the power is posted again, which it may be."""
    engine = open_writer(settings.database_url, durability="NORMAL", prepare=settings.database_prepare)
    return SqlOutbox(engine, _batch(settings))


def prepare_store(settings: Settings) -> None:
    """Make the store usable: the embedded one is migrated, PostgreSQL must have been. Raises StoreError."""
    engine = _writer_engine(settings)
    try:
        if is_sqlite(settings.database_url):
            migrate(engine)
        else:
            with translated(), engine.connect() as connection:
                require_revision(connection)
    finally:
        engine.dispose()


def address_rules(settings: Settings) -> AddressRules:
    """The rules for callback URLs and for the addresses behind them."""
    return AddressRules(
        allow_loopback=settings.callback_policy == "development",
        allow_plain_http=settings.allows_plain_http,
        allow_nets=settings.callback_allow_nets,
        allow_hosts=tuple(host.lower() for host in settings.callback_allow_hosts),
        own_port=settings.port,
    )


@asynccontextmanager
async def dispatching(
    settings: Settings, *, executor: ThreadPoolExecutor | None = None, meter: Meter = UNMEASURED
) -> AsyncIterator[Dispatcher]:
    """A running dispatcher; its store work goes to `executor`, or to a thread of its own."""
    clock = SystemClock()
    async with AsyncExitStack() as stack:
        thread = executor or stack.enter_context(_threads(1, "outbox"))
        outbox = open_outbox(settings)
        stack.callback(lambda: thread.submit(outbox.close).result())
        options = SenderOptions(
            user_agent=f"Handoff/{__version__}",
            timeout_s=settings.callback_timeout_seconds,
            in_flight=settings.callback_in_flight,
            ca_file=settings.callback_ca_file,
        )
        signer = Signer(_signing_secrets(settings))
        sender = await stack.enter_async_context(HttpSender(address_rules(settings), signer, clock, options))
        dispatcher = Dispatcher(
            outbox,
            sender,
            executor=thread,
            clock=clock,
            ids=SystemIds(),
            chance=SystemChance(),
            limits=DispatchLimits(
                in_flight=settings.callback_in_flight,
                lease_ms=int(settings.callback_lease_seconds * 1_000),
                grace_s=settings.grace_seconds / 2,  # the other half is the server's, for requests under way
            ),
            meter=meter,
        )
        dispatcher.start()
        stack.push_async_callback(dispatcher.stop)
        stack.enter_context(_purging(settings, thread))
        if not is_sqlite(settings.database_url):
            await stack.enter_async_context(listening(settings.database_url, dispatcher.wake))
        yield dispatcher


@contextmanager
def _purging(settings: Settings, executor: ThreadPoolExecutor) -> Iterator[None]:
    with retaining(settings) as retention:
        purger = asyncio.get_running_loop().create_task(purge_for_ever(retention, executor), name="purger")
        yield
        purger.cancel()


@contextmanager
def retaining(settings: Settings) -> Iterator[Retention]:
    """The purge of callbacks that are over, as the settings say."""
    store = SqlRetention(_writer_engine(settings))
    yield Retention(
        store=store,
        clock=SystemClock(),
        delivered_ms=round(settings.retention_delivered_days * _DAY_MS),
        dead_ms=round(settings.retention_dead_days * _DAY_MS),
    )
    store.close()


@asynccontextmanager
async def _running(
    settings: Settings, open_transfers: OpenTransferStore, metrics_port: socket.socket | None
) -> AsyncIterator[Services]:
    """The service at work. On the way out the committer finishes first, so that its callbacks can still leave."""
    async with AsyncExitStack() as stack:
        writer = stack.enter_context(_threads(1, "committer"))
        reader = stack.enter_context(_threads(_READ_THREADS, "reader"))
        loop = asyncio.get_running_loop()
        await loop.run_in_executor(writer, prepare_store, settings)
        meter = await stack.enter_async_context(metering(settings, metrics_port))
        dispatcher = None
        if settings.dispatcher == "inline":
            # SQLite has one writer at a time: sharing its thread is better than waiting for its lock.
            shared = writer if is_sqlite(settings.database_url) else None
            dispatcher = await stack.enter_async_context(dispatching(settings, executor=shared, meter=meter))
        wake = await stack.enter_async_context(_waking(settings, dispatcher))
        committer = stack.enter_context(_committer(settings, open_transfers, writer, wake, meter))
        committer.start()
        stack.push_async_callback(committer.stop)
        directory = _directory(settings, reader, stack)
        callbacks = open_callbacks(settings, wake=partial(loop.call_soon_threadsafe, wake))
        stack.callback(callbacks.store.close)
        budgets = await stack.enter_async_context(limiting(settings, meter))
        used_tokens = await stack.enter_async_context(checking_tokens(settings, writer, meter))
        changer = Worker(writer if is_sqlite(settings.database_url) else reader)
        yield _services(
            settings, committer, dispatcher, directory, callbacks, budgets, used_tokens, Worker(reader), changer, meter
        )


@asynccontextmanager
async def _waking(settings: Settings, dispatcher: Dispatcher | None) -> AsyncIterator[Callable[[], None]]:
    """What to call when callbacks were written: it wakes this process's dispatcher, or those of others."""
    if dispatcher is not None:
        yield dispatcher.wake
    elif is_sqlite(settings.database_url):
        yield lambda: None
    else:
        async with notifying(settings.database_url) as notify:
            yield notify


@contextmanager
def _committer(
    settings: Settings,
    open_transfers: OpenTransferStore,
    writer: ThreadPoolExecutor,
    wake: Callable[[], None],
    meter: Meter,
) -> Iterator[Committer[Request, Settled]]:
    store = open_transfers(settings)
    transfers = Transfers(
        store, clock=SystemClock(), ids=SystemIds(), reassign=Reassign(settings.reassign), meter=meter
    )
    yield Committer(
        transfers.settle,
        executor=writer,
        queue_limit=settings.queue_limit,
        batch_limit=settings.batch_limit,
        patience_s=settings.patience_seconds,
        deadline_s=_BATCH_DEADLINE_S,
        after_commit=wake,
        abort=store.abort,
        meter=meter,
    )
    writer.submit(store.close).result()


def _directory(settings: Settings, reader: ThreadPoolExecutor, stack: AsyncExitStack) -> Directory:
    store = open_directory(settings)
    stack.callback(store.close)
    # A token may be trusted on a directory entry that is about to lapse: each gets half of the whole.
    return Directory(store, worker=Worker(reader), trust_s=settings.token_cache_seconds / 2)


def _services(
    settings: Settings,
    committer: Committer[Request, Settled],
    dispatcher: Dispatcher | None,
    directory: Directory,
    callbacks: Callbacks,
    budgets: Budgets | None,
    used_tokens: UsedTokens,
    reader: Worker,
    writer: Worker,
    meter: Meter,
) -> Services:
    async def check_ready() -> dict[str, str | None]:
        checks = {"store": await directory.problem(), "committer": None if committer.is_alive else "stopped"}
        if dispatcher is not None:
            checks["dispatcher"] = None if dispatcher.is_alive else "stopped"
        return checks

    return Services(
        # One committer takes every kind of request; what each kind comes to, `Ledger.settle` tells.
        assign=cast("Callable[[AssignRequest], Awaitable[Answer]]", committer.submit),
        open_session=cast("Callable[[OpenRequest], Awaitable[Opened]]", committer.submit),
        move_session=cast("Callable[[MoveRequest], Awaitable[Moved]]", committer.submit),
        authenticator=Authenticator(
            directory, SystemClock(), trust_s=settings.token_cache_seconds / 2, leeway_s=settings.token_leeway_seconds
        ),
        directory=directory,
        callbacks=callbacks,
        budgets=budgets,
        used_tokens=used_tokens,
        reader=reader,
        writer=writer,
        ids=SystemIds(),
        refuse_callback_url=lru_cache(_URLS_REMEMBERED)(partial(refuse_url, rules=address_rules(settings))),
        check_ready=check_ready,
        meter=meter,
        tell=Teller(SystemClock()),
    )


def _batch(settings: Settings) -> Batch:
    return SqliteBatch() if is_sqlite(settings.database_url) else PostgresBatch()


def _signing_secrets(settings: Settings) -> list[bytes]:
    if settings.callback_signing == "off":
        return []
    try:
        return [parse_secret(secret.get_secret_value()) for secret in settings.callback_secrets]
    except ValueError as error:
        raise SettingsError(f"HANDOFF_CALLBACK_SECRETS: {error}") from None


@contextmanager
def _threads(count: int, name: str) -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(count, thread_name_prefix=name) as executor:
        yield executor


def load_directory(settings: Settings, directory: Mapping[str, Sequence[Mapping[str, object]]]) -> None:
    """Bring a directory, of the shape of `handoff import`'s file, into the store that the settings name.

    For tests and small set-ups. Raises ValueError with a sentence for each row that cannot be taken.
    """
    found = (Entry(section, line=0, value=row) for section, rows in directory.items() for row in rows)
    report = import_directory(settings, found)
    if report.errors:
        raise ValueError("\n".join(sentence.removeprefix("line 0: ") for sentence in report.errors))


def import_directory(
    settings: Settings, found: Iterable[Entry], on_progress: Callable[[ImportReport], None] = lambda _report: None
) -> ImportReport:
    """Bring the entries of a directory file into the store. Raises StoreError and DirectoryFileError."""
    prepare_store(settings)
    clock = SystemClock()
    fresh = SystemIds()

    def stamped(entry: Entry) -> Mapping[str, object]:
        return to_row(entry, Stamp(fresh.fresh(), clock.now_ms()))

    writer = SqlDirectoryWriter(_writer_engine(settings))
    try:
        return import_entries(found, stamped, writer, on_progress)
    finally:
        writer.close()


def open_directory(settings: Settings) -> SqlDirectory:
    """The stored apps and streams, for reading."""
    return SqlDirectory(open_reader(settings.database_url, prepare=settings.database_prepare))


def open_callbacks(settings: Settings, *, wake: Callable[[], object] = lambda: None) -> Callbacks:
    """The stored callbacks, to look at and to set going again; `wake` is called when some are due."""
    reader = open_reader(settings.database_url, prepare=settings.database_prepare)
    return Callbacks(store=SqlCallbacks(reader, _writer_engine(settings)), clock=SystemClock(), wake=wake)


def open_audit(settings: Settings) -> SqlAudit:
    """The store's auditor. Raises StoreError where the store has another revision."""
    reader = open_reader(settings.database_url, prepare=settings.database_prepare, is_patient=True)
    with translated(), reader.connect() as connection:
        require_revision(connection)
    kept_ms = round(min(settings.retention_delivered_days, settings.retention_dead_days) * _DAY_MS)
    writer = _writer_engine(settings, is_patient=True)
    return SqlAudit(reader, writer, kept_since=SystemClock().now_ms() - kept_ms)


def migrate_store(settings: Settings) -> tuple[str | None, str]:
    """Bring the store to this version's revision; the revisions before and after. Raises StoreError."""
    engine = _writer_engine(settings, is_patient=True)
    try:
        return migrate(engine)
    finally:
        engine.dispose()


def app_callback_secrets(settings: Settings, app_id: str) -> list[str]:
    """What an app's receivers verify callbacks with, newest first, as `whsec_…`."""
    return [show_secret(app_secret(master, app_id)) for master in _signing_secrets(settings)]


def _writer_engine(settings: Settings, *, is_patient: bool = False) -> Engine:
    return open_writer(settings.database_url, prepare=settings.database_prepare, is_patient=is_patient)
