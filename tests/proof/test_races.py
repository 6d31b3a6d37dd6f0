"""Simultaneous callers against real processes: one winner, and nobody past the last slot (I1, I2, I8)."""

from collections import Counter

import pytest

from conftest import StartService
from handoff import Settings, load_directory
from handoff.stores import open_audit
from rigs import sample
from rigs.callers import callers

ROUNDS = 40
CALLERS = 8
CALLERS_FOR_SLOTS = 60
SLOTS = 3


@pytest.fixture(params=[("sqlite", 1), ("sqlite", 2), ("postgres", 3)], ids=lambda param: f"{param[0]}-{param[1]}")
def many(request: pytest.FixtureRequest) -> tuple[str, int]:
    """A store, and how many processes serve on it."""
    kind, processes = request.param
    return request.getfixturevalue(f"{kind}_url"), processes


@pytest.mark.anyio
async def test_of_eight_simultaneous_callers_for_a_session_one_wins_and_the_others_are_told_who(
    many: tuple[str, int], start_service: StartService
) -> None:
    url, processes = many
    agents = [f"a-{number}" for number in range(CALLERS)]
    load_directory(
        Settings(database_url=url),
        sample.directory(
            agents=[sample.agent(agent, maxChatSupport=ROUNDS) for agent in agents],
            sessions=[sample.session(f"s-{number}") for number in range(ROUNDS)],
        ),
    )
    services = [start_service(url, settings={"dispatcher": "off"}) for _ in range(processes)]

    async with callers([service.url for service in services]) as group:
        for number in range(ROUNDS):
            answers = await group.call_at_once([sample.body(aId=agent, botSessionId=f"s-{number}") for agent in agents])

            statuses = Counter(answer.status_code for answer in answers)
            winner = next(answer.json()["agentId"] for answer in answers if answer.status_code == 200)
            refused = [answer.json() for answer in answers if answer.status_code == 409]
            assert statuses == {200: 1, 409: CALLERS - 1}
            assert {(body["code"], body["agentId"]) for body in refused} == {("session_already_assigned", winner)}
    audit = open_audit(Settings(database_url=url))
    assert audit.violations() == []
    audit.close()


@pytest.mark.anyio
async def test_of_sixty_simultaneous_callers_for_an_agent_as_many_win_as_there_are_slots(
    many: tuple[str, int], start_service: StartService
) -> None:
    url, processes = many
    sessions = [f"s-{number}" for number in range(CALLERS_FOR_SLOTS)]
    load_directory(
        Settings(database_url=url),
        sample.directory(
            agents=[sample.agent(maxChatSupport=SLOTS)], sessions=[sample.session(session) for session in sessions]
        ),
    )
    services = [start_service(url, settings={"dispatcher": "off"}) for _ in range(processes)]

    async with callers([service.url for service in services]) as group:
        answers = await group.call_at_once([sample.body(botSessionId=session) for session in sessions])

    outcomes = Counter(answer.json().get("code", "transferred") for answer in answers)
    audit = open_audit(Settings(database_url=url))
    assert outcomes == {"transferred": SLOTS, "agent_at_capacity": CALLERS_FOR_SLOTS - SLOTS}
    assert audit.violations() == []
    audit.close()
