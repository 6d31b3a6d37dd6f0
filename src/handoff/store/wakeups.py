"""Waking dispatchers of other processes: PostgreSQL's LISTEN and NOTIFY, each on a connection of its own.

A notice is sent after the commit and outside of its transaction, since a NOTIFY inside one makes all commits of the
database queue up. One that is lost costs a dispatcher no more than its next poll.
"""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Final

import psycopg

from handoff.store.engine import async_connect

log = logging.getLogger(__name__)

_CHANNEL: Final = "handoff_callbacks"
# Commits so close together are told in one notice.
_COALESCE_S: Final = 0.01
_RECONNECT_S: Final = 1.0


@asynccontextmanager
async def notifying(url: str) -> AsyncIterator[Callable[[], None]]:
    """What to call after a commit, in the event loop: it tells the dispatchers that listen. It never waits."""
    committed = asyncio.Event()

    async def notify(connection: psycopg.AsyncConnection) -> None:
        while True:
            await committed.wait()
            committed.clear()
            await connection.execute(f"NOTIFY {_CHANNEL}")
            await asyncio.sleep(_COALESCE_S)

    async with _kept_up(url, notify, "notifier"):
        yield committed.set


@asynccontextmanager
async def listening(url: str, wake: Callable[[], None]) -> AsyncIterator[None]:
    """Call `wake` whenever another process tells of a commit."""

    async def listen(connection: psycopg.AsyncConnection) -> None:
        await connection.execute(f"LISTEN {_CHANNEL}")
        wake()  # for what was told before we listened
        async for _ in connection.notifies():
            wake()

    async with _kept_up(url, listen, "listener"):
        yield


@asynccontextmanager
async def _kept_up(
    url: str, work: Callable[[psycopg.AsyncConnection], Awaitable[None]], name: str
) -> AsyncIterator[None]:
    """Do the work on a connection, and again on a new one whenever that breaks."""

    async def keep_up() -> None:
        while True:
            try:
                async with await async_connect(url) as connection:
                    await work(connection)
            except psycopg.Error as error:
                log.warning("%s broke off", name, extra={"reason": str(error).strip()})
            await asyncio.sleep(_RECONNECT_S)

    task = asyncio.get_running_loop().create_task(keep_up(), name=name)
    try:
        yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
