"""Callbacks over HTTP: listed, shown, sent again and cancelled, by those whom they belong to."""

from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import Any

import httpx
import pytest
from httpx2 import Response

from conftest import StartService
from handoff import Settings, load_directory
from handoff.store.tables import callback_attempts, callbacks
from rigs import api, sample
from rigs.receiver import Receiver

BASE = f"/agentassist/api/v1/public/{sample.STREAM}/callbacks"
SUMMARY = {
    "id",
    "transferId",
    "sessionId",
    "callbackUrl",
    "state",
    "requestCompletedAt",
    "dueAt",
    "expiresAt",
    "attemptCount",
    "lastStatus",
    "lastError",
    "deadReason",
    "endedAt",
}


@pytest.fixture
def service(settings: Settings) -> Iterator[api.Api]:
    with api.serving(settings) as served:
        yield served


def get(service: api.Api, path: str = "", **params: Any) -> Response:
    return service.client.get(BASE + path, headers=sample.headers(), params=params)


def post(service: api.Api, path: str, **request: Any) -> Response:
    return service.client.post(BASE + path, headers=sample.headers(), **request)


def record(service: api.Api, count: int = 1, **body: Any) -> list[str]:
    """Refused calls, each with its callback; the ids of those, the newest first."""
    before = {row["callback_id"] for row in service.rows(callbacks)}
    for _ in range(count):
        assert service.assign(aId="a-nobody", **body).status_code == 404
    return sorted({row["callback_id"] for row in service.rows(callbacks)} - before, reverse=True)


def kill(service: api.Api, callback_id: str, state: str = "dead") -> None:
    reason = "exhausted" if state == "dead" else None
    service.change(callbacks, {"callback_id": callback_id}, state=state, dead_reason=reason, ended_at=9, attempts=12)


def test_a_list_shows_every_callback_of_the_stream_with_all_its_keys(service: api.Api) -> None:
    ids = record(service, 3)

    answer = get(service)

    assert answer.status_code == 200
    assert answer.json().keys() == {"results", "nextCursor"}
    assert [one["id"] for one in answer.json()["results"]] == ids
    assert answer.json()["nextCursor"] is None
    first = answer.json()["results"][0]
    assert first.keys() == SUMMARY
    assert (first["state"], first["sessionId"], first["callbackUrl"]) == (
        "pending",
        sample.SESSION,
        "http://localhost:8009",
    )
    assert answer.headers["x-request-id"]


def test_pages_follow_by_the_cursor(service: api.Api) -> None:
    ids = record(service, 5)

    first = get(service, limit=2).json()
    second = get(service, limit=2, cursor=first["nextCursor"]).json()
    third = get(service, limit=2, cursor=second["nextCursor"]).json()

    assert [one["id"] for page in (first, second, third) for one in page["results"]] == ids
    assert third["nextCursor"] is None


def test_filters_narrow_the_list(service: api.Api) -> None:
    dead, waiting = record(service, 2)
    (elsewhere,) = record(service, callbackUrl="http://localhost:8010/x")
    kill(service, dead)

    def found(**params: Any) -> list[str]:
        return [one["id"] for one in get(service, **params).json()["results"]]

    assert found(state="dead") == [dead]
    assert found(state="pending") == [elsewhere, waiting]
    assert found(host="localhost:8010") == [elsewhere]
    assert found(host="localhost", state="dead") == [dead]
    assert found(since=1) == [elsewhere, dead, waiting]
    assert found(since=1 << 45) == []


@pytest.mark.parametrize(
    ("params", "field"),
    [
        ({"state": "lost"}, "state"),
        ({"host": "a b"}, "host"),
        ({"since": "yesterday"}, "since"),
        ({"limit": 0}, "limit"),
        ({"limit": 201}, "limit"),
        ({"cursor": "nonsense"}, "cursor"),
        ({"cursor": "WyJtc2dfMSJd"}, "cursor"),
        ({"cursor": "WzEsIDFd"}, "cursor"),
    ],
)
def test_a_parameter_that_is_wrong_is_named(service: api.Api, params: dict[str, Any], field: str) -> None:
    answer = get(service, **params)

    assert api.refusal(answer) == (422, "invalid_request")
    assert answer.json()["detail"].startswith(f"{field}: ")


def test_a_host_that_can_be_none_is_told_what_it_may_be(service: api.Api) -> None:
    answer = get(service, host="https://b.example/")

    assert answer.json()["detail"] == "host: a name or an address, with its port or without: bots.example.com:8443."


def test_one_callback_is_shown_with_its_message_and_its_attempts(service: api.Api) -> None:
    (callback_id,) = record(service)
    attempt = {"account_id": sample.ACCOUNT, "callback_id": callback_id, "duration_ms": 7}
    service.insert(
        callback_attempts,
        {**attempt, "claim": 1, "started_at": 1, "error": "connect", "detail": "10.1.2.3 refused", "status": None},
        {**attempt, "claim": 3, "started_at": 2, "status": 500, "remote_address": "10.1.2.3"},
        {**attempt, "claim": 4, "started_at": 3, "status": 502, "remote_address": "9.9.9.9", "excerpt": "bad gateway"},
    )

    shown = get(service, f"/{callback_id}").json()

    assert shown.keys() == SUMMARY | {"message", "attempts"}
    assert shown["message"]["code"] == "agent_not_found"
    assert [one["n"] for one in shown["attempts"]] == [1, 2, 3]
    assert [(one["status"], one["error"]) for one in shown["attempts"]] == [
        (None, "connect"),
        (500, None),
        (502, None),
    ]
    assert [one["remoteAddress"] for one in shown["attempts"]] == [None, None, "9.9.9.9"]
    assert "10.1.2.3" not in get(service, f"/{callback_id}").text
    assert shown["attempts"][2]["excerpt"] == "bad gateway"


def test_a_dead_callback_is_sent_again_and_one_under_way_is_not(service: api.Api) -> None:
    dead, sending = record(service, 2)
    kill(service, dead)
    service.change(callbacks, {"callback_id": sending}, state="sending", lease_token="t", lease_until=1 << 50)

    again = post(service, f"/{dead}/redeliver")
    refused = post(service, f"/{sending}/redeliver")

    assert again.status_code == 200
    assert (again.json()["state"], again.json()["attemptCount"], again.json()["deadReason"]) == ("pending", 0, None)
    assert api.refusal(refused) == (409, "callback_in_flight")


def test_a_pending_callback_is_cancelled_once_and_for_all(service: api.Api) -> None:
    pending, dead, sending = record(service, 3)
    kill(service, dead)
    service.change(callbacks, {"callback_id": sending}, state="sending", lease_token="t", lease_until=1 << 50)

    cancelled = [post(service, f"/{pending}/cancel") for _ in range(2)]
    refused = [api.refusal(post(service, f"/{one}/cancel")) for one in (dead, sending)]

    assert [answer.json()["state"] for answer in cancelled] == ["cancelled", "cancelled"]
    assert refused == [(409, "callback_ended"), (409, "callback_in_flight")]


def test_many_are_sent_again_spread_out_and_only_those_that_were_asked_for(service: api.Api) -> None:
    *dead, delivered, pending = record(service, 6)
    for one in dead:
        kill(service, one)
    kill(service, delivered, "delivered")

    answer = post(service, "/redeliver", json={"perSecond": 2})

    rows = {row["callback_id"]: row for row in service.rows(callbacks)}
    due = sorted(rows[one]["due_at"] for one in dead)
    assert answer.json() == {"redelivered": 4, "lastDueAt": due[-1], "nextCursor": None}
    assert [after - before for before, after in pairwise(due)] == [500, 500, 500]
    assert [rows[one]["state"] for one in (delivered, pending)] == ["delivered", "pending"]


def test_without_a_body_the_dead_are_sent_again(service: api.Api) -> None:
    dead, _ = record(service, 2)
    kill(service, dead)

    assert post(service, "/redeliver").json()["redelivered"] == 1
    assert post(service, "/redeliver").json() == {"redelivered": 0, "lastDueAt": None, "nextCursor": None}


def test_more_than_one_step_go_on_where_the_last_ended(service: api.Api) -> None:
    record(service, 1)
    (row,) = service.rows(callbacks)
    row |= {"state": "dead", "dead_reason": "exhausted"}
    service.insert(callbacks, *({**row, "callback_id": f"{row['callback_id']}_{n:04}"} for n in range(1_100)))

    first = post(service, "/redeliver", json={"perSecond": 1_000}).json()
    second = post(service, "/redeliver", json={"perSecond": 1_000, "cursor": first["nextCursor"]}).json()

    due = sorted(row["due_at"] for row in service.rows(callbacks, is_retry=True))
    assert (first["redelivered"], second["redelivered"], second["nextCursor"]) == (1_000, 100, None)
    assert second["lastDueAt"] - first["lastDueAt"] >= 100
    assert len(set(due)) == 1_100


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"state": "pending"}, "state"),
        ({"perSecond": 0}, "perSecond"),
        ({"since": -1}, "since"),
        ({"cursor": "x"}, "cursor"),
    ],
)
def test_a_redelivery_that_makes_no_sense_changes_nothing(service: api.Api, body: dict[str, Any], field: str) -> None:
    (dead,) = record(service)
    kill(service, dead)

    answer = post(service, "/redeliver", json=body)

    assert api.refusal(answer) == (422, "invalid_request")
    assert answer.json()["detail"].startswith(f"{field}: ")
    assert service.rows(callbacks)[0]["state"] == "dead"


def test_bodies_of_other_kinds_and_sizes_are_refused_like_everywhere(service: api.Api) -> None:
    large = post(service, "/redeliver", content=b"{" + b" " * 70_000 + b"}")
    form = post(service, "/redeliver", data={"state": "dead"})
    broken = post(service, "/redeliver", content=b"{")
    plain = post(service, "/redeliver", content=b'{"state":"dead"}')

    assert api.refusal(large) == (413, "body_too_large")
    assert api.refusal(form) == (415, "unsupported_media_type")
    assert api.refusal(broken) == (422, "invalid_request")
    assert broken.json()["detail"].startswith("the body is not JSON: ")
    assert plain.status_code == 200


ROUTES: list[Callable[[str, str], tuple[str, str]]] = [
    lambda base, _: ("GET", base),
    lambda base, one: ("GET", f"{base}/{one}"),
    lambda base, one: ("POST", f"{base}/{one}/redeliver"),
    lambda base, one: ("POST", f"{base}/{one}/cancel"),
    lambda base, _: ("POST", f"{base}/redeliver"),
]


@pytest.mark.parametrize("route", ROUTES)
def test_nobody_gets_at_callbacks_without_token_scope_and_stream(
    service: api.Api, route: Callable[[str, str], tuple[str, str]]
) -> None:
    (callback_id,) = record(service)
    kill(service, callback_id)
    load_directory(service.settings, {"apps": [sample.app(appId="cs-reader", scopes=["SmartAssist Analytics"])]})
    method, url = route(BASE, callback_id)
    _, foreign = route(BASE.replace(sample.STREAM, "st-foreign"), callback_id)

    nobody = service.client.request(method, url)
    reader = service.client.request(method, url, headers={"auth": sample.token(appId="cs-reader")})
    stranger = service.client.request(method, foreign, headers=sample.headers())
    other = service.client.request(method, url, headers=sample.headers(accountid="acc-other"))

    assert api.refusal(nobody) == (401, "token_missing")
    assert api.refusal(reader) == (403, "scope_missing")
    assert api.refusal(stranger) == (403, "stream_forbidden")
    assert api.refusal(other) == (403, "account_mismatch")
    assert service.rows(callbacks)[0]["state"] == "dead"


@pytest.mark.parametrize("path", ["/msg_nobody", "/x%00y"])
@pytest.mark.parametrize("act", ["", "/redeliver", "/cancel"])
def test_a_callback_that_is_not_there_is_not_found(service: api.Api, path: str, act: str) -> None:
    answer = post(service, path + act) if act else get(service, path)

    assert api.refusal(answer) == (404, "callback_not_found")


def test_another_streams_and_another_accounts_callbacks_are_not_there(service: api.Api) -> None:
    load_directory(
        service.settings,
        {
            "streams": [
                {"streamId": "st-2", "accountId": sample.ACCOUNT, "orgId": sample.ORG},
                {"streamId": "st-3", "accountId": "acc-3", "orgId": "o-3"},
            ],
            "apps": [sample.app(streams="*"), sample.app(appId="cs-3", accountId="acc-3", streams="*")],
        },
    )
    (callback_id,) = record(service)
    kill(service, callback_id)
    for stream, headers in (("st-2", sample.headers()), ("st-3", {"auth": sample.token(appId="cs-3")})):
        base = BASE.replace(sample.STREAM, stream)

        assert service.client.get(base, headers=headers).json()["results"] == []
        assert service.client.post(f"{base}/redeliver", headers=headers).json()["redelivered"] == 0
        for act in ("redeliver", "cancel"):
            answer = service.client.post(f"{base}/{callback_id}/{act}", headers=headers)
            assert api.refusal(answer) == (404, "callback_not_found")
    assert service.rows(callbacks)[0]["state"] == "dead"


def test_a_callback_sent_anew_arrives_once_more_under_its_id(database_url: str, start_service: StartService) -> None:
    load_directory(Settings(database_url=database_url), sample.directory())
    with Receiver(answer=410) as receiver:
        service = start_service(database_url)
        client = httpx.Client(base_url=service.url, timeout=60)
        client.post(sample.PATH, headers=sample.headers(), json=sample.body(receiver.url()))
        (first,) = receiver.wait_for(1)
        callback_id = first.headers["webhook-id"]
        receiver.answer = 200
        api.until(lambda: client.get(f"{BASE}/{callback_id}", headers=sample.headers()).json()["state"] == "dead")

        client.post(f"{BASE}/{callback_id}/redeliver", headers=sample.headers())
        _, second = receiver.wait_for(2)
        api.until(lambda: client.get(f"{BASE}/{callback_id}", headers=sample.headers()).json()["state"] == "delivered")
        shown = client.get(f"{BASE}/{callback_id}", headers=sample.headers()).json()
        client.close()

    assert second.headers["webhook-id"] == callback_id
    assert second.body == first.body
    assert [one["status"] for one in shown["attempts"]] == [410, 200]
