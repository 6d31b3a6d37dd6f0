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
    """Runs work in the threads of an executor."""

    def __init__(self, executor: Executor) -> None:
        self._executor = executor

    async def run(self, work: Callable[[], Found]) -> Found:
        """What the work returns. Raises what it raises, and StoreUnavailable where it takes too long."""
        async with in_time():
            return await asyncio.get_running_loop().run_in_executor(self._executor, work)


@asynccontextmanager
async def in_time() -> AsyncIterator[None]:
    """The block ends within the time that work may take. Raises StoreUnavailable where it takes longer."""
    try:
        async with asyncio.timeout(_WAIT_S):
            yield
    except TimeoutError:
        raise StoreUnavailable(f"the store took longer than {_WAIT_S} s") from None
