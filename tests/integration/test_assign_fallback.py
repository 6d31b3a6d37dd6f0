"""Calls that name further targets, and calls that only ask what would happen, on both stores."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from handoff import load_directory
from handoff.store import tables
from rigs import sample
from rigs.api import Api, new_store, refusal, serving, to_agent
from rigs.sample import AGENT, OTHER_AGENT, QUEUE, SESSION

AWAY = sample.agent(AGENT, onlineStatusType="AWAY")
FULL = sample.agent("a-full", maxChatSupport=0)
TO_OTHER = {"aId": OTHER_AGENT}
TO_QUEUE = {"queueId": QUEUE}


@pytest.fixture(scope="module", params=["sqlite", "postgres"])
def running(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    """One service for each kind of store."""
    with serving(new_store(request, tmp_path_factory)) as api:
        yield api


@pytest.fixture
def api(running: Api) -> Api:
    """The service with the sample's directory, whose first agent is away, and one agent without a slot."""
    running.reset()
    load_directory(running.settings, {"agents": [AWAY, FULL]})
    return running


def whole_store(api: Api) -> dict[str, list[dict[str, Any]]]:
    return {table.name: api.rows(table) for table in tables.metadata.sorted_tables}


def test_the_first_who_can_take_it_gets_it_and_answer_callback_and_event_name_that_one(api: Api) -> None:
    answer = api.assign(fallback=[{"aId": "a-full"}, TO_OTHER, TO_QUEUE])

    assert answer.status_code == 200
    assert answer.json().keys() == {"sessionId", "agentId", "status", "requestCompletedAt"}
    assert answer.json()["agentId"] == OTHER_AGENT
    (row,) = api.rows(tables.transfers)
    passed_over = [("agent", AGENT, "agent_unavailable"), ("agent", "a-full", "agent_at_capacity")]
    assert [tuple(one) for one in json.loads(row["passed_over"])] == passed_over
    (callback,) = api.rows(tables.callbacks)
    told = json.loads(callback["body"])
    assert told["agentId"] == OTHER_AGENT
    assert [one["code"] for one in told["passedOver"]] == ["agent_unavailable", "agent_at_capacity"]
    (event,) = api.rows(tables.events)
    assert (event["kind"], event["agent_id"], event["position"]) == ("session.transferred", OTHER_AGENT, 1)
    assert {agent: api.load(agent) for agent in (AGENT, "a-full", OTHER_AGENT)} == {
        AGENT: 0,
        "a-full": 0,
        OTHER_AGENT: 1,
    }


def test_a_repeat_gets_the_same_bytes_and_adds_nothing_even_when_the_first_one_is_free_by_then(api: Api) -> None:
    first = api.assign(fallback=[TO_OTHER])
    api.change(tables.agents, {"agent_id": AGENT}, status="AVAILABLE")
    before = whole_store(api)
    second = api.assign(fallback=[TO_OTHER])

    assert second.content == first.content
    assert second.headers["x-transfer-id"] == first.headers["x-transfer-id"]
    assert whole_store(api) == before


def test_where_nobody_can_take_it_the_first_refusal_stands_and_names_the_others(api: Api) -> None:
    answer = api.assign(fallback=[{"aId": "a-full"}])

    assert answer.status_code == 409
    problem = answer.json()
    assert (problem["code"], problem["passedOver"]) == (
        "agent_unavailable",
        [{"agentId": "a-full", "code": "agent_at_capacity"}],
    )
    assert api.rows(tables.sessions, session_id=SESSION)[0]["version"] == 0
    assert api.rows(tables.events) == []


@pytest.mark.parametrize(
    "fallback",
    [
        [TO_OTHER] * 6,
        [{}],
        [{"aId": OTHER_AGENT, "queueId": QUEUE}],
        [{"aId": "no id"}],
        [OTHER_AGENT],
        {"aId": OTHER_AGENT},
        "a-1",
    ],
)
def test_a_fallback_of_another_shape_is_refused(api: Api, fallback: object) -> None:
    answer = api.assign(fallback=fallback)

    assert refusal(answer) == (422, "invalid_request")
    assert "fallback" in answer.json()["detail"]


def test_a_fallback_in_the_query_string_is_refused_rather_than_overlooked(api: Api) -> None:
    answer = api.post(path=f"{sample.PATH}?fallback=a-1", json=sample.body())

    assert refusal(answer) == (422, "invalid_request")


def test_a_fallback_goes_with_fields_in_the_query_string(api: Api) -> None:
    answer = api.post(path=f"{sample.PATH}?aId={AGENT}", json=sample.body(aId=None, fallback=[TO_OTHER]))

    assert (answer.status_code, answer.json()["agentId"]) == (200, OTHER_AGENT)


@pytest.mark.parametrize(
    ("changes", "status"),
    [
        (to_agent(OTHER_AGENT), 200),
        ({"fallback": [TO_OTHER]}, 200),
        ({}, 409),
        ({"botSessionId": "s-unknown"}, 404),
    ],
)
def test_a_dry_run_answers_as_the_call_would_and_leaves_nothing(api: Api, changes: dict[str, Any], status: int) -> None:
    before = whole_store(api)
    dry = api.assign(dryRun=True, **changes)
    after = whole_store(api)
    real = api.assign(**changes)

    assert after == before
    assert dry.status_code == real.status_code == status
    assert (dry.headers["x-dry-run"], "x-transfer-id" in dry.headers, "x-dry-run" in real.headers) == (
        "true",
        False,
        False,
    )
    assert dry.headers.get("etag") == real.headers.get("etag")
    volatile = {"requestCompletedAt": 0}
    assert dry.json() | volatile == real.json() | volatile


def test_a_dry_run_of_what_was_done_before_shows_the_recorded_answer(api: Api) -> None:
    real = api.assign(**to_agent(OTHER_AGENT))
    before = whole_store(api)
    dry = api.assign(**to_agent(OTHER_AGENT), dryRun=True, callbackUrl="http://localhost:8010")

    assert dry.content == real.content
    assert dry.headers["x-transfer-id"] == real.headers["x-transfer-id"]
    assert whole_store(api) == before


def test_a_dry_run_uses_up_no_key(api: Api) -> None:
    keyed = sample.headers(**{"Idempotency-Key": "k-1"})
    dry = api.assign(headers=keyed, dryRun=True, **to_agent(OTHER_AGENT))
    real = api.assign(headers=keyed, **to_agent(OTHER_AGENT))

    assert (dry.status_code, real.status_code) == (200, 200)
    assert "x-transfer-id" in real.headers


def test_a_dry_run_may_be_asked_for_in_the_query_string(api: Api) -> None:
    answer = api.post(path=f"{sample.PATH}?dryRun=true", json=sample.body(**to_agent(OTHER_AGENT)))

    assert (answer.status_code, answer.headers["x-dry-run"]) == (200, "true")
    assert api.rows(tables.transfers) == []


def test_a_dry_run_that_the_body_asks_for_and_the_query_does_not_is_refused(api: Api) -> None:
    answer = api.post(path=f"{sample.PATH}?dryRun=false", json=sample.body(dryRun=True))

    assert refusal(answer) == (422, "conflicting_parameters")
