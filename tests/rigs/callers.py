"""Many callers at one time."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import httpx

from rigs import sample


class Callers:
    """Callers spread over several processes, with connections that stay open."""

    def __init__(self, clients: Sequence[httpx.AsyncClient]) -> None:
        self._clients = clients

    async def call_at_once(
        self, bodies: Sequence[dict[str, Any]], *, headers: Mapping[str, str] | None = None
    ) -> list[httpx.Response]:
        """All requests at one time, in turn to each process; the answers in the order of the bodies."""
        auth = sample.headers() if headers is None else headers
        return await asyncio.gather(
            *(
                self._clients[place % len(self._clients)].post(sample.PATH, headers=auth, json=body)
                for place, body in enumerate(bodies)
            )
        )


@asynccontextmanager
async def callers(urls: Sequence[str]) -> AsyncIterator[Callers]:
    """Callers of the services at these URLs."""
    async with AsyncExitStack() as stack:
        yield Callers([await stack.enter_async_context(httpx.AsyncClient(base_url=url, timeout=60)) for url in urls])
