"""Who is available and for how much, over HTTP: presence, slots, and the numbers that follow from them."""

from typing import Any

import pytest

from handoff.store import tables
from rigs import api, sample
from rigs.desk import Desk

GROUPS = ["AVAILABLE", "BUSY", "OFFLINE", "AWAY"]
NOTHING = {"isEnabled": False, "totalCapacity": 0, "usedCapacity": 0, "availableCapacity": 0}


def groups(desk: Desk, **wanted: list[str]) -> dict[str, list[str]]:
    """The ids in each group that has any."""
    answer = desk.done("POST", "/agents/availability", json=wanted)
    assert list(answer) == GROUPS
    return {name: [one["_id"] for one in members] for name, members in answer.items() if members}


def capacity(desk: Desk, agent_id: str = sample.AGENT) -> dict[str, Any]:
    answer = desk.done("POST", "/agents/availability", json={"agentIds": [agent_id]})
    ((found,),) = (members for members in answer.values() if members)
    channels: dict[str, Any] = found["channelCapacity"]
    assert channels["liveChat"] == channels["messaging"]
    assert channels["email"] == channels["voice"] == channels["voiceMail"] == NOTHING
    assert found["isDigitalEnabled"] == channels["liveChat"]["isEnabled"]
    pool: dict[str, Any] = channels["liveChat"]
    return pool


def test_capacity_follows_the_sessions_that_are_held(desk: Desk) -> None:
    before = capacity(desk)
    desk.service.assign()
    after = capacity(desk)

    assert before == {"isEnabled": True, "totalCapacity": 5, "usedCapacity": 0, "availableCapacity": 5}
    assert after == {"isEnabled": True, "totalCapacity": 5, "usedCapacity": 1, "availableCapacity": 4}
    assert desk.get()["activeSessions"] == 1


def test_an_agent_whose_slots_are_all_taken_is_shown_as_busy_everywhere(desk: Desk) -> None:
    desk.done("PUT", f"/agents/{sample.AGENT}", json={"maxChatSupport": 1})
    desk.service.assign()

    full = desk.get()

    assert (full["onlineStatus"], full["onlineStatusType"]) == ("Busy", "BUSY")
    assert groups(desk) == {"AVAILABLE": [sample.OTHER_AGENT], "BUSY": [sample.AGENT]}
    assert desk.set_status("AVAILABLE")["onlineStatusType"] == "BUSY"
    desk.service.assign(aId=sample.OTHER_AGENT, expectedAgentId=sample.AGENT)
    assert desk.get()["onlineStatusType"] == "AVAILABLE"


def test_an_agent_with_fewer_slots_than_sessions_has_none_free(desk: Desk) -> None:
    desk.service.assign()
    desk.done("PUT", f"/agents/{sample.AGENT}", json={"maxChatSupport": 0})

    assert capacity(desk) == {"isEnabled": False, "totalCapacity": 0, "usedCapacity": 1, "availableCapacity": 0}
    assert desk.service.load() == 1


def test_a_full_agent_who_is_busy_is_at_capacity_for_a_transfer(desk: Desk) -> None:
    desk.done("PUT", f"/agents/{sample.AGENT}", json={"maxChatSupport": 0})

    refused = desk.service.assign()

    assert api.refusal(refused) == (409, "agent_at_capacity")
    assert desk.get()["onlineStatusType"] == "BUSY"


@pytest.mark.parametrize("status", GROUPS)
def test_each_status_is_set_shown_and_grouped(desk: Desk, status: str) -> None:
    told = desk.set_status(status)
    read = desk.get()

    assert (told["onlineStatus"], told["onlineStatusType"]) == (status.capitalize(), status)
    assert (told["id"], told["userId"]) == (sample.AGENT, f"u-{sample.AGENT}")
    assert (told["statusExpiresAt"], told["activeSessions"], told["maxChatSupport"]) == (None, 0, 5)
    assert told.items() <= read.items()
    assert sample.AGENT in groups(desk)[status]
    transfer = desk.service.assign()
    assert transfer.status_code == (200 if status == "AVAILABLE" else 409)


def test_a_status_with_an_end_says_when_and_reads_offline_after_it(desk: Desk) -> None:
    told = desk.set_status("AVAILABLE", expiresInSeconds=60)
    before = desk.get()
    desk.service.change(tables.agents, {"agent_id": sample.AGENT}, status_expires_at=1)
    after = desk.get()

    assert before["statusExpiresAt"] == told["statusExpiresAt"] > 60_000
    assert (before["onlineStatusType"], after["onlineStatusType"], after["statusExpiresAt"]) == (
        "AVAILABLE",
        "OFFLINE",
        None,
    )
    assert sample.AGENT in groups(desk)["OFFLINE"]
    assert api.refusal(desk.service.assign()) == (409, "agent_unavailable")


@pytest.mark.parametrize(
    ("body", "word"),
    [
        ({}, "status"),
        ({"status": "available"}, "status"),
        ({"status": "BREAK"}, "status"),
        ({"status": "AWAY", "expiresInSeconds": 0}, "expiresInSeconds"),
        ({"status": "AWAY", "expiresInSeconds": 7 * 86_400 + 1}, "expiresInSeconds"),
        ({"status": "AWAY", "expiresInSeconds": "soon"}, "expiresInSeconds"),
    ],
)
def test_a_status_that_is_none_is_refused(desk: Desk, body: dict[str, Any], word: str) -> None:
    answer = desk.call("PUT", f"/agents/{sample.AGENT}/status", json=body)

    assert api.refusal(answer) == (422, "invalid_request")
    assert answer.json()["detail"].startswith(f"{word}: ")
    assert desk.get()["onlineStatusType"] == "AVAILABLE"


def test_lists_that_are_given_must_all_name_an_agent(desk: Desk) -> None:
    desk.create(id="a-1", skills=["s-1"], queues=[sample.QUEUE])
    desk.create(id="a-2", skills=["s-2"], queues=[sample.QUEUE])
    desk.create(id="a-3", skills=["s-2"])

    assert groups(desk, queueIds=[sample.QUEUE]) == {"OFFLINE": ["a-1", "a-2"]}
    assert groups(desk, queueIds=[sample.QUEUE], skillIds=["s-2"]) == {"OFFLINE": ["a-2"]}
    assert groups(desk, skillIds=["s-2"], agentIds=["a-3", "a-1"], queueIds=[]) == {"OFFLINE": ["a-3"]}
    assert groups(desk, skillIds=["s-none"]) == groups(desk, agentIds=["a-none"]) == {}


def test_agents_are_asked_for_by_either_of_their_ids(desk: Desk) -> None:
    wanted = [sample.AGENT, f"u-{sample.OTHER_AGENT}"]

    assert groups(desk, agentIds=wanted) == {"AVAILABLE": [sample.OTHER_AGENT, sample.AGENT]}


def test_without_a_body_everybody_is_told_page_by_page(desk: Desk) -> None:
    everybody = desk.done("POST", "/agents/availability")
    first = desk.call("POST", "/agents/availability", params={"limit": 1})
    rest = desk.call("POST", "/agents/availability", params={"limit": 1, "cursor": first.headers["x-next-cursor"]})

    assert [one["_id"] for one in everybody["AVAILABLE"]] == [sample.OTHER_AGENT, sample.AGENT]
    assert [*first.json()["AVAILABLE"], *rest.json()["AVAILABLE"]] == everybody["AVAILABLE"]
    assert "x-next-cursor" not in rest.headers


@pytest.mark.parametrize(
    "wanted", [{"agentIds": ["a b"]}, {"skillIds": "s-1"}, {"queueIds": [f"qu-{number}" for number in range(201)]}]
)
def test_a_question_that_makes_no_sense_or_is_too_long_is_refused(desk: Desk, wanted: dict[str, Any]) -> None:
    answer = desk.call("POST", "/agents/availability", json=wanted)

    assert api.refusal(answer) == (422, "invalid_request")
    assert answer.json()["detail"].startswith(next(iter(wanted)))
