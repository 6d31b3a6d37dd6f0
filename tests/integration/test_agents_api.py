"""Agents over HTTP: what can be said of them, what comes back, and what is refused."""

import json
from typing import Any
from urllib.parse import quote

import pytest

from handoff import load_directory
from handoff.store import tables
from rigs import api, sample
from rigs.desk import BASE, JANE, Desk


def test_what_was_sent_comes_back_and_what_is_ours_cannot_be_sent(desk: Desk) -> None:
    kept = {
        "phoneNumber": 13456782345,
        "user_id": "not an id of ours",
        "model_dump": [None, {"x": 1.5}],
        "__class__": "x",
        "": "nameless",
        "profImage": "5ff233123124xxxx",
        "maxEmailChatSupport": 2,
        "größe": "Zoë 👋",
    }
    ours = {"fullName": "x", "onlineStatusType": "AVAILABLE", "createdAt": "x", "activeSessions": 9, "createdBy": "x"}

    created = desk.create(**kept, **ours)

    assert kept.items() <= created.items()
    assert created == desk.get(created["id"])
    assert (created["fullName"], created["onlineStatusType"], created["activeSessions"]) == ("Jane Doe", "OFFLINE", 0)
    assert created["createdBy"] == sample.APP
    assert created["createdAt"].endswith("Z")


def test_an_agent_sent_back_as_it_was_read_stays_the_same(desk: Desk) -> None:
    created = desk.create(
        customId="1111",
        nickName="J",
        skills=["s-1", {"id": "s-2", "name": "Silver"}],
        queues=[sample.QUEUE, {"id": sample.OTHER_QUEUE, "isPreferredAgent": True}],
    )

    replaced = desk.done("PUT", f"/agents/{created['id']}", json=created)
    listed = desk.done("GET", f"/organizations/{sample.ORG}/agents").pop("results")
    again = [desk.done("PUT", f"/agents/{one['id']}", json=one) for one in listed if one["id"] == created["id"]]

    assert {**replaced, "updatedAt": created["updatedAt"]} == created
    assert {**again[0], "updatedAt": created["updatedAt"]} == created


def test_a_status_is_not_set_by_an_update(desk: Desk) -> None:
    desk.set_status("AWAY")

    replaced = desk.done("PUT", f"/agents/{sample.AGENT}", json={**desk.get(), "onlineStatusType": "AVAILABLE"})

    assert replaced["onlineStatusType"] == "AWAY"


@pytest.mark.parametrize("name", ["maxChatSupport", "maxDigitalChatSupport"])
def test_whoever_changes_one_name_of_the_slots_changes_all(desk: Desk, name: str) -> None:
    replaced = desk.done("PUT", f"/agents/{sample.AGENT}", json={**desk.get(), name: 2})

    names = ("maxChatSupport", "maxDigitalChatSupport", "maxMessagingChatSupport", "maxDigitalConvoLimit")
    assert [replaced[one] for one in names] == [2, 2, 2, 2]


@pytest.mark.parametrize(
    ("said", "word"),
    [
        ({"emailId": None}, "emailId"),
        ({"emailId": ""}, "emailId"),
        ({"emailId": "jane"}, "emailId"),
        ({"emailId": "jane doe@example.com"}, "emailId"),
        ({"emailId": "x" * 320 + "@example.com"}, "emailId"),
        ({"firstName": ""}, "firstName"),
        ({"firstName": "x" * 256}, "firstName"),
        ({"firstName": 7}, "firstName"),
        ({"customId": "a b"}, "customId"),
        ({"customId": "x" * 256}, "customId"),
        ({"id": "a/b"}, "id"),
        ({"userId": ""}, "userId"),
        ({"accountId": "acc-2"}, "accountId"),
        ({"maxChatSupport": -1}, "maxChatSupport"),
        ({"maxChatSupport": 10_001}, "maxChatSupport"),
        ({"maxChatSupport": 1.5}, "maxChatSupport"),
        ({"maxChatSupport": 3, "maxDigitalChatSupport": 4}, "maxChatSupport"),
        ({"skills": ["s 1"]}, "skills"),
        ({"skills": [{"name": "Silver"}]}, "skills"),
        ({"skills": [f"s-{number}" for number in range(101)]}, "skills"),
        ({"queues": [{"isPreferredAgent": True}]}, "queues"),
        ({"queues": [f"qu-{number}" for number in range(101)]}, "queues"),
        ({"nickName": "a\x00b"}, "U+0000"),
        ({"firstName": "a\x00b"}, "U+0000"),
        ({"a\x00b": 1}, "U+0000"),
        ({"preferences": {"theme": ["a\x00b"]}}, "U+0000"),
    ],
)
def test_what_cannot_be_said_of_an_agent_is_told(desk: Desk, said: dict[str, Any], word: str) -> None:
    body = {name: value for name, value in {**JANE, **said}.items() if value is not None}

    answer = desk.call("POST", "/agents", json=body)

    assert api.refusal(answer) == (422, "invalid_request")
    assert word in answer.json()["detail"]
    assert len(desk.service.rows(tables.agents)) == 2


@pytest.mark.parametrize(
    "text",
    [
        '{"firstName": "\\ud800"}',
        '{"nickName": "\\udfff"}',
        '{"nickName": NaN}',
        '{"nickName": [1, -Infinity]}',
        '{"nickName": ' + "[" * 16 + "]" * 16 + "}",
        "[]",
        '"x"',
        "",
    ],
)
def test_what_no_store_could_hold_is_refused_before_it_gets_there(desk: Desk, text: str) -> None:
    answer = desk.call("PUT", f"/agents/{sample.AGENT}", content=text)

    assert api.refusal(answer) == (422, "invalid_request")


def test_json_as_deep_as_a_body_can_hold_breaks_nothing(desk: Desk) -> None:
    answer = desk.call("PUT", f"/agents/{sample.AGENT}", content='{"x":' + "[" * 30_000 + "]" * 30_000 + "}")

    assert answer.status_code in {400, 422}
    assert desk.get()["id"] == sample.AGENT


def test_a_body_that_is_too_large_or_no_json_is_refused_like_everywhere(desk: Desk) -> None:
    large = desk.call("POST", "/agents", json={**JANE, "nickName": "x" * 70_000})
    form = desk.call("POST", "/agents", data=JANE)

    assert api.refusal(large) == (413, "body_too_large")
    assert api.refusal(form) == (415, "unsupported_media_type")


@pytest.mark.parametrize(
    ("said", "refusal"),
    [
        ({"id": sample.AGENT}, (409, "agent_exists")),
        ({"userId": f"u-{sample.AGENT}"}, (409, "agent_exists")),
        ({"emailId": "taken@example.com"}, (409, "agent_exists")),
        ({"queues": ["qu-none"]}, (404, "queue_not_found")),
        ({"orgId": "o-2"}, (404, "org_not_found")),
    ],
)
def test_a_new_agent_that_collides_or_points_nowhere_is_refused(
    desk: Desk, said: dict[str, Any], refusal: tuple[int, str]
) -> None:
    desk.create(emailId="taken@example.com")

    assert api.refusal(desk.call("POST", "/agents", json={**JANE, **said})) == refusal


@pytest.mark.parametrize("name", ["id", "userId", "accountId", "orgId"])
def test_an_update_names_the_agent_itself_or_is_refused(desk: Desk, name: str) -> None:
    before = desk.get()

    answer = desk.call("PUT", f"/agents/{sample.AGENT}", json={**before, name: "x-other", "nickName": "N"})

    assert api.refusal(answer) == (422, "invalid_request")
    assert answer.json()["detail"].startswith(f"{name}: ")
    assert desk.get() == before


def test_an_update_that_takes_another_agents_email_is_refused(desk: Desk) -> None:
    desk.create(emailId="taken@example.com")
    before = desk.get()

    answer = desk.call("PUT", f"/agents/{sample.AGENT}", json={"emailId": "taken@example.com"})

    assert api.refusal(answer) == (409, "agent_exists")
    assert desk.get() == before


def test_an_agent_who_holds_a_session_is_not_deleted_until_it_is_handed_on(desk: Desk) -> None:
    assert desk.service.assign().status_code == 200

    refused = desk.call("DELETE", f"/agents/{sample.AGENT}")
    moved = desk.service.assign(aId=sample.OTHER_AGENT, expectedAgentId=sample.AGENT)
    gone = desk.call("DELETE", f"/agents/{sample.AGENT}")

    assert api.refusal(refused) == (409, "agent_holds_sessions")
    assert "holds 1 session:" in refused.json()["detail"]
    assert (moved.status_code, gone.status_code) == (200, 200)
    assert gone.json()["id"] == sample.AGENT
    assert api.refusal(desk.call("GET", f"/agents/{sample.AGENT}")) == (404, "agent_not_found")
    assert api.refusal(desk.service.assign(expectedAgentId=sample.OTHER_AGENT)) == (404, "agent_not_found")


def test_a_list_goes_on_by_page_or_by_cursor(desk: Desk) -> None:
    path = f"/organizations/{sample.ORG}/agents"
    for number in range(3):
        desk.create(id=f"a-{number}")
    everybody = [one["agent_id"] for one in desk.service.rows(tables.agents)]

    by_page = [desk.done("GET", path, params={"page": page, "limit": 2}) for page in (1, 2, 3, 4)]
    by_cursor: list[Any] = []
    cursor: dict[str, str] | None = {}
    while cursor is not None:
        by_cursor.append(desk.done("GET", path, params={"limit": 2, **cursor}))
        cursor = {"cursor": by_cursor[-1]["nextCursor"]} if by_cursor[-1]["nextCursor"] else None

    ids = [[one["id"] for one in page["results"]] for page in by_page]
    assert ids == [everybody[:2], everybody[2:4], everybody[4:], []]
    assert [page.keys() for page in by_page] == [{"results", "nextCursor"}] * 4
    assert [page["results"] for page in by_cursor] == [page["results"] for page in by_page[:3]]


def test_queues_are_listed_where_they_are_asked_for(desk: Desk) -> None:
    path = f"/organizations/{sample.ORG}/agents"
    created = desk.create(queues=[sample.QUEUE])

    def listed(**params: str) -> dict[str, Any]:
        (found,) = (one for one in desk.done("GET", path, params=params)["results"] if one["id"] == created["id"])
        return dict(found)

    assert "queues" not in listed()
    assert "queues" not in listed(includeQueues="False")
    assert [one["id"] for one in listed(includeQueues="True")["queues"]] == [sample.QUEUE]


@pytest.mark.parametrize(
    ("params", "word"),
    [
        ({"page": 0}, "page"),
        ({"page": 1_000_000}, "page"),
        ({"limit": 201}, "limit"),
        ({"cursor": "nonsense"}, "cursor"),
        ({"cursor": "WyJhLTEiLCAwXQ", "page": 2}, "page"),
        ({"includeQueues": "perhaps"}, "includeQueues"),
    ],
)
def test_a_page_that_cannot_be_is_told(desk: Desk, params: dict[str, Any], word: str) -> None:
    answer = desk.call("GET", f"/organizations/{sample.ORG}/agents", params=params)

    assert api.refusal(answer) == (422, "invalid_request")
    assert answer.json()["detail"].startswith(f"{word}: ")


@pytest.mark.parametrize("org_id", ["o-2", "x%00y", "a b"])
def test_another_org_than_the_streams_is_not_there(desk: Desk, org_id: str) -> None:
    assert api.refusal(desk.call("GET", f"/organizations/{org_id}/agents")) == (404, "org_not_found")


@pytest.mark.parametrize("custom_id", ["a/b", "../agents", "é", "%zz", "?x=1#y", "A;b:c@d&e=f+g,h$i", "status"])
def test_any_custom_id_is_found_percent_encoded(desk: Desk, custom_id: str) -> None:
    created = desk.create(customId=custom_id)

    assert desk.done("GET", f"/agents/customId/{quote(custom_id, safe='')}") == [created]


def test_several_agents_with_one_custom_id_come_page_by_page(desk: Desk) -> None:
    ids = [desk.create(id=f"a-{number}", customId="1111")["id"] for number in range(3)]

    first = desk.call("GET", "/agents/customId/1111", params={"limit": 2})
    rest = desk.call("GET", "/agents/customId/1111", params={"limit": 2, "cursor": first.headers["x-next-cursor"]})

    assert [one["id"] for answer in (first, rest) for one in answer.json()] == ids
    assert "x-next-cursor" not in rest.headers


@pytest.mark.parametrize("custom_id", ["none", "%00", "x" * 255])
def test_a_custom_id_that_nobody_has_finds_nobody(desk: Desk, custom_id: str) -> None:
    assert desk.done("GET", f"/agents/customId/{custom_id}") == []


@pytest.mark.parametrize("agent_id", ["a-none", "x%00y", f"u-{sample.AGENT}", "customId"])
def test_an_agent_that_is_not_there_is_not_found(desk: Desk, agent_id: str) -> None:
    for method, path, body in (
        ("GET", f"/agents/{agent_id}", None),
        ("PUT", f"/agents/{agent_id}", {}),
        ("DELETE", f"/agents/{agent_id}", None),
        ("PUT", f"/agents/{agent_id}/status", {"status": "AWAY"}),
    ):
        assert api.refusal(desk.call(method, path, json=body)) == (404, "agent_not_found")


def test_agents_of_another_org_and_account_are_not_there(desk: Desk) -> None:
    load_directory(
        desk.service.settings,
        {
            "streams": [
                {"streamId": "st-2", "accountId": sample.ACCOUNT, "orgId": "o-2"},
                {"streamId": "st-3", "accountId": "acc-3", "orgId": sample.ORG},
            ],
            "apps": [
                sample.app(appId="cs-2", streams="*", scopes=["Configuration"]),
                sample.app(appId="cs-3", accountId="acc-3", streams="*", scopes=["Configuration"]),
            ],
        },
    )
    created = desk.create(customId="1111", skills=["s-1"], queues=[sample.QUEUE])
    before = desk.service.rows(tables.agents)
    for number in (2, 3):

        def call(method: str, path: str, body: object = None, number: int = number) -> Any:
            url = BASE.replace(sample.STREAM, f"st-{number}") + path
            headers = {"auth": sample.token(appId=f"cs-{number}")}
            return desk.service.client.request(method, url, headers=headers, json=body)

        for method, path, body in (
            ("GET", f"/agents/{created['id']}", None),
            ("PUT", f"/agents/{created['id']}", {}),
            ("DELETE", f"/agents/{created['id']}", None),
            ("PUT", f"/agents/{created['id']}/status", {"status": "AWAY"}),
            ("POST", "/queues", {"name": "q", "agents": [{"aId": created["id"]}]}),
        ):
            assert api.refusal(call(method, path, body)) == (404, "agent_not_found")
        own = "o-2" if number == 2 else sample.ORG
        assert call("GET", f"/organizations/{own}/agents").json()["results"] == []
        assert call("GET", "/agents/customId/1111").json() == []
        for wanted in ({}, {"agentIds": [created["id"]]}, {"skillIds": ["s-1"]}, {"queueIds": [sample.QUEUE]}):
            assert not any(call("POST", "/agents/availability", wanted).json().values())
        assert call("POST", "/queues/agents", {"queueIds": [sample.QUEUE]}).json() == []
        assert call("POST", "/queues/agents", {"agentIds": [created["userId"]]}).json() == []
        assert call("GET", "/queues").json()["totalResults"] == 0
    assert desk.service.rows(tables.agents) == before


ROUTES = [
    ("POST", "/agents", JANE),
    ("GET", f"/agents/{sample.AGENT}", None),
    ("PUT", f"/agents/{sample.AGENT}", {}),
    ("DELETE", f"/agents/{sample.AGENT}", None),
    ("PUT", f"/agents/{sample.AGENT}/status", {"status": "AWAY"}),
    ("GET", f"/organizations/{sample.ORG}/agents", None),
    ("GET", "/agents/customId/1", None),
    ("POST", "/agents/availability", None),
    ("POST", "/queues", {"name": "q"}),
    ("GET", "/queues", None),
    ("POST", "/queues/agents", {"queueIds": [sample.QUEUE]}),
]


@pytest.mark.parametrize(("method", "path", "body"), ROUTES)
def test_nobody_gets_at_agents_without_token_scope_and_stream(desk: Desk, method: str, path: str, body: Any) -> None:
    load_directory(desk.service.settings, {"apps": [sample.app(appId="cs-router", scopes=["Routing"])]})
    before = desk.service.rows(tables.agents)

    def call(headers: dict[str, str], base: str = BASE) -> tuple[int, str]:
        return api.refusal(desk.service.client.request(method, base + path, headers=headers, json=body))

    assert call({}) == (401, "token_missing")
    assert call({"auth": sample.token(appId="cs-router")}) == (403, "scope_missing")
    assert call(sample.headers(), BASE.replace(sample.STREAM, "st-foreign")) == (403, "stream_forbidden")
    assert call(sample.headers(accountid="acc-other")) == (403, "account_mismatch")
    assert desk.service.rows(tables.agents) == before
    assert desk.service.rows(tables.events) == []


def test_changes_over_http_are_told_in_the_feed(desk: Desk) -> None:
    agent_id = desk.create()["id"]
    desk.set_status("AVAILABLE", agent_id, expiresInSeconds=60)
    desk.set_status("AVAILABLE", agent_id, expiresInSeconds=90)
    desk.done("PUT", f"/agents/{agent_id}", json={"maxChatSupport": 1})
    desk.done("DELETE", f"/agents/{agent_id}")

    rows = desk.service.rows(tables.events)
    assert [row["kind"] for row in rows] == ["agent.created", "agent.status", "agent.updated", "agent.deleted"]
    assert {row["agent_id"] for row in rows} == {agent_id}
    assert json.loads(rows[1]["body"])["onlineStatusType"] == "AVAILABLE"
