"""Conversations over HTTP: listed and shown in the documented shapes."""

import re
from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy import delete

from handoff import Settings, load_directory
from handoff.store import tables
from handoff.store.engine import open_writer
from rigs import api, sample
from rigs.api import to_agent, to_queue
from rigs.conversations import BASE, allow_everything, assign, get, move, open_session, strangers
from rigs.sample import AGENT, OTHER_AGENT, OTHER_QUEUE, QUEUE
from rigs.vendor_conversations import (
    CONVERSATION,
    DETAILS,
    DETAILS_BODY,
    DETAILS_HEADERS,
    IN_THE_TABLE_ONLY,
    LIST_QUERY,
    LISTED,
    STATUSES,
    USER_INFO,
    missing,
)

ISO = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z").fullmatch
EXTENSIONS = {"state", "version", "holder"}
SAID = {
    "source": "rtm",
    "language": "en",
    "userId": "u-aa15c0f4-7f78-5912-8713-f5cd1c3exxxx",
    "conversationType": "messaging",
    "userInfo": USER_INFO,
}


@pytest.fixture
def service(settings: Settings) -> Iterator[api.Api]:
    named = {
        "agents": [
            sample.agent(firstName="Ann", lastName="Doe", emailId="ann@example.com"),
            sample.agent(OTHER_AGENT, firstName="Ben"),
        ],
        "queues": [{"id": QUEUE, "orgId": sample.ORG, "accountId": sample.ACCOUNT, "name": "Default Queue"}],
    }
    load_directory(settings, named)
    allow_everything(settings)
    with api.serving(settings) as served:
        yield served


def lived(service: api.Api, session_id: str = "s-1") -> dict[str, Any]:
    """A session that was queued, assigned, queued again, assigned to another and closed."""
    opened = open_session(service, session_id, **SAID)
    for to in (
        to_queue(QUEUE),
        to_agent(AGENT),
        to_queue(QUEUE, expectedAgentId=AGENT),
        to_agent(OTHER_AGENT),
    ):
        assign(service, session_id, to)
    move(service, session_id, "close")
    return opened


def by_session(service: api.Api, session_id: str = "s-1") -> dict[str, Any]:
    shown: dict[str, Any] = get(service, f"/conversations/sessions/{session_id}").json()
    return shown


def listed(service: api.Api, **params: Any) -> list[str]:
    """The sessions that a list shows, without the sample's own."""
    results = get(service, "/conversations", **params).json()["results"]
    return [one["botSessionId"] for one in results if one["botSessionId"] != sample.SESSION]


@pytest.mark.parametrize("filled", [False, True])
def test_the_documented_list_runs_with_its_parameters_empty_or_filled_and_has_the_samples_members(
    service: api.Api,
    filled: bool,  # noqa: FBT001 (a parameter)
) -> None:
    lived(service)
    values = ("0", "1", "", "CLOSED", "rtm", "en") if filled else ("",) * 6
    headers = {"auth": sample.token(), "accountId": sample.ACCOUNT}

    answer = service.client.get(f"{BASE}/conversations?{LIST_QUERY.format(*values)}", headers=headers)

    first = answer.json()["results"][0]
    assert answer.status_code == 200
    assert first["botSessionId"] == "s-1"
    assert missing(LISTED, first) == []
    assert first.keys() == LISTED.keys() | CONVERSATION.keys() | DETAILS.keys() | IN_THE_TABLE_ONLY | EXTENSIONS
    assert answer.json().keys() == {"results", "nextCursor"}


def test_the_documented_conversation_has_the_samples_members(service: api.Api) -> None:
    opened = lived(service)
    headers = {"auth": sample.token(), "accountId": sample.ACCOUNT}

    answer = service.client.get(f"{BASE}/conversations/{opened['_id']}", headers=headers)

    shown = answer.json()
    assert answer.status_code == 200
    assert missing(CONVERSATION, shown) == []
    assert len(shown["participants"]) == 2
    assert len(shown["transferDetails"]) == 4


def test_the_documented_details_run_with_the_samples_body_and_have_its_members(service: api.Api) -> None:
    opened = lived(service)
    headers = {"auth": sample.token(), "accountid": sample.ACCOUNT, **DETAILS_HEADERS}
    path = f"{BASE}/conversations/sessions/s-1"

    answer = service.client.request("GET", path, headers=headers, content=DETAILS_BODY)

    assert answer.status_code == 200
    assert missing(DETAILS, answer.json()) == []
    assert answer.json() == get(service, f"/conversations/{opened['_id']}").json()


def test_a_conversation_that_waits_has_the_samples_queue(service: api.Api) -> None:
    open_session(service)
    assign(service, "s-1", to_queue(QUEUE))

    shown = by_session(service)

    (queue,) = shown["queues"]
    assert missing(LISTED["queues"], shown["queues"]) == []
    assert (queue["id"], queue["name"], queue["type"], queue["status"]) == (
        QUEUE,
        "Default Queue",
        "ASSIGNED",
        "ACTIVE",
    )
    assert ISO(queue["startTime"])


def test_what_was_said_at_the_opening_is_told_again(service: api.Api) -> None:
    shown = lived(service)

    assert shown.items() >= SAID.items()
    assert shown["phoneNumber"] == "9999999999"


def test_the_old_participant_is_inactive_and_transferred_and_the_new_one_appended(service: api.Api) -> None:
    open_session(service)
    assign(service, "s-1", to_queue(QUEUE))
    assign(service, "s-1", to_agent(AGENT))
    assign(service, "s-1", to_agent(OTHER_AGENT, expectedAgentId=AGENT))

    shown = by_session(service)

    first, second = shown["participants"]
    assert (first["agentId"], first["name"]) == (f"u-{AGENT}", "Ann Doe")
    assert (first["queueId"], first["queueName"]) == (QUEUE, "Default Queue")
    assert (first["status"], first["conversationTransferred"], first["endedChat"]) == ("INACTIVE", True, False)
    assert (second["agentId"], second["name"], second["queueId"]) == (f"u-{OTHER_AGENT}", "Ben", None)
    assert (second["status"], second["conversationTransferred"], second["endTimeStamp"]) == ("ACTIVE", False, None)
    assert second["isTransferred"]
    assert first["endTimeStamp"] == second["assignedAt"] == second["startTimeStamp"]
    assert shown["acceptedAt"] == first["assignedAt"]


def test_each_transfer_is_told_with_whom_it_came_from(service: api.Api) -> None:
    open_session(service)
    transfers = [
        assign(service, "s-1", to_queue(QUEUE)),
        assign(service, "s-1", to_agent(AGENT)),
        assign(service, "s-1", to_agent(OTHER_AGENT, expectedAgentId=AGENT)),
    ]

    details = by_session(service)["transferDetails"]

    assert [one["transferId"] for one in details] == transfers
    assert [(one["fromQueue"], one["fromAgent"], one["transferredType"]) for one in details] == [
        (None, None, "QUEUE"),
        (QUEUE, None, "OTHERS"),
        (None, f"u-{AGENT}", "OTHERS"),
    ]
    assert [one["transferredTo"] for one in details[:2]] == [
        [{"id": QUEUE, "name": "Default Queue", "type": "QUEUE", "emailId": ""}],
        [{"id": f"u-{AGENT}", "name": "Ann Doe", "type": "AGENT", "emailId": "ann@example.com"}],
    ]


def test_every_time_is_iso_8601_in_utc_with_milliseconds_and_they_are_in_order(service: api.Api) -> None:
    lived(service)

    shown = by_session(service)

    names = ("startTime", "acceptedAt", "endTime", "createdAt", "updatedAt", "startSessionTime")
    assert all(ISO(shown[name]) for name in names)
    assert shown["startTime"] <= shown["acceptedAt"] <= shown["endTime"] == shown["updatedAt"]
    assert shown["waitTime"] >= 0


def test_state_version_and_holder_tell_who_has_it_by_the_id_that_assignments_use(service: api.Api) -> None:
    def seen() -> tuple[str, str, int, Any]:
        shown = by_session(service)
        return shown["status"], shown["state"], shown["version"], shown["holder"]

    open_session(service)
    told = [seen()]
    for to in (to_queue(QUEUE), to_agent(AGENT)):
        assign(service, "s-1", to)
        told.append(seen())
    for act in ("release", "close"):
        move(service, "s-1", act)
        told.append(seen())

    assert told == [
        ("OPEN", "bot", 0, None),
        ("OPEN", "queue", 1, {"agentId": None, "queueId": QUEUE}),
        ("ACTIVE", "agent", 2, {"agentId": AGENT, "queueId": None}),
        ("OPEN", "bot", 3, None),
        ("CLOSED", "closed", 4, None),
    ]


def test_an_agent_who_is_deleted_is_told_by_its_own_id(service: api.Api) -> None:
    lived(service)
    engine = open_writer(service.settings.database_url)
    with engine.begin() as connection:
        connection.execute(delete(tables.agents).where(tables.agents.c.agent_id == AGENT))
    engine.dispose()

    shown = by_session(service)

    assert [one["agentId"] for one in shown["participants"]] == [AGENT, f"u-{OTHER_AGENT}"]
    assert shown["transferDetails"][2]["fromAgent"] == AGENT


def test_a_session_from_before_times_were_kept_tells_none(service: api.Api) -> None:
    service.change(tables.sessions, {"session_id": sample.SESSION}, opened_at=0, conversation_id=f"c-{sample.SESSION}")

    shown = get(service, f"/conversations/c-{sample.SESSION}").json()

    assert (shown["startTime"], shown["createdAt"], shown["timestampValue"], shown["updatedAt"]) == (None,) * 4


def test_filters_narrow_the_list(service: api.Api) -> None:
    open_session(service, "s-bot", source="rtm", language="en")
    for name, to in (("s-queue", to_queue(QUEUE)), ("s-agent", to_agent(AGENT)), ("s-other", to_agent(OTHER_AGENT))):
        open_session(service, name, source="sms")
        assign(service, name, to)
    open_session(service, "s-closed", language="de")
    move(service, "s-closed", "close")

    assert listed(service) == ["s-closed", "s-other", "s-agent", "s-queue", "s-bot"]
    assert listed(service, status="OPEN") == ["s-queue", "s-bot"]
    assert listed(service, status="ACTIVE") == ["s-other", "s-agent"]
    assert listed(service, status="CLOSED") == ["s-closed"]
    assert listed(service, status=["ACTIVE", "CLOSED"]) == ["s-closed", "s-other", "s-agent"]
    assert listed(service, status="ACTIVE,CLOSED") == ["s-closed", "s-other", "s-agent"]
    assert [listed(service, status=one) for one in STATUSES if one not in {"OPEN", "ACTIVE", "CLOSED"}] == [[], [], []]
    assert listed(service, state="queue") == ["s-queue"]
    assert listed(service, state="queue", status="ACTIVE") == []
    assert listed(service, source="sms", state="agent") == ["s-other", "s-agent"]
    assert listed(service, language="de") == ["s-closed"]
    assert listed(service, agentId=AGENT) == ["s-agent"]
    assert listed(service, queueId=QUEUE) == ["s-queue"]
    assert listed(service, queueId=OTHER_QUEUE) == []
    assert listed(service, since=1) == listed(service)
    assert listed(service, since=(1 << 48) - 1) == []


def test_walking_all_pages_shows_every_conversation_once(service: api.Api) -> None:
    for number in range(7):
        open_session(service, f"s-{number}")
    seen: list[str] = []
    cursor: dict[str, str] = {}
    pages = 0
    while pages == 0 or cursor:
        page = get(service, "/conversations", limit=3, **cursor).json()
        seen += [one["botSessionId"] for one in page["results"]]
        cursor = {"cursor": page["nextCursor"]} if page["nextCursor"] else {}
        pages += 1

    assert seen == [*(f"s-{number}" for number in reversed(range(7))), sample.SESSION]
    assert pages == 3


def test_the_documented_skip_and_limit_walk_the_list_too(service: api.Api) -> None:
    for number in range(5):
        open_session(service, f"s-{number}")

    pages = [listed(service, skip=skip, limit=2) for skip in (0, 2, 4, 6)]

    assert pages == [["s-4", "s-3"], ["s-2", "s-1"], ["s-0"], []]


def test_the_fields_that_are_asked_for_are_shown_alone(service: api.Api) -> None:
    lived(service)

    page = get(service, "/conversations", fields="_id, status,participants,nothing", limit=1).json()
    none = get(service, "/conversations", fields="nothing", limit=1).json()

    assert page["results"][0].keys() == {"_id", "status", "participants"}
    assert len(page["results"][0]["participants"]) == 2
    assert none["results"] == [{}]
    assert page["nextCursor"]


@pytest.mark.parametrize(
    ("params", "field"),
    [
        ({"status": "LOST"}, "status"),
        ({"state": "lost"}, "state"),
        ({"skip": -1}, "skip"),
        ({"skip": 10_001}, "skip"),
        ({"limit": 0}, "limit"),
        ({"limit": 201}, "limit"),
        ({"since": 1 << 48}, "since"),
        ({"source": "a b"}, "source"),
        ({"language": "\x00"}, "language"),
        ({"agentId": "a b"}, "agentId"),
        ({"agentId": AGENT, "queueId": QUEUE}, "agentId, queueId"),
        ({"cursor": "nonsense"}, "cursor"),
        ({"cursor": "WyJjLTEiLDE4NDQ2NzQ0MDczNzA5NTUxNjE2XQ"}, "cursor"),
    ],
)
def test_a_parameter_that_is_wrong_is_named(service: api.Api, params: dict[str, Any], field: str) -> None:
    answer = get(service, "/conversations", **params)

    assert api.refusal(answer) == (422, "invalid_request")
    assert answer.json()["detail"].startswith(field)


@pytest.mark.parametrize("name", ["c-nobody", "x%00y", "sessions"])
def test_a_conversation_that_is_not_there_is_not_found(service: api.Api, name: str) -> None:
    by_id = get(service, f"/conversations/{name}")
    of_session = get(service, f"/conversations/sessions/{name}")

    assert api.refusal(by_id) == (404, "conversation_not_found")
    assert api.refusal(of_session, is_recorded=False) == (404, "session_not_found")


def test_another_streams_and_another_accounts_conversations_are_not_there(service: api.Api) -> None:
    others = strangers(service.settings)
    opened = lived(service)
    nothing = get(service, "/conversations/c-nobody").json()["detail"].replace("c-nobody", opened["_id"])
    for base, headers in others:
        seen = service.client.get(f"{base}/conversations", headers=headers)
        filtered = service.client.get(f"{base}/conversations?agentId={AGENT}", headers=headers)
        by_id = service.client.get(f"{base}/conversations/{opened['_id']}", headers=headers)
        of_session = service.client.get(f"{base}/conversations/sessions/s-1", headers=headers)

        assert (seen.json()["results"], filtered.json()["results"]) == ([], [])
        assert api.refusal(by_id) == (404, "conversation_not_found")
        assert by_id.json()["detail"] == nothing
        assert api.refusal(of_session, is_recorded=False) == (404, "session_not_found")


@pytest.mark.parametrize("path", ["/conversations", "/conversations/c-1", "/conversations/sessions/s-1"])
def test_nobody_sees_conversations_without_token_scope_and_stream(service: api.Api, path: str) -> None:
    load_directory(service.settings, {"apps": [sample.app(appId="cs-2", scopes=["Routing", "Configuration"])]})

    nobody = service.client.get(BASE + path)
    unscoped = service.client.get(BASE + path, headers={"auth": sample.token(appId="cs-2")})
    stranger = service.client.get(BASE.replace(sample.STREAM, "st-foreign") + path, headers=sample.headers())
    other = service.client.get(BASE + path, headers=sample.headers(accountid="acc-other"))

    assert api.refusal(nobody) == (401, "token_missing")
    assert api.refusal(unscoped) == (403, "scope_missing")
    assert api.refusal(stranger) == (403, "stream_forbidden")
    assert api.refusal(other) == (403, "account_mismatch")
