"""Calls that go on while the world around the service breaks, and what each was answered."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from itertools import count
from typing import Final

import httpx

from rigs import sample

# Less patient than `Retry-After` asks for, so that the moment in which service comes back is known well.
_AGAIN_S: Final = 0.05
_PAUSE_S: Final = 0.02
# Past everything that the service promises about its own time.
_CALL_TIMEOUT_S: Final = 60.0
_POLL_S: Final = 0.02

AGENTS: Final = (sample.AGENT, sample.OTHER_AGENT)


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """One answer: who asked for which session for whom, where, and when (monotonic seconds)."""

    session: str
    agent: str
    url: str
    sent_at: float
    told_at: float
    answer: httpx.Response

    @property
    def status(self) -> int:
        return self.answer.status_code

    @property
    def is_final(self) -> bool:
        return self.status != httpx.codes.SERVICE_UNAVAILABLE


def session_name(number: int) -> str:
    return f"s-{number}"


def directory(sessions: int) -> sample.Directory:
    """Two agents with slots for every session, and so many sessions."""
    return sample.directory(
        agents=[sample.agent(agent, maxChatSupport=sessions) for agent in AGENTS],
        sessions=[sample.session(session_name(number)) for number in range(sessions)],
    )


@dataclass(slots=True)
class Load:
    """What was answered so far. Of each session both agents are asked for at one time, each at another service."""

    clients: Sequence[httpx.AsyncClient]
    callback_url: str
    told: list[Told] = field(default_factory=list)
    _is_over: bool = False
    _numbers: Iterator[int] = field(default_factory=count)

    @asynccontextmanager
    async def contests(self, count: int) -> AsyncIterator[None]:
        """So many contests at one time while the block lasts; each that has begun then gets its answers."""
        async with asyncio.TaskGroup() as group:
            for _ in range(count):
                group.create_task(self._contest())
            yield
            self._is_over = True

    async def _contest(self) -> None:
        while not self._is_over:
            number = next(self._numbers)
            one, other = self.clients[number % len(self.clients)], self.clients[(number + 1) % len(self.clients)]
            await asyncio.gather(
                self._until_told(one, session_name(number), AGENTS[0]),
                self._until_told(other, session_name(number), AGENTS[1]),
            )
            await asyncio.sleep(_PAUSE_S)

    async def _until_told(self, client: httpx.AsyncClient, session: str, agent: str) -> None:
        while not (await self.call(client, session, agent)).is_final:
            await asyncio.sleep(_AGAIN_S)

    async def call(self, client: httpx.AsyncClient, session: str, agent: str) -> Told:
        """One call; an answer there must be."""
        sent_at = time.monotonic()
        body = sample.body(self.callback_url, botSessionId=session, aId=agent)
        answer = await client.post(sample.PATH, headers=sample.headers(), json=body)
        told = Told(
            session=session,
            agent=agent,
            url=str(client.base_url),
            sent_at=sent_at,
            told_at=time.monotonic(),
            answer=answer,
        )
        self.told.append(told)
        return told

    async def goes_well(self, since: float, *, answers: int) -> None:
        """Wait until every service has given so many outcomes to calls that were sent since then."""
        while min(self._outcomes(str(client.base_url), since) for client in self.clients) < answers:
            await asyncio.sleep(_POLL_S)

    def _outcomes(self, url: str, since: float) -> int:
        return sum(1 for one in self.told if one.url == url and one.is_final and one.sent_at >= since)


@asynccontextmanager
async def load(urls: Sequence[str], callback_url: str) -> AsyncIterator[Load]:
    """Callers of the services at these URLs."""
    async with AsyncExitStack() as stack:
        clients = [
            await stack.enter_async_context(httpx.AsyncClient(base_url=url, timeout=_CALL_TIMEOUT_S)) for url in urls
        ]
        yield Load(clients, callback_url)
