"""Agents deleted and made while others assign to them or make the same: nothing is left in between (I1, I2, I8)."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager

import httpx
import pytest

from conftest import StartService
from handoff import Settings, load_directory
from handoff.store import tables as t
from handoff.stores import open_audit
from rigs import sample
from rigs.desk import BASE, JANE
from rigs.tables import Tables

ROUNDS = 20
CALLERS = 6
DELETERS = 2


@pytest.fixture(params=[("sqlite", 1), ("sqlite", 2), ("postgres", 3)], ids=lambda param: f"{param[0]}-{param[1]}")
def many(request: pytest.FixtureRequest) -> tuple[str, int]:
    """A store, and how many processes serve on it."""
    kind, processes = request.param
    return request.getfixturevalue(f"{kind}_url"), processes


@asynccontextmanager
async def clients(urls: Sequence[str]) -> AsyncIterator[list[httpx.AsyncClient]]:
    async with AsyncExitStack() as stack:
        yield [
            await stack.enter_async_context(
                httpx.AsyncClient(base_url=url + BASE, timeout=60, headers=sample.headers())
            )
            for url in urls
        ]


def started(url: str, processes: int, start: StartService, agents: Sequence[str], sessions: Sequence[str]) -> list[str]:
    """The URLs of that many processes on one store with these agents and sessions."""
    directory = sample.directory(
        agents=[sample.agent(agent, maxChatSupport=CALLERS) for agent in agents],
        sessions=[sample.session(session) for session in sessions],
    )
    app = sample.app(scopes=["Routing", "Configuration"])
    load_directory(Settings(database_url=url), directory | {"apps": [app]})
    return [start(url, settings={"dispatcher": "off"}).url for _ in range(processes)]


@pytest.mark.anyio
async def test_an_agent_is_deleted_with_no_session_or_stays_with_those_it_was_given(
    many: tuple[str, int], start_service: StartService
) -> None:
    url, processes = many
    agents = [f"a-{number}" for number in range(ROUNDS)]
    sessions = [f"s-{number}-{caller}" for number in range(ROUNDS) for caller in range(CALLERS)]
    urls = started(url, processes, start_service, agents, sessions)
    outcomes: Counter[bool] = Counter()

    async with clients(urls) as group:
        for number, agent in enumerate(agents):
            asked = [(f"s-{number}-{caller}", group[caller % processes]) for caller in range(CALLERS)]
            assigned = [
                client.post("/assign-conversation", json=sample.body(aId=agent, botSessionId=session))
                for session, client in asked
            ]
            deleted = [group[-1 - place % processes].delete(f"/agents/{agent}") for place in range(DELETERS)]
            # Now these come first, now those; in between where a deletion takes longer to arrive.
            calls = [*deleted, *assigned] if number % 3 == 0 else [*assigned[:-1], *deleted, *assigned[-1:]]
            statuses = Counter((answer.request.method, answer.status_code) for answer in await asyncio.gather(*calls))

            is_gone = statuses["DELETE", 200] == 1
            won = statuses["POST", 200]
            outcomes[is_gone] += 1
            assert won == 0 if is_gone else won == CALLERS
            assert statuses["POST", 404] == CALLERS - won
            assert statuses["DELETE", 409] + statuses["DELETE", 404] + statuses["DELETE", 200] == DELETERS
    audit = open_audit(Settings(database_url=url))
    assert audit.violations() == []
    audit.close()
    assert outcomes.keys() == {True, False}


@pytest.mark.anyio
async def test_of_simultaneous_new_agents_with_one_email_or_id_one_is_made(
    many: tuple[str, int], start_service: StartService
) -> None:
    url, processes = many
    urls = started(url, processes, start_service, [], [])

    async with clients(urls) as group:
        for number in range(5):
            bodies = [{**JANE, "emailId": f"{number}@example.com"}, {**JANE, "emailId": "", "id": f"a-{number}"}]
            bodies[1]["emailId"] = f"other-{number}@example.com"
            for body in bodies:
                calls = [group[place % processes].post("/agents", json=body) for place in range(CALLERS)]
                statuses = Counter(answer.status_code for answer in await asyncio.gather(*calls))
                assert statuses == {200: 1, 409: CALLERS - 1}
    stored = Tables(url)
    assert len(stored.rows(t.agents)) == 10
    assert [kind for kind, _ in stored.events()] == ["agent.created"] * 10
    stored.close()


@pytest.mark.anyio
async def test_no_queue_keeps_an_agent_that_is_gone(many: tuple[str, int], start_service: StartService) -> None:
    url, processes = many
    agents = [f"a-{number}" for number in range(ROUNDS)]
    urls = started(url, processes, start_service, agents, [])

    async with clients(urls) as group:
        for agent in agents:
            made = group[0].post("/queues", json={"name": "q", "agents": [{"aId": agent}]})
            gone = group[-1].delete(f"/agents/{agent}")
            answers = await asyncio.gather(made, gone)
            assert answers[0].status_code in {200, 404}
            assert answers[1].status_code == 200
    stored = Tables(url)
    assert stored.rows(t.agents) == stored.rows(t.queue_agents) == []
    stored.close()
