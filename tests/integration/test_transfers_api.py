"""Transfers over HTTP: listed with filters, shown with what became of telling them."""

from collections.abc import Iterator
from typing import Any

import pytest

from handoff import Settings, load_directory
from handoff.store import tables
from rigs import api, sample
from rigs.api import to_agent, to_queue
from rigs.conversations import BASE, OTHER_STREAM, allow_everything, assign, get, move, open_session, strangers
from rigs.sample import AGENT, OTHER_AGENT, QUEUE


@pytest.fixture
def service(settings: Settings) -> Iterator[api.Api]:
    allow_everything(settings)
    with api.serving(settings) as served:
        yield served


def listed(service: api.Api, **params: Any) -> list[str]:
    return [one["transferId"] for one in get(service, "/transfers", **params).json()["results"]]


def test_filters_narrow_the_list_and_the_newest_come_first(service: api.Api) -> None:
    for name in ("s-1", "s-2"):
        open_session(service, name)
    won = assign(service, "s-1", to_agent(AGENT))
    refused = assign(service, "s-1", to_agent("a-nobody"), 404)
    queued = assign(service, "s-1", to_queue(QUEUE, expectedAgentId=AGENT))
    other = assign(service, "s-2", to_agent(OTHER_AGENT))
    released = move(service, "s-2", "release").headers["x-transfer-id"]
    closed = move(service, "s-2", "close").headers["x-transfer-id"]

    assert listed(service) == [closed, released, other, queued, refused, won]
    assert listed(service, sessionId="s-1") == [queued, refused, won]
    assert listed(service, agentId=AGENT) == [queued, refused, won]
    assert listed(service, agentId=OTHER_AGENT) == [released, other]
    assert listed(service, agentId="a-nobody") == [refused]
    assert listed(service, outcome="transferred") == [other, queued, won]
    assert listed(service, outcome="refused") == [refused]
    assert listed(service, outcome="released") == [released]
    assert listed(service, outcome="closed") == [closed]
    assert listed(service, code="agent_not_found") == [refused]
    assert listed(service, code="agent_at_capacity") == []
    assert listed(service, since=1) == listed(service)
    assert listed(service, since=(1 << 48) - 1) == []


def test_walking_all_pages_shows_every_transfer_once(service: api.Api) -> None:
    open_session(service)
    made = [assign(service, "s-1", to_agent("a-nobody"), 404) for _ in range(5)]
    seen: list[str] = []
    cursor: dict[str, str] = {}
    while not seen or cursor:
        page = get(service, "/transfers", limit=2, **cursor).json()
        assert page.keys() == {"results", "nextCursor"}
        seen += [one["transferId"] for one in page["results"]]
        cursor = {"cursor": page["nextCursor"]} if page["nextCursor"] else {}

    assert seen == list(reversed(made))


@pytest.mark.parametrize(
    ("params", "field"),
    [
        ({"outcome": "lost"}, "outcome"),
        ({"sessionId": "a b"}, "sessionId"),
        ({"agentId": "\x00"}, "agentId"),
        ({"code": "a b"}, "code"),
        ({"since": -1}, "since"),
        ({"since": 1 << 64}, "since"),
        ({"limit": 0}, "limit"),
        ({"cursor": "x"}, "cursor"),
    ],
)
def test_a_parameter_that_is_wrong_is_named(service: api.Api, params: dict[str, Any], field: str) -> None:
    answer = get(service, "/transfers", **params)

    assert api.refusal(answer) == (422, "invalid_request")
    assert answer.json()["detail"].startswith(f"{field}: ")


def test_a_transfer_is_shown_with_its_callback_and_the_copies_for_other_urls(service: api.Api) -> None:
    open_session(service)
    won = assign(service, "s-1", to_agent(AGENT))
    other = assign(service, "s-1", to_agent("a-nobody"), 404)
    for port in (8010, 8011):
        assert assign(service, "s-1", to_agent(AGENT, callbackUrl=f"http://localhost:{port}")) == won
    service.change(
        tables.callbacks, {"url": "http://localhost:8010"}, state="dead", dead_reason="gone", last_status=410
    )

    shown = get(service, f"/transfers/{won}").json()
    refused = get(service, f"/transfers/{other}").json()

    (listed_one,) = [one for one in get(service, "/transfers").json()["results"] if one["transferId"] == won]
    assert {name: value for name, value in shown.items() if name != "callbacks"} == listed_one
    assert shown["callbacks"][0]["id"] == won.replace("tr_", "msg_")
    assert {(one["callbackUrl"], one["state"], one["lastStatus"]) for one in shown["callbacks"]} == {
        ("http://localhost:8009", "pending", None),
        ("http://localhost:8010", "dead", 410),
        ("http://localhost:8011", "pending", None),
    }
    assert [one["id"] for one in refused["callbacks"]] == [other.replace("tr_", "msg_")]
    assert refused["reason"] == f"Agent a-nobody is not known in org {sample.ORG}."


def test_a_release_is_shown_without_callbacks(service: api.Api) -> None:
    open_session(service)
    assign(service, "s-1", to_queue(QUEUE))
    released = move(service, "s-1", "release").headers["x-transfer-id"]

    shown = get(service, f"/transfers/{released}").json()

    assert (shown["callbacks"], shown["callbackUrl"], shown["outcome"]) == ([], None, "released")


@pytest.mark.parametrize("name", ["tr_nobody", "x%00y"])
def test_a_transfer_that_is_not_there_is_not_found(service: api.Api, name: str) -> None:
    assert api.refusal(get(service, f"/transfers/{name}")) == (404, "transfer_not_found")


def test_another_streams_and_another_accounts_transfers_are_not_there(service: api.Api) -> None:
    others = strangers(service.settings)
    open_session(service)
    won = assign(service, "s-1", to_agent(AGENT))
    for base, headers in others:
        for query in ("", "?sessionId=s-1", f"?agentId={AGENT}"):
            seen = service.client.get(f"{base}/transfers{query}", headers=headers)
            assert seen.json() == {"results": [], "nextCursor": None}
        answer = service.client.get(f"{base}/transfers/{won}", headers=headers)
        assert api.refusal(answer) == (404, "transfer_not_found")


def test_a_call_on_another_streams_session_does_not_tell_its_caller_who_has_it(service: api.Api) -> None:
    (elsewhere, headers), _ = strangers(service.settings)
    open_session(service)
    assign(service, "s-1", to_agent(AGENT))
    body = sample.body(botSessionId="s-1", aId=OTHER_AGENT)
    tried = service.client.post(f"{elsewhere}/assign-conversation", headers=headers, json=body)

    shown = service.client.get(f"{elsewhere}/transfers/{tried.headers['x-transfer-id']}", headers=headers)
    searched = service.client.get(f"{elsewhere}/transfers?agentId={AGENT}", headers=headers)

    assert api.refusal(tried) == (404, "session_not_found")
    assert (shown.json()["outcome"], shown.json()["from"]) == ("refused", None)
    assert AGENT not in shown.text
    assert searched.json()["results"] == []
    assert OTHER_STREAM in elsewhere


@pytest.mark.parametrize("path", ["/transfers", "/transfers/tr_1"])
def test_nobody_sees_transfers_without_token_scope_and_stream(service: api.Api, path: str) -> None:
    load_directory(service.settings, {"apps": [sample.app(appId="cs-2", scopes=["Routing", "Configuration"])]})

    nobody = service.client.get(BASE + path)
    unscoped = service.client.get(BASE + path, headers={"auth": sample.token(appId="cs-2")})
    stranger = service.client.get(BASE.replace(sample.STREAM, "st-foreign") + path, headers=sample.headers())

    assert api.refusal(nobody) == (401, "token_missing")
    assert api.refusal(unscoped) == (403, "scope_missing")
    assert api.refusal(stranger) == (403, "stream_forbidden")
