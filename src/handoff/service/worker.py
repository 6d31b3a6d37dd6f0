"""Store work of requests: in threads, so that the event loop goes on, and never waited for without end."""

import asyncio
from collections.abc import AsyncIterator, Callable
from concurrent.futures import Executor
from contextlib import asynccontextmanager
from typing import Final, TypeVar

from handoff.service.ports import StoreUnavailable

Found = TypeVar("Found")

_WAIT_S: Final = 5.0


class Worker:
    """Runs work in the threads of an executor, each piece for `limit_s` seconds at most."""

    def __init__(self, executor: Executor, *, limit_s: float = _WAIT_S) -> None:
        self._executor = executor
        self._limit_s = limit_s

    async def run(self, work: Callable[[], Found]) -> Found:
        """What the work returns. Raises what it raises, and StoreUnavailable where it takes too long."""
        async with self.in_time():
            return await asyncio.get_running_loop().run_in_executor(self._executor, work)

    @asynccontextmanager
    async def in_time(self) -> AsyncIterator[None]:
        """The block has as long as a piece of work. Raises StoreUnavailable where it takes longer."""
        try:
            async with asyncio.timeout(self._limit_s):
                yield
        except TimeoutError:
            raise StoreUnavailable(f"the store took longer than {self._limit_s} s") from None
