"""Waking other processes after a commit: PostgreSQL's LISTEN and NOTIFY, each on a connection of its own.

A notice is sent after the commit and outside of its transaction, since a NOTIFY inside one makes all commits of the
database queue up. One that is lost costs whoever listens no more than its next poll.
"""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from enum import StrEnum
from importlib import import_module
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import psycopg

log = logging.getLogger(__name__)

# Commits so close together are told in one notice.
_COALESCE_S: Final = 0.01
_RECONNECT_S: Final = 1.0


class Channel(StrEnum):
    """What there is news of: callbacks to deliver, for dispatchers, or events, for those who serve the feed."""

    CALLBACKS = "handoff_callbacks"
    EVENTS = "handoff_events"


@asynccontextmanager
async def notifying(url: str) -> AsyncIterator[Callable[[Channel], None]]:
    """What to call after a commit, in the event loop: it tells those who listen on the channel. It never waits."""
    news: set[Channel] = set()
    committed = asyncio.Event()

    def tell(channel: Channel) -> None:
        news.add(channel)
        committed.set()

    async def notify(connection: "psycopg.AsyncConnection") -> None:
        while True:
            await committed.wait()
            committed.clear()
            told = "; ".join(f"NOTIFY {channel}" for channel in sorted(news))
            news.clear()
            await connection.execute(told)
            await asyncio.sleep(_COALESCE_S)

    async with _kept_up(url, notify, "notifier"):
        yield tell


@asynccontextmanager
async def listening(url: str, wakes: Mapping[Channel, Callable[[], None]]) -> AsyncIterator[None]:
    """Call what stands for a channel whenever another process tells of a commit there."""

    async def listen(connection: "psycopg.AsyncConnection") -> None:
        for channel, wake in wakes.items():
            await connection.execute(f"LISTEN {channel}")
            wake()  # for what was told before we listened
        async for notice in connection.notifies():
            wakes[Channel(notice.channel)]()

    async with _kept_up(url, listen, "listener"):
        yield


@asynccontextmanager
async def _kept_up(
    url: str, work: "Callable[[psycopg.AsyncConnection], Awaitable[None]]", name: str
) -> AsyncIterator[None]:
    """Do the work on a connection, and again on a new one whenever that breaks."""
    driver, postgres = import_module("psycopg"), import_module("handoff.store.engine_postgres")

    async def keep_up() -> None:
        while True:
            try:
                async with await postgres.async_connect(url) as connection:
                    await work(connection)
            except driver.Error as error:
                log.warning("%s broke off", name, extra={"reason": str(error).strip()})
            await asyncio.sleep(_RECONNECT_S)

    task = asyncio.get_running_loop().create_task(keep_up(), name=name)
    try:
        yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
