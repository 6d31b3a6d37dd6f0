"""Queues over HTTP: made, listed, and asked who belongs to them."""

from typing import Any

import pytest

from handoff.store import tables
from rigs import api, sample
from rigs.desk import Desk


def test_a_queue_is_made_with_its_agents_and_a_session_can_wait_there(desk: Desk) -> None:
    created = desk.done(
        "POST",
        "/queues",
        json={"name": "Default", "agents": [{"userId": f"u-{sample.AGENT}"}], "maxTimeout": {"min": 1}},
    )

    waiting = desk.service.assign(**api.to_queue(created["id"]))

    assert waiting.json()["queueId"] == created["id"]
    assert [one["aId"] for one in created["agents"]] == [sample.AGENT]
    assert (created["agentCount"], created["createdBy"], created["maxTimeout"]) == (1, sample.APP, {"min": 1})
    assert desk.get()["queues"] == [
        {"id": created["id"], "name": "Default", "description": "", "isPreferredAgent": False}
    ]


def test_what_is_ours_cannot_be_sent_and_any_name_can(desk: Desk) -> None:
    created = desk.done(
        "POST", "/queues", json={"id": "qu-1", "name": "Zoë 👋", "createdBy": "x", "agentCount": 9, "self": 1}
    )

    assert (created["id"], created["name"], created["createdBy"], created["agentCount"], created["self"]) == (
        "qu-1",
        "Zoë 👋",
        sample.APP,
        0,
        1,
    )


@pytest.mark.parametrize(
    ("said", "refusal", "word"),
    [
        ({"name": ""}, (422, "invalid_request"), "name"),
        ({"name": "x" * 256}, (422, "invalid_request"), "name"),
        ({"name": "a\x00"}, (422, "invalid_request"), "U+0000"),
        ({"description": 7}, (422, "invalid_request"), "description"),
        ({"accountId": "acc-2"}, (422, "invalid_request"), "accountId"),
        ({"agents": [{"name": "Jane"}]}, (422, "invalid_request"), "agents"),
        ({"agents": [{"aId": f"a-{number}"} for number in range(501)]}, (422, "invalid_request"), "agents"),
        ({"orgId": "o-2"}, (404, "org_not_found"), "o-2"),
        ({"agents": [{"aId": "a-none"}]}, (404, "agent_not_found"), "a-none"),
        (
            {"agents": [{"aId": sample.AGENT, "userId": f"u-{sample.OTHER_AGENT}"}]},
            (404, "agent_not_found"),
            sample.AGENT,
        ),
        ({"id": sample.QUEUE}, (409, "queue_exists"), sample.QUEUE),
    ],
)
def test_a_queue_that_cannot_be_made_is_told_why(
    desk: Desk, said: dict[str, Any], refusal: tuple[int, str], word: str
) -> None:
    answer = desk.call("POST", "/queues", json={"name": "q", **said})

    assert api.refusal(answer) == refusal
    assert word in answer.json()["detail"]
    assert len(desk.service.rows(tables.queues)) == 2


def test_a_list_goes_on_by_page_or_by_cursor(desk: Desk) -> None:
    desk.done("POST", "/queues", json={"id": "qu-x", "name": "x"})
    everything = [row["queue_id"] for row in desk.service.rows(tables.queues)]

    first = desk.done("GET", "/queues", params={"limit": 2})
    second = desk.done("GET", "/queues", params={"limit": 2, "page": 2})
    by_cursor = desk.done("GET", "/queues", params={"limit": 2, "cursor": first["nextCursor"]})

    assert [one["id"] for page in (first, second) for one in page["results"]] == everything
    assert by_cursor["results"] == second["results"]
    assert [(one["page"], one["hasMore"], one["totalPages"], one["totalResults"]) for one in (first, second)] == [
        (1, True, 2, 3),
        (2, False, 2, 3),
    ]
    assert second["nextCursor"] is None


@pytest.mark.parametrize("params", [{"page": 0}, {"limit": 51}, {"page": 20_000}, {"cursor": "x"}])
def test_a_page_that_cannot_be_is_told(desk: Desk, params: dict[str, Any]) -> None:
    answer = desk.call("GET", "/queues", params=params)

    assert api.refusal(answer) == (422, "invalid_request")
    assert answer.json()["detail"].startswith(next(iter(params)))


def test_who_belongs_where_comes_page_by_page_from_either_side(desk: Desk) -> None:
    members = [{"aId": sample.AGENT}, {"aId": sample.OTHER_AGENT}]
    for name in ("qu-1", "qu-2"):
        desk.done("POST", "/queues", json={"id": name, "name": name, "agents": members})

    def pages(wanted: dict[str, list[str]]) -> tuple[list[Any], list[Any]]:
        first = desk.call("POST", "/queues/agents", json=wanted, params={"limit": 1})
        params = {"limit": 1, "cursor": first.headers["x-next-cursor"]}
        second = desk.call("POST", "/queues/agents", json=wanted, params=params)
        assert "x-next-cursor" not in second.headers
        return first.json(), second.json()

    agents = pages({"queueIds": ["qu-1", "qu-2", "qu-none"]})
    queues = pages({"agentIds": [sample.AGENT, f"u-{sample.OTHER_AGENT}"]})

    assert [one["aId"] for page in agents for one in page] == [sample.OTHER_AGENT, sample.AGENT]
    assert queues == (["qu-1"], ["qu-2"])


def test_nobody_belongs_to_what_there_is_not(desk: Desk) -> None:
    assert desk.done("POST", "/queues/agents", json={"queueIds": ["qu-none"]}) == []
    assert desk.done("POST", "/queues/agents", json={"agentIds": ["a-none"]}) == []


@pytest.mark.parametrize(
    "wanted", [{}, {"queueIds": []}, {"queueIds": [sample.QUEUE], "agentIds": [sample.AGENT]}, {"queueIds": ["a b"]}]
)
def test_one_side_is_asked_for_and_no_other(desk: Desk, wanted: dict[str, Any]) -> None:
    assert api.refusal(desk.call("POST", "/queues/agents", json=wanted)) == (422, "invalid_request")
