"""The composition root: who is wired to whom, and the order of start and stop."""

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import TYPE_CHECKING, Final, cast

from fastapi import FastAPI

from handoff import __version__
from handoff.api.app import build_app
from handoff.api.auth import Authenticator
from handoff.api.services import Services
from handoff.dispatching import address_rules, dispatching, threads
from handoff.domain.address_policy import refuse_url
from handoff.domain.rules import Reassign
from handoff.feeding import Tellers, feeding, telling
from handoff.limiting import checking_tokens, limiting, require_rate_store
from handoff.metering import metering
from handoff.migrating import prepare_store
from handoff.service.committer import Committer
from handoff.service.directory import Directory
from handoff.service.dispatcher import Dispatcher
from handoff.service.following import Feed
from handoff.service.meter import Meter
from handoff.service.outcomes import Answer, Moved, Request, Settled
from handoff.service.ports import TransferStore
from handoff.service.rates import Budgets
from handoff.service.transfer import Transfers
from handoff.service.used_tokens import UsedTokens
from handoff.service.worker import Worker
from handoff.settings import Settings
from handoff.signing import signing_secrets
from handoff.store.engine import is_sqlite
from handoff.stores import open_agents, open_callbacks, open_conversations, open_directory, open_transfer_store
from handoff.system import SystemClock, SystemIds
from handoff.telemetry.logs import Teller

if TYPE_CHECKING:
    from handoff.domain.lifecycle import Opened
    from handoff.domain.model import AssignRequest, MoveRequest, OpenRequest

_URLS_REMEMBERED: Final = 4_096
_READ_THREADS: Final = 2

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
    signing_secrets(chosen)
    require_rate_store(chosen)
    return build_app(__version__, partial(_running, chosen, open_transfers or open_transfer_store, metrics_port))


@asynccontextmanager
async def _running(
    settings: Settings, open_transfers: OpenTransferStore, metrics_port: socket.socket | None
) -> AsyncIterator[Services]:
    """The service at work. On the way out the committer finishes first, so that its callbacks can still leave."""
    async with AsyncExitStack() as stack:
        writer = stack.enter_context(threads(1, "committer"))
        reader = stack.enter_context(threads(_READ_THREADS, "reader"))
        loop = asyncio.get_running_loop()
        await loop.run_in_executor(writer, prepare_store, settings)
        meter = await stack.enter_async_context(metering(settings, metrics_port))
        feed = await stack.enter_async_context(feeding(settings, meter))
        dispatcher = None
        if settings.dispatcher == "inline":
            # SQLite has one writer at a time: sharing its thread is better than waiting for its lock.
            shared = writer if is_sqlite(settings.database_url) else None
            dispatcher = await stack.enter_async_context(dispatching(settings, executor=shared, meter=meter))
        tell = await stack.enter_async_context(telling(settings, feed, dispatcher))
        committer = stack.enter_context(_committer(settings, open_transfers, writer, tell.both, meter))
        committer.start()
        stack.push_async_callback(committer.stop)
        parts = _Parts(
            settings=settings,
            committer=committer,
            dispatcher=dispatcher,
            feed=feed,
            tell=tell,
            budgets=await stack.enter_async_context(limiting(settings, meter)),
            used_tokens=await stack.enter_async_context(checking_tokens(settings, writer, meter)),
            reader=Worker(reader),
            writer=Worker(writer if is_sqlite(settings.database_url) else reader),
            meter=meter,
        )
        yield _services(parts, stack)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Parts:
    """What is at work while the service runs."""

    settings: Settings
    committer: Committer[Request, Settled]
    dispatcher: Dispatcher | None
    feed: Feed
    tell: Tellers
    budgets: Budgets | None
    used_tokens: UsedTokens
    reader: Worker
    writer: Worker
    meter: Meter


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


def _services(parts: _Parts, stack: AsyncExitStack) -> Services:
    settings = parts.settings
    in_loop = asyncio.get_running_loop().call_soon_threadsafe
    directory = _directory(parts, stack)
    callbacks = open_callbacks(settings, wake=partial(in_loop, parts.tell.callbacks))
    stack.callback(callbacks.store.close)
    conversations, history = open_conversations(settings)
    stack.callback(conversations.store.close)
    agents, queues = open_agents(settings, changed=partial(in_loop, parts.tell.events))
    stack.callback(agents.store.close)
    submit = parts.committer.submit
    return Services(
        # One committer takes every kind of request; what each kind comes to, `Ledger.settle` tells.
        assign=cast("Callable[[AssignRequest], Awaitable[Answer]]", submit),
        open_session=cast("Callable[[OpenRequest], Awaitable[Opened]]", submit),
        move_session=cast("Callable[[MoveRequest], Awaitable[Moved]]", submit),
        authenticator=Authenticator(
            directory,
            SystemClock(),
            elapsed_s=asyncio.get_running_loop().time,
            trust_s=settings.token_cache_seconds / 2,
            leeway_s=settings.token_leeway_seconds,
        ),
        directory=directory,
        agents=agents,
        queues=queues,
        callbacks=callbacks,
        conversations=conversations,
        history=history,
        feed=parts.feed,
        budgets=parts.budgets,
        used_tokens=parts.used_tokens,
        reader=parts.reader,
        writer=parts.writer,
        ids=SystemIds(),
        refuse_callback_url=lru_cache(_URLS_REMEMBERED)(partial(refuse_url, rules=address_rules(settings))),
        check_ready=partial(_check_ready, parts, directory),
        meter=parts.meter,
        tell=Teller(SystemClock()),
    )


def _directory(parts: _Parts, stack: AsyncExitStack) -> Directory:
    store = open_directory(parts.settings)
    stack.callback(store.close)
    # A token may be trusted on a directory entry that is about to lapse: each gets half of the whole.
    return Directory(store, worker=parts.reader, trust_s=parts.settings.token_cache_seconds / 2)


async def _check_ready(parts: _Parts, directory: Directory) -> dict[str, str | None]:
    checks = {
        "store": await directory.problem(),
        "committer": None if parts.committer.is_alive else "stopped",
        "feed": None if parts.feed.is_open else "stopped",
    }
    if parts.dispatcher is not None:
        checks["dispatcher"] = None if parts.dispatcher.is_alive else "stopped"
    return checks
