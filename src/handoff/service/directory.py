"""The directory as the front door sees it: apps and streams, read once in a few seconds."""

import asyncio
from collections.abc import Callable
from concurrent.futures import Executor
from typing import Final, TypeVar

from cachetools import TTLCache

from handoff.domain.model import App, Stream
from handoff.service.ports import DirectoryStore, StoreError

Found = TypeVar("Found")

# Entries of each cache; an attacker who tries more names than this only makes us read again.
_CACHE_SIZE: Final = 10_000


class Directory:
    """Finds apps and streams; what was found, or not, is trusted for `trust_s` seconds."""

    def __init__(self, store: DirectoryStore, *, executor: Executor, trust_s: float) -> None:
        self._store = store
        self._executor = executor
        self._apps: TTLCache[str, App | None] = TTLCache(_CACHE_SIZE, ttl=trust_s)
        self._streams: TTLCache[tuple[str, str], Stream | None] = TTLCache(_CACHE_SIZE, ttl=trust_s)

    async def find_app(self, app_id: str) -> App | None:
        """The app with this id, of whatever account. Raises StoreError."""
        try:
            return self._apps[app_id]
        except KeyError:
            app = await self._read(lambda: self._store.find_app(app_id))
            self._apps[app_id] = app
            return app

    async def find_stream(self, account_id: str, stream_id: str) -> Stream | None:
        """The stream, if the account has it. Raises StoreError."""
        key = (account_id, stream_id)
        try:
            return self._streams[key]
        except KeyError:
            stream = await self._read(lambda: self._store.find_stream(account_id, stream_id))
            self._streams[key] = stream
            return stream

    async def problem(self) -> str | None:
        """What keeps the store from serving: None when it answers, at the revision that this code needs."""
        try:
            await self._read(self._store.check_ready)
        except StoreError as error:
            return str(error)
        return None

    async def _read(self, read: Callable[[], Found]) -> Found:
        return await asyncio.get_running_loop().run_in_executor(self._executor, read)
