"""Sessions over HTTP: opened, closed, released, and everything that was tried with them."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from handoff import Settings, load_directory
from handoff.domain.model import OPERATOR
from handoff.store import tables
from handoff.stores import open_audit
from rigs import api, sample
from rigs.api import to_agent, to_queue
from rigs.conversations import BASE, SCOPES, allow_everything, assign, get, move, open_session, post, strangers
from rigs.sample import AGENT, OTHER_AGENT, QUEUE
from rigs.vendor_conversations import USER_INFO

RECORDED = {
    "transferId",
    "sessionId",
    "at",
    "askedBy",
    "appId",
    "requestId",
    "from",
    "to",
    "outcome",
    "code",
    "reason",
    "version",
    "expectedAgentId",
    "passedOver",
    "callbackUrl",
}


@pytest.fixture
def service(settings: Settings) -> Iterator[api.Api]:
    allow_everything(settings)
    with api.serving(settings) as served:
        yield served


def history(service: api.Api, session_id: str = "s-1", **params: Any) -> list[dict[str, Any]]:
    answer = get(service, f"/conversations/sessions/{session_id}/history", **params)
    assert answer.status_code == 200, answer.text
    results: list[dict[str, Any]] = answer.json()["results"]
    return results


def place(state: str, *, agent: str | None = None, queue: str | None = None) -> dict[str, Any]:
    return {"state": state, "agentId": agent, "queueId": queue}


def kinds(service: api.Api) -> list[str]:
    return [row["kind"] for row in service.rows(tables.events)]


def test_a_session_is_opened_once_and_is_the_same_ever_after(service: api.Api) -> None:
    body = {"botSessionId": "s-1", "orgId": sample.ORG, "source": "rtm", "userInfo": USER_INFO}

    first = post(service, "/conversations", body)
    again = post(service, "/conversations", {"botSessionId": "s-1", "source": "sms"})

    assert (first.status_code, again.status_code) == (201, 200)
    assert first.json() == again.json()
    assert (first.json()["state"], first.json()["version"], first.json()["userInfo"]) == ("bot", 0, USER_INFO)
    assert first.headers["etag"] == again.headers["etag"] == '"0"'
    assert "x-transfer-id" not in first.headers
    assert first.headers["x-request-id"]
    assert kinds(service) == ["session.opened"]


def test_what_is_kept_of_a_contact_comes_back_in_the_order_and_with_the_numbers_that_were_sent(
    service: api.Api,
) -> None:
    sent = '{"zip":1.0,"age":{"to":12345678901234567890123,"from":-0.0},"more":[1e+300,5e-324,0.1,null,true,"\u2028"]}'
    told = post(service, "/conversations", {"botSessionId": "s-1", "userInfo": json.loads(sent)})
    found = get(service, "/conversations/sessions/s-1")
    nothing = post(service, "/conversations", {"botSessionId": "s-2"})

    as_sent = [json.dumps(json.loads(sent))] * 2
    assert [json.dumps(one.json()["userInfo"]) for one in (told, found)] == as_sent
    assert nothing.json()["userInfo"] == {}


def test_a_session_that_was_opened_can_be_assigned(service: api.Api) -> None:
    open_session(service)

    assign(service, "s-1", to_agent(AGENT))

    assert service.load() == 1


def test_a_session_is_opened_in_the_streams_org_only(service: api.Api) -> None:
    answer = post(service, "/conversations", {"botSessionId": "s-1", "orgId": "o-other"})

    assert api.refusal(answer, is_recorded=False) == (404, "org_not_found")
    assert service.rows(tables.sessions, session_id="s-1") == []


def test_an_id_that_another_stream_has_is_taken_and_nothing_of_it_is_told(service: api.Api) -> None:
    (elsewhere, headers), _ = strangers(service.settings)
    open_session(service, source="rtm", userInfo={"secret": "x"})

    answer = service.client.post(f"{elsewhere}/conversations", headers=headers, json={"botSessionId": "s-1"})

    assert api.refusal(answer) == (409, "session_id_taken")
    assert sample.STREAM not in answer.text


def test_the_same_id_in_another_account_is_another_session(service: api.Api) -> None:
    _, (there, headers) = strangers(service.settings)
    here = open_session(service)

    answer = service.client.post(f"{there}/conversations", headers=headers, json={"botSessionId": "s-1"})

    assert answer.status_code == 201
    assert answer.json()["_id"] != here["_id"]


@pytest.mark.parametrize(
    ("body", "field"),
    [
        (b"{}", "botSessionId"),
        (b'{"botSessionId":"a b"}', "botSessionId"),
        (b'{"botSessionId":"s-1","source":""}', "source"),
        (b'{"botSessionId":"s-1","language":"\\u0000"}', "language"),
        (b'{"botSessionId":"s-1","userId":7}', "userId"),
        (b'{"botSessionId":"s-1","userInfo":[]}', "userInfo"),
        (b'{"botSessionId":"s-1","userInfo":{"a":"\\ud800"}}', "userInfo"),
        (b'{"botSessionId":"s-1","userInfo":{"a":"\\u0000"}}', "userInfo"),
        (b'{"botSessionId":"s-1","userInfo":{"a":1e999}}', "userInfo"),
        (b'{"botSessionId":"s-1","userInfo":{"a":"' + b"x" * 9_000 + b'"}}', "userInfo"),
        (b'{"botSessionId":"s-1","userInfo":' + b'{"a":' * 40 + b"1" + b"}" * 41, "userInfo"),
        (b'{"botSessionId":"s-1","userInfo":{"a":' + b"[" * 50_000, "The body"),
        (b'{"botSessionId":"s-1","userInfo":{"a":' + b"9" * 6_000 + b"}}", "The body"),
    ],
)
def test_an_opening_that_cannot_be_kept_is_refused_and_its_field_named(
    service: api.Api, body: bytes, field: str
) -> None:
    answer = post(service, "/conversations", content=body)

    assert api.refusal(answer) == (422, "invalid_request")
    assert answer.json()["detail"].startswith(field)
    assert service.rows(tables.sessions, session_id="s-1") == []


@pytest.mark.parametrize(("act", "state"), [("close", "closed"), ("release", "bot")])
def test_a_move_frees_the_slot_once_and_again_changes_nothing(service: api.Api, act: str, state: str) -> None:
    open_session(service)
    assign(service, "s-1", to_agent(AGENT))

    first = move(service, "s-1", act)
    again = move(service, "s-1", act)

    assert (first.status_code, again.status_code) == (200, 200)
    assert first.json() == again.json()
    assert (first.json()["state"], first.json()["version"], first.json()["holder"]) == (state, 2, None)
    assert first.headers["etag"] == again.headers["etag"] == '"2"'
    assert first.headers["x-transfer-id"] == history(service)[-1]["transferId"]
    assert "x-transfer-id" not in again.headers
    assert service.load() == 0
    assert len(history(service)) == 2


def test_what_is_closed_stays_closed(service: api.Api) -> None:
    open_session(service)
    move(service, "s-1", "close")

    released = move(service, "s-1", "release")
    assigned = service.assign(botSessionId="s-1")
    reopened = post(service, "/conversations", {"botSessionId": "s-1"})

    assert api.refusal(released, is_recorded=False) == (410, "session_closed")
    assert api.refusal(assigned) == (410, "session_closed")
    assert (reopened.status_code, reopened.json()["state"]) == (200, "closed")


def test_a_session_that_waits_leaves_its_queue(service: api.Api) -> None:
    open_session(service)
    assign(service, "s-1", to_queue(QUEUE))

    released = move(service, "s-1", "release").json()

    assert (released["state"], released["queues"]) == ("bot", [])


@pytest.mark.parametrize("act", ["close", "release"])
def test_a_move_that_expects_another_agent_is_refused_and_told_who_has_it(service: api.Api, act: str) -> None:
    open_session(service)
    assign(service, "s-1", to_agent(AGENT))
    before = service.counts()

    refused = move(service, "s-1", act, expectedAgentId=OTHER_AGENT)
    after = service.counts()
    done = move(service, "s-1", act, expectedAgentId=AGENT)

    assert api.refusal(refused, is_recorded=False) == (409, "holder_changed")
    assert (refused.json()["agentId"], refused.json()["version"]) == (AGENT, 1)
    assert after == before
    assert done.status_code == 200


@pytest.mark.parametrize("act", ["close", "release"])
@pytest.mark.parametrize("name", ["s-nobody", "x%00y"])
def test_a_session_that_is_not_there_is_not_moved(service: api.Api, act: str, name: str) -> None:
    answer = move(service, name, act)

    assert api.refusal(answer, is_recorded=False) == (404, "session_not_found")
    assert service.counts()["transfers"] == 0


def test_no_move_posts_a_callback_and_each_that_changes_something_is_an_event(service: api.Api) -> None:
    open_session(service)
    assign(service, "s-1", to_agent(AGENT))
    callbacks = service.counts()["callbacks"]

    for act in ("release", "release", "close", "close", "release"):
        move(service, "s-1", act)

    assert service.counts()["callbacks"] == callbacks
    assert kinds(service) == ["session.opened", "session.transferred", "session.released", "session.closed"]


def test_the_history_has_every_attempt_with_who_asked_from_whom_to_whom_and_why_not(service: api.Api) -> None:
    service.change(tables.agents, {"agent_id": OTHER_AGENT}, status="AWAY")
    open_session(service)
    assign(service, "s-1", to_agent(AGENT))
    assign(service, "s-1", to_agent(OTHER_AGENT, expectedAgentId=AGENT), 409)
    assign(service, "s-1", to_queue(QUEUE, expectedAgentId=AGENT))
    assign(service, "s-1", to_agent(OTHER_AGENT, fallback=[{"aId": AGENT}]))
    move(service, "s-1", "release")
    move(service, "s-1", "close", expectedAgentId=None)

    told = history(service)

    assert [one["outcome"] for one in told] == [
        "transferred",
        "refused",
        "transferred",
        "transferred",
        "released",
        "closed",
    ]
    assert [(one["from"], one["to"]) for one in told] == [
        (place("bot"), place("agent", agent=AGENT)),
        (place("agent", agent=AGENT), place("agent", agent=OTHER_AGENT)),
        (place("agent", agent=AGENT), place("queue", queue=QUEUE)),
        (place("queue", queue=QUEUE), place("agent", agent=AGENT)),
        (place("agent", agent=AGENT), place("bot")),
        (place("bot"), place("closed")),
    ]
    assert [one["version"] for one in told] == [1, None, 2, 3, 4, 5]
    assert all(one.keys() == RECORDED for one in told)
    assert (told[1]["code"], told[1]["reason"]) == ("agent_unavailable", f"Agent {OTHER_AGENT} is AWAY.")
    assert (told[1]["expectedAgentId"], told[0]["expectedAgentId"]) == (AGENT, None)
    assert told[3]["passedOver"] == [{"agentId": OTHER_AGENT, "queueId": None, "code": "agent_unavailable"}]
    assert [one["callbackUrl"] for one in told[3:]] == ["http://localhost:8009", None, None]
    assert {(one["askedBy"], one["appId"]) for one in told} == {("app", sample.APP)}
    assert all(one["requestId"] for one in told)


def test_an_operator_is_told_as_one_and_not_by_a_name_that_no_app_has(service: api.Api) -> None:
    open_session(service)
    assign(service, "s-1", to_agent(AGENT))
    (transfer,) = service.rows(tables.transfers)
    service.change(tables.transfers, {"transfer_id": transfer["transfer_id"]}, app_id=OPERATOR)

    (told,) = history(service)

    assert (told["askedBy"], told["appId"]) == ("operator", None)


def test_walking_the_pages_of_a_history_tells_everything_once(service: api.Api) -> None:
    open_session(service)
    made = [assign(service, "s-1", to_agent("a-nobody"), 404) for _ in range(5)]
    seen: list[str] = []
    cursor: dict[str, str] = {}
    while not seen or cursor:
        page = get(service, "/conversations/sessions/s-1/history", limit=2, **cursor).json()
        seen += [one["transferId"] for one in page["results"]]
        cursor = {"cursor": page["nextCursor"]} if page["nextCursor"] else {}

    assert seen == made


def test_a_session_to_which_nothing_happened_has_an_empty_history(service: api.Api) -> None:
    open_session(service)

    assert history(service) == []
    assert api.refusal(get(service, "/conversations/sessions/s-nobody/history"), is_recorded=False) == (
        404,
        "session_not_found",
    )


def test_another_stream_and_another_account_neither_see_nor_move_the_session(service: api.Api) -> None:
    others = strangers(service.settings)
    open_session(service)
    assign(service, "s-1", to_agent(AGENT))
    for base, headers in others:
        for act in ("close", "release"):
            answer = service.client.post(f"{base}/conversations/sessions/s-1/{act}", headers=headers)
            assert api.refusal(answer, is_recorded=False) == (404, "session_not_found")
        seen = service.client.get(f"{base}/conversations/sessions/s-1/history", headers=headers)
        assert api.refusal(seen, is_recorded=False) == (404, "session_not_found")

    assert service.rows(tables.sessions, session_id="s-1")[0]["version"] == 1


def test_what_another_stream_tried_with_the_session_is_not_in_its_history(service: api.Api) -> None:
    (elsewhere, headers), _ = strangers(service.settings)
    open_session(service)
    tried = service.client.post(
        f"{elsewhere}/assign-conversation", headers=headers, json=sample.body(botSessionId="s-1")
    )

    assert api.refusal(tried) == (404, "session_not_found")
    assert history(service) == []


@pytest.mark.parametrize(
    ("method", "path", "scope"),
    [
        ("POST", "/conversations", "Configuration"),
        ("POST", "/conversations/sessions/s-1/close", "Configuration"),
        ("POST", "/conversations/sessions/s-1/release", "Configuration"),
        ("GET", "/conversations/sessions/s-1/history", "SmartAssist Analytics"),
    ],
)
def test_nobody_moves_or_sees_without_token_scope_and_stream(
    service: api.Api, method: str, path: str, scope: str
) -> None:
    others = [one for one in SCOPES if one != scope]
    load_directory(service.settings, {"apps": [sample.app(appId="cs-2", scopes=others)]})

    def call(base: str = BASE, **headers: str) -> tuple[int, str]:
        return api.refusal(service.client.request(method, base + path, headers=headers))

    assert call() == (401, "token_missing")
    assert call(auth=sample.token(appId="cs-2")) == (403, "scope_missing")
    assert call(BASE.replace(sample.STREAM, "st-foreign"), auth=sample.token()) == (403, "stream_forbidden")
    assert call(**sample.headers(accountid="acc-other")) == (403, "account_mismatch")


@pytest.mark.parametrize("path", ["/conversations", "/conversations/sessions/s-1/close"])
def test_past_what_the_service_takes_on_nothing_is_done_and_the_caller_told_to_come_again(
    settings: Settings, path: str
) -> None:
    allow_everything(settings)
    with api.serving(settings.model_copy(update={"patience_seconds": 1e-9})) as impatient:
        answer = post(impatient, path, {"botSessionId": "s-1"})

        assert api.refusal(answer) == (503, "overloaded")
        assert answer.headers["retry-after"]
        assert impatient.rows(tables.sessions, session_id="s-1") == []


def test_every_invariant_holds_after_lives_of_all_kinds(service: api.Api) -> None:
    for name, acts in (("s-1", ("release", "close")), ("s-2", ("close",)), ("s-3", ()), ("s-4", ("release",))):
        open_session(service, name)
        assign(service, name, to_agent(AGENT))
        for act in acts:
            move(service, name, act)
    audit = open_audit(service.settings)
    violations = audit.violations()
    audit.close()

    assert violations == []
    assert service.load() == 1
