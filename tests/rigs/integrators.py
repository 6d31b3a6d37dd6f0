"""Callers as integrators write them: they insist until they know, repeat, and move a session whose holder they know."""

import asyncio
import json
import random
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Final

import httpx

from rigs.calls import Call, Told
from rigs.recorder import Recorder, fresh_request_id

# How many of the latest sessions are asked for again.
_LATEST: Final = 20


class Integrators:
    """Desks that ask for sessions, two callers of each at a time, until they are told to stop.

    Every session is asked for once in its turn, and again by chance while it is among the latest. `pause_s` is a desk's
    rest between two of them.
    """

    def __init__(
        self,
        clients: Sequence[httpx.AsyncClient],
        *,
        sessions: Sequence[str],
        agents: Sequence[str],
        callback_urls: Sequence[str],
        chance: random.Random,
        pause_s: float,
    ) -> None:
        self.recorder = Recorder()
        self._clients = clients
        self._sessions = sessions
        self._agents = agents
        self._callback_urls = callback_urls
        self._chance = chance
        self._pause_s = pause_s
        self._next = self._turns()

    async def work(self, desks: int, stop: asyncio.Event) -> None:
        """All desks at work, until every one has finished what it had begun when it was stopped."""
        async with asyncio.TaskGroup() as group:
            for desk in range(desks):
                group.create_task(self._sit(f"desk {desk}", stop))

    async def _sit(self, desk: str, stop: asyncio.Event) -> None:
        while not stop.is_set():
            await self._hand_off(desk, next(self._next))
            await asyncio.sleep(self._pause_s)

    def _turns(self) -> Iterator[str]:
        for place, session in enumerate(self._sessions):
            yield session
            while self._chance.random() < 1 / 2:
                yield self._chance.choice(self._sessions[max(0, place - _LATEST) : place + 1])
        raise RuntimeError("there are no more sessions")

    async def _hand_off(self, desk: str, session: str) -> None:
        """Two ask for the session at the same time; one of them repeats its call and then moves it on."""
        one, other = self._chance.sample(self._agents, 2)
        calls = [self._call(f"{desk} {who}", session, agent) for who, agent in (("a", one), ("b", other))]
        told, _ = await asyncio.gather(*map(self._insist, calls))
        await self._insist(_again(told.call))
        holder = _holder(told)
        wanted = self._chance.choice([agent for agent in self._agents if agent != holder])
        moved = await self._insist(self._call(f"{desk} a", session, wanted, expected=holder))
        await self._insist(_again(moved.call))

    def _call(self, caller: str, session: str, agent: str, *, expected: str | None = None) -> Call:
        is_keyed = self._chance.random() < 2 / 3
        return Call(
            caller=caller,
            session=session,
            agent=agent,
            callback_url=self._chance.choice(self._callback_urls),
            request_id=fresh_request_id(),
            key=fresh_request_id() if is_keyed else None,
            expected=expected,
        )

    async def _insist(self, call: Call) -> Told:
        clients = self._chance.sample(self._clients, len(self._clients))
        return await self.recorder.insist(clients, call)


def _again(call: Call) -> Call:
    return replace(call, request_id=fresh_request_id())


def _holder(told: Told) -> str:
    """Who has the session, as the answer says: it names the new holder, or the one it was refused for."""
    assert told.answer is not None
    holder: str = json.loads(told.answer.body)["agentId"]
    return holder
