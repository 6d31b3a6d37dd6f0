"""The part of the composition root that tells of changes: who in this process, and in others, hears of a commit."""

from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import Final

from handoff.service.dispatcher import Dispatcher
from handoff.service.following import Feed, FollowLimits
from handoff.service.meter import Meter
from handoff.service.worker import Worker
from handoff.settings import Settings
from handoff.store.engine import is_sqlite
from handoff.store.wakeups import Channel, listening, notifying
from handoff.stores import open_feed

# One for the pump, and one for the streams that have fallen behind.
_THREADS: Final = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Tellers:
    """What to call, in the event loop, after a commit that wrote callbacks, or events."""

    callbacks: Callable[[], None]
    events: Callable[[], None]

    def both(self) -> None:
        """After a commit that may have written either."""
        self.callbacks()
        self.events()


@asynccontextmanager
async def feeding(settings: Settings, meter: Meter) -> AsyncIterator[Feed]:
    """The running feed of events. On PostgreSQL it hears of what other processes write."""
    async with AsyncExitStack() as stack:
        executor = stack.enter_context(ThreadPoolExecutor(_THREADS, thread_name_prefix="feed"))
        store = open_feed(settings)
        stack.callback(store.close)
        feed = Feed(store, Worker(executor), FollowLimits(streams=settings.event_streams_limit), meter)
        feed.start()
        stack.push_async_callback(feed.stop)
        if not is_sqlite(settings.database_url):
            await stack.enter_async_context(listening(settings.database_url, {Channel.EVENTS: feed.wake}))
        yield feed


@asynccontextmanager
async def telling(settings: Settings, feed: Feed, dispatcher: Dispatcher | None) -> AsyncIterator[Tellers]:
    """Who is told of a commit: this process's dispatcher, or those of others; this process's feed and those of others.

    On SQLite others find out by themselves, within a second.
    """
    wake = dispatcher.wake if dispatcher is not None else _nobody
    if is_sqlite(settings.database_url):
        yield Tellers(callbacks=wake, events=feed.wake)
        return
    async with notifying(settings.database_url) as notify:

        def tell_of_events() -> None:
            feed.wake()
            notify(Channel.EVENTS)

        callbacks = wake if dispatcher is not None else partial(notify, Channel.CALLBACKS)
        yield Tellers(callbacks=callbacks, events=tell_of_events)


def _nobody() -> None:
    """There is nobody to tell."""
