"""The directory as the front door sees it: apps and streams, read once in a few seconds."""

import asyncio
import logging
from collections.abc import Callable, Hashable
from functools import partial
from typing import Any, Final, TypeVar

from cachetools import TTLCache

from handoff.domain.model import App, Stream
from handoff.service.ports import DirectoryStore, StoreError, StoreUnavailable
from handoff.service.worker import Worker

Found = TypeVar("Found")
Key = TypeVar("Key", bound=Hashable)
StreamKey = tuple[str, str]

log = logging.getLogger(__name__)

# Entries of each cache; an attacker who tries more names than this only makes us read again.
_CACHE_SIZE: Final = 10_000


class Directory:
    """Finds apps and streams; what was found, or not, is trusted for `trust_s` seconds.

    Callers who ask for the same thing at one time wait for one read, and none for longer than a few seconds.
    """

    def __init__(self, store: DirectoryStore, *, worker: Worker, trust_s: float) -> None:
        self._store = store
        self._worker = worker
        self._apps: TTLCache[str, App | None] = TTLCache(_CACHE_SIZE, ttl=trust_s)
        self._streams: TTLCache[StreamKey, Stream | None] = TTLCache(_CACHE_SIZE, ttl=trust_s)
        self._reading: dict[object, asyncio.Task[Any]] = {}

    async def find_app(self, app_id: str) -> App | None:
        """The app with this id, of whatever account. Raises StoreError."""
        return await self._find(self._apps, app_id, partial(self._store.find_app, app_id))

    async def find_stream(self, account_id: str, stream_id: str) -> Stream | None:
        """The stream, if the account has it. Raises StoreError."""
        return await self._find(
            self._streams, (account_id, stream_id), partial(self._store.find_stream, account_id, stream_id)
        )

    async def _find(self, cache: TTLCache[Key, Found], key: Key, read: Callable[[], Found]) -> Found:
        try:
            return cache[key]
        except KeyError:
            pass
        task = self._reading.get(key)
        if task is None:
            task = self._reading[key] = asyncio.get_running_loop().create_task(self._read_into(cache, key, read))
            task.add_done_callback(lambda _: self._reading.pop(key))
        found: Found = await asyncio.shield(task)
        return found

    async def _read_into(self, cache: TTLCache[Key, Found], key: Key, read: Callable[[], Found]) -> Found:
        found = await self._worker.run(read)
        cache[key] = found
        return found

    async def problem(self) -> str | None:
        """What keeps the store from serving: None when it answers, at the revision that this code needs."""
        try:
            await self._worker.run(self._store.check_ready)
        except StoreUnavailable as error:
            log.warning("store unavailable", extra={"reason": error.reason})
            return "unavailable"
        except StoreError as error:
            return str(error)
        return None
