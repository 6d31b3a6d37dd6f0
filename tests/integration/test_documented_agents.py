"""The vendor's documented calls on agents and queues: its sample requests as they stand, its answers' keys."""

import json
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import httpx
import pytest
from httpx2 import Response

from conftest import StartService
from handoff import Settings, load_directory
from handoff.store import tables
from rigs import sample, vendor_agents
from rigs.api import Api, serving
from rigs.vendor_agents import missing

PLACES = [
    (vendor_agents.ACCOUNT, vendor_agents.ORG, vendor_agents.STREAM),
    (vendor_agents.QUEUE_ACCOUNT, vendor_agents.QUEUE_ORG, vendor_agents.QUEUE_STREAM),
]


@pytest.fixture
def service(database_url: str) -> Iterator[Api]:
    """The accounts of the samples, each with its org, its stream and an app of its own."""
    settings = Settings(database_url=database_url, dispatcher="off")
    for account, org, stream in PLACES:
        app = sample.app(appId=f"cs-{account}", accountId=account, streams="*", scopes=["Configuration"])
        place = {"accountId": account, "orgId": org}
        load_directory(settings, {"apps": [app], "streams": [{**place, "streamId": stream}]})
    with serving(settings) as served:
        yield served


def call(service: Api, method: str, path: str, body: str | None = None, *, place: int = 0) -> Response:
    """A documented call with the documented headers."""
    account, _, stream = PLACES[place]
    headers = {"auth": sample.token(appId=f"cs-{account}"), "accountid": account, "content-type": "application/json"}
    answer = service.client.request(method, f"/agentassist/api/v1/public/{stream}{path}", headers=headers, content=body)
    assert answer.status_code == 200, answer.text
    return answer


def add(service: Api, section: str, *, place: int = 0, **row: Any) -> None:
    account, org, _ = PLACES[place]
    load_directory(service.settings, {section: [{"accountId": account, "orgId": org, **row}]})


def add_agent(service: Api, agent_id: str, user_id: str, *, place: int = 0, **row: Any) -> None:
    add(service, "agents", place=place, id=agent_id, userId=user_id, maxChatSupport=3, **row)


def create(service: Api, **more: Any) -> dict[str, Any]:
    """The documented agent, with what else is sent of it."""
    add(service, "queues", id=vendor_agents.QUEUE_OF_NEW_AGENT, name="Default Queue")
    body = json.dumps(json.loads(vendor_agents.CREATE_AGENT) | more)
    created: dict[str, Any] = call(service, "POST", "/agents", body).json()
    return created


def create_queue(service: Api) -> dict[str, Any]:
    """The documented queue, with an agent who has a skill."""
    add_agent(service, vendor_agents.QUEUE_AGENT, vendor_agents.QUEUE_USER, place=1)
    skilled = '{"skills": ["s-e1e22e03-fe32-5748-b830-02d161a3xxxx"]}'
    call(service, "PUT", f"/agents/{vendor_agents.QUEUE_AGENT}", skilled, place=1)
    created: dict[str, Any] = call(service, "POST", "/queues", vendor_agents.CREATE_QUEUE, place=1).json()
    return created


def test_create_an_agent(service: Api) -> None:
    add(service, "queues", id=vendor_agents.QUEUE_OF_NEW_AGENT)

    answer = call(service, "POST", "/agents", vendor_agents.CREATE_AGENT).json()

    assert missing(vendor_agents.CREATED_AGENT, answer) == []
    sent = json.loads(vendor_agents.CREATE_AGENT)
    (queue,) = sent.pop("queues")
    assert sent.items() <= answer.items()
    assert queue.items() <= answer["queues"][0].items()
    assert answer["id"].startswith("a-")
    assert (answer["userId"][:2], answer["orgId"], answer["accountId"]) == (
        "u-",
        vendor_agents.ORG,
        vendor_agents.ACCOUNT,
    )
    assert (answer["maxDigitalChatSupport"], answer["maxMessagingChatSupport"]) == (5, 5)


def test_get_a_specific_agent(service: Api) -> None:
    created = create(service)

    answer = call(service, "GET", f"/agents/{created['id']}").json()

    assert missing(vendor_agents.AGENT, answer) == []
    assert answer == created
    assert (answer["fullName"], answer["lFullName"]) == ("nov05 agent3", "nov05 agent3")
    assert (answer["onlineStatus"], answer["onlineStatusType"], answer["status"]) == ("Offline", "OFFLINE", "ACTIVE")
    assert answer["agentGroups"][0].keys() >= {"groupId", "role", "name"}
    assert answer["createdAt"][-1] == "Z"
    assert len(answer["createdAt"]) == len("2025-11-19T07:02:47.241Z")


def test_update_a_specific_agent(service: Api) -> None:
    add_agent(service, vendor_agents.UPDATED_AGENT, vendor_agents.UPDATED_USER)
    add(service, "queues", id="qu-353c014-96bb-4c3e-aebd-87a37927xxxx", name="Default Queue")
    path = f"/agents/{vendor_agents.UPDATED_AGENT}"

    answer = call(service, "PUT", path, vendor_agents.UPDATE_AGENT).json()
    queued = call(service, "PUT", path, '{"queues": [{"id": "qu-353c014-96bb-4c3e-aebd-87a37927xxxx"}]}').json()

    assert missing(vendor_agents.UPDATED, {**answer, "queues": queued["queues"]}) == []
    sent = json.loads(vendor_agents.UPDATE_AGENT)
    ours = {"createdAt", "updatedAt", "lastOnlineAt", "createdBy"}
    assert {name: value for name, value in sent.items() if answer[name] != value}.keys() == ours
    assert answer["maxChatSupport"] == 5


def test_delete_a_specific_agent(service: Api) -> None:
    created = create(service)

    answer = call(service, "DELETE", f"/agents/{created['id']}").json()

    assert missing(vendor_agents.UPDATED, answer) == []
    assert answer == created
    assert service.rows(tables.agents) == []


def test_list_all_agents(service: Api) -> None:
    created = create(service, skills=[{"skillId": "641847bf731b5d4baa2dxxxx", "proficiencyLevel": "average"}])

    answer = call(service, "GET", f"/organizations/{vendor_agents.ORG}/agents?page=1&includeQueues=True").json()

    assert missing(vendor_agents.AGENTS, answer) == []
    (listed,) = answer["results"]
    assert listed["id"] == created["id"]
    assert listed["queues"][0]["agents"] == [{"userId": created["userId"], "isPreferredAgent": False}]
    assert missing(vendor_agents.SKILL, listed["skills"][0]) == []
    assert listed["skills"][0]["proficiencyLevel"] == "average"


def test_get_the_agent_id_using_the_custom_id(service: Api) -> None:
    created = create(service)

    answer = call(service, "GET", f"/agents/customId/{quote(vendor_agents.CUSTOM_ID, safe='')}").json()

    assert missing(vendor_agents.AGENTS_BY_CUSTOM_ID, answer) == []
    assert answer == [created]


@pytest.mark.parametrize("custom_id", [vendor_agents.CUSTOM_ID, "%2F", "a%2Fb"])
def test_a_custom_id_goes_through_a_real_server_as_it_is(
    sqlite_url: str, start_service: StartService, custom_id: str
) -> None:
    directory = sample.directory(agents=[sample.agent(customId=custom_id)])
    load_directory(Settings(database_url=sqlite_url), directory | {"apps": [sample.app(scopes=["Configuration"])]})
    running = start_service(sqlite_url, settings={"dispatcher": "off"})

    path = f"/agentassist/api/v1/public/{sample.STREAM}/agents/customId/{quote(custom_id, safe='')}"
    answer = httpx.get(running.url + path, headers=sample.headers(), timeout=60)

    assert [one["customId"] for one in answer.json()] == [custom_id]


def test_check_agent_availability(service: Api) -> None:
    agent = "a-75b2b7b-674c-49d2-ad7a-8bce77cxxxxx"
    add(service, "queues", id="qu-e30b539-dd3c-4e10-90a9-354a3e7xxxxx")
    add_agent(service, agent, "u-13b82e29-91a3-5092-a7ba-b92c852xxxxx", onlineStatusType="AVAILABLE")
    member = {"queues": ["qu-e30b539-dd3c-4e10-90a9-354a3e7xxxxx"], "skills": ["68402981bfe0b8e53f7xxxxx"]}
    call(service, "PUT", f"/agents/{agent}", json.dumps(member))

    answer = call(service, "POST", "/agents/availability", vendor_agents.ASK_AVAILABILITY).json()

    assert missing(vendor_agents.AVAILABILITY, answer) == []
    assert answer.keys() == vendor_agents.AVAILABILITY.keys()
    (available,) = answer["AVAILABLE"]
    assert available["_id"] == agent
    assert available["channelCapacity"]["liveChat"] == {
        "isEnabled": True,
        "totalCapacity": 3,
        "usedCapacity": 0,
        "availableCapacity": 3,
    }


def test_create_a_queue(service: Api) -> None:
    answer = create_queue(service)

    assert missing(vendor_agents.CREATED_QUEUE, answer) == []
    sent = json.loads(vendor_agents.CREATE_QUEUE)
    (member,) = sent.pop("agents")
    assert sent.items() <= answer.items()
    assert {name: answer["agents"][0][name] for name in ("userId", "aId", "isPreferredAgent")}.items() <= member.items()
    assert answer["id"].startswith("qu-")


def test_get_a_list_of_queues(service: Api) -> None:
    created = create_queue(service)

    answer = call(service, "GET", "/queues", "", place=1).json()

    assert missing(vendor_agents.QUEUES, answer) == []
    assert answer["results"] == [created]
    assert [answer[name] for name in ("page", "limit", "hasMore", "totalPages", "totalResults")] == [1, 10, False, 1, 1]


def test_get_a_list_of_agents_or_queues(service: Api) -> None:
    queue, agent = "qu-70d0451-bb2a-4cc9-9bdb-ec5c1cccxxxx", "a-3eab367-e201-4c77-b392-3d3972b8xxxx"
    add_agent(service, agent, "u-acb45618-0820-5c00-aa28-0afed551xxxx", firstName="ai4sAutomation")
    call(service, "POST", "/queues", json.dumps({"id": queue, "name": "q", "agents": [{"aId": agent}]}))

    agents = call(service, "POST", "/queues/agents", vendor_agents.ASK_AGENTS_OF_QUEUES).json()
    queues = call(service, "POST", "/queues/agents", vendor_agents.ASK_QUEUES_OF_AGENTS).json()

    assert missing(vendor_agents.AGENTS_OF_QUEUES, agents) == []
    assert agents == [
        {
            "userId": "u-acb45618-0820-5c00-aa28-0afed551xxxx",
            "aId": agent,
            "name": "ai4sAutomation",
            "profImage": "no-avatar",
        }
    ]
    assert queues == [queue]
