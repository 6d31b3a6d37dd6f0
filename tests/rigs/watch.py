"""What passes over the wire between callers and one service: every answer with its times, and every break."""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import httpx

_POLL_S: Final = 0.02


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """One call, from its start to the end of its answer (monotonic seconds)."""

    sent_at: float
    told_at: float
    answer: httpx.Response

    @property
    def is_outcome(self) -> bool:
        return self.answer.status_code != httpx.codes.SERVICE_UNAVAILABLE


class Watch(httpx.AsyncHTTPTransport):
    """A transport that remembers; `broken` are calls that got no answer at all."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[Seen] = []
        self.broken: list[httpx.TransportError] = []

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send the request, and read the whole answer."""
        sent_at = time.monotonic()
        try:
            answer = await super().handle_async_request(request)
            await answer.aread()
        except httpx.TransportError as error:
            self.broken.append(error)
            raise
        self.seen.append(Seen(sent_at=sent_at, told_at=time.monotonic(), answer=answer))
        return answer

    def outcomes(self, since: float) -> int:
        """How many calls that were sent since then had an outcome."""
        return sum(1 for one in self.seen if one.is_outcome and one.sent_at >= since)


async def all_go_well(watches: Sequence[Watch], since: float, *, outcomes: int, within_s: float) -> None:
    """Wait until each has seen so many outcomes of calls sent since then; TimeoutError where that takes too long."""
    async with asyncio.timeout(within_s):
        while min(watch.outcomes(since) for watch in watches) < outcomes:  # noqa: ASYNC110 (nobody tells of them)
            await asyncio.sleep(_POLL_S)
