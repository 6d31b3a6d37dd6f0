"""Repeats: the recorded answer again, with and without an Idempotency-Key, and no message told twice."""

from collections.abc import Iterator
from typing import Any

import jwt
import pytest

from handoff import load_directory
from handoff.store import tables
from rigs import sample
from rigs.api import Api, new_store, refusal, serving, to_agent, to_queue
from rigs.sample import AGENT, OTHER_AGENT, QUEUE

KEY = sample.headers(**{"Idempotency-Key": "k-1"})
OTHER_APP = "cs-other"
ELSEWHERE = "http://localhost:8010"


@pytest.fixture(scope="module", params=["sqlite", "postgres"])
def running(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    """One service for each kind of store; what an app is told by the directory is never remembered."""
    settings = new_store(request, tmp_path_factory)
    with serving(settings.model_copy(update={"token_cache_seconds": 0})) as api:
        yield api


@pytest.fixture
def api(running: Api) -> Api:
    """The service with nothing but the sample's directory."""
    running.reset()
    return running


def counts(transfers: int, callbacks: int, keys: int) -> dict[str, int]:
    return {"transfers": transfers, "callbacks": callbacks, "idempotency_keys": keys}


def of_other_app(**more: str) -> dict[str, str]:
    """Headers of another app of the same account."""
    return {"auth": jwt.encode({"appId": OTHER_APP}, sample.SECRET, "HS256"), **more}


def told(api: Api) -> list[tuple[str, str, str]]:
    """Every message of the outbox: where to, of which transfer, and its text."""
    return sorted((row["url"], row["transfer_id"], row["body"]) for row in api.rows(tables.callbacks))


@pytest.mark.parametrize("named", [to_agent(AGENT), to_queue(QUEUE)], ids=["agent", "queue"])
def test_a_repeat_without_a_key_gets_the_first_answer_byte_for_byte(api: Api, named: dict[str, Any]) -> None:
    first = api.assign(headers=sample.headers(**{"X-Request-Id": "r-1"}), **named)

    again = api.assign(headers=sample.headers(**{"X-Request-Id": "r-2"}), **named)

    assert (again.status_code, again.content) == (200, first.content)
    assert dict(again.headers) == dict(first.headers) | {"x-request-id": "r-2"}
    assert api.counts() == counts(1, 1, 0)


def test_a_session_that_came_back_to_an_agent_repeats_the_latest_of_its_answers(api: Api) -> None:
    first = api.assign()
    api.assign(**to_queue(QUEUE, expectedAgentId=AGENT))
    latest = api.assign()

    again = api.assign()

    assert again.headers["etag"] == latest.headers["etag"] == '"3"'
    assert again.headers["x-transfer-id"] == latest.headers["x-transfer-id"] != first.headers["x-transfer-id"]
    assert (again.content, api.counts()) == (latest.content, counts(3, 3, 0))


def test_a_refusal_without_a_key_is_decided_anew(api: Api) -> None:
    api.change(tables.agents, {"agent_id": AGENT}, status="AWAY")
    refused = [refusal(api.assign()) for _ in range(2)]
    before = api.counts()
    api.change(tables.agents, {"agent_id": AGENT}, status="AVAILABLE")

    answer = api.assign()

    assert refused == [(409, "agent_unavailable")] * 2
    assert before == counts(2, 2, 0)
    assert answer.status_code == 200


def test_a_keyed_answer_is_repeated_byte_for_byte_after_the_session_moved_on(api: Api) -> None:
    first = api.assign(headers=KEY)
    moved = api.assign(**to_queue(QUEUE, expectedAgentId=AGENT))

    again = [api.assign(headers=KEY) for _ in range(2)]

    assert moved.status_code == 200
    assert [(one.status_code, one.content) for one in again] == [(200, first.content)] * 2
    for name in ("x-transfer-id", "etag", "content-type"):
        assert [one.headers[name] for one in again] == [first.headers[name]] * 2
    assert api.counts() == counts(2, 2, 1)


@pytest.mark.parametrize(
    ("named", "status", "mended"),
    [
        (to_agent("a-late"), 404, {"agents": [sample.agent("a-late")]}),
        (to_agent("a-zero"), 409, {"agents": [sample.agent("a-zero")]}),
    ],
    ids=["unknown agent", "agent without slots"],
)
def test_a_keyed_refusal_stands_byte_for_byte_even_where_the_request_would_win_now(
    api: Api, named: dict[str, Any], status: int, mended: sample.Directory
) -> None:
    load_directory(api.settings, {"agents": [sample.agent("a-zero", maxChatSupport=0)]})
    first = api.assign(headers=KEY, **named)
    load_directory(api.settings, mended)

    again = [api.assign(headers=KEY, **named) for _ in range(2)]
    recorded = api.counts()
    unkeyed = api.assign(**named)

    assert [(one.status_code, one.content) for one in again] == [(status, first.content)] * 2
    for name in ("x-transfer-id", "content-type"):
        assert [one.headers[name] for one in again] == [first.headers[name]] * 2
    assert recorded == counts(1, 1, 1)
    assert unkeyed.status_code == 200


@pytest.mark.parametrize(
    "other",
    [
        to_agent(OTHER_AGENT),
        to_queue(QUEUE),
        to_queue(AGENT),
        {"botSessionId": "s-other"},
        {"orgId": "o-other"},
        {"callbackUrl": ELSEWHERE},
        {"expectedAgentId": AGENT},
    ],
    ids="-".join,
)
def test_a_key_that_comes_with_another_request_is_refused_and_nothing_is_recorded(
    api: Api, other: dict[str, Any]
) -> None:
    first = api.assign(headers=KEY)

    reused = api.assign(headers=KEY, **other)

    again = api.assign(headers=KEY)
    assert refusal(reused) == (422, "idempotency_key_reused")
    assert again.content == first.content
    assert api.counts() == counts(1, 1, 1)
    assert api.rows(tables.sessions)[0]["version"] == 1


def test_a_key_stands_for_the_request_itself_wherever_its_fields_are_sent(api: Api) -> None:
    first = api.assign(headers=KEY, note="a field that nobody knows")

    again = api.post(headers=KEY, params=sample.body())

    assert (again.status_code, again.content) == (200, first.content)
    assert api.counts() == counts(1, 1, 1)


def test_the_key_of_another_app_is_another_key(api: Api) -> None:
    load_directory(api.settings, {"apps": [sample.app(appId=OTHER_APP)], "sessions": [sample.session("s-2")]})
    api.assign(headers=KEY)

    other = {"botSessionId": "s-2", **to_agent(OTHER_AGENT)}
    first, again = (api.assign(headers=of_other_app(**{"Idempotency-Key": "k-1"}), **other) for _ in range(2))

    apps = [(row["app_id"], row["key"]) for row in api.rows(tables.idempotency_keys)]
    assert first.json()["agentId"] == OTHER_AGENT
    assert (again.status_code, again.content) == (200, first.content)
    assert apps == [(sample.APP, "k-1"), (OTHER_APP, "k-1")]
    assert api.counts() == counts(2, 2, 2)


def test_another_callback_url_is_told_one_copy_however_often_the_request_is_repeated(api: Api) -> None:
    first = api.assign()

    again = [api.assign(callback_url=url) for url in (ELSEWHERE, ELSEWHERE, "http://localhost:8009", ELSEWHERE)]

    transfer_id = first.headers["x-transfer-id"]
    (_, _, message), *_ = messages = told(api)
    assert {(one.status_code, one.content) for one in again} == {(200, first.content)}
    assert {one.headers["x-transfer-id"] for one in again} == {transfer_id}
    assert messages == [("http://localhost:8009", transfer_id, message), (ELSEWHERE, transfer_id, message)]
    assert api.counts() == counts(1, 2, 0)


def test_another_app_that_repeats_the_request_has_its_own_copy_of_the_message(api: Api) -> None:
    load_directory(api.settings, {"apps": [sample.app(appId=OTHER_APP)]})
    first = api.assign()

    again = api.assign(headers=of_other_app(), callback_url=ELSEWHERE)

    owners = {row["url"]: row["app_id"] for row in api.rows(tables.callbacks)}
    assert (again.status_code, again.content) == (200, first.content)
    assert owners == {"http://localhost:8009": sample.APP, ELSEWHERE: OTHER_APP}


def test_a_keyed_repeat_of_an_unkeyed_win_records_the_key_alone(api: Api) -> None:
    first = api.assign()

    again = [api.assign(headers=KEY) for _ in range(2)]
    recorded = api.counts()
    reused = api.assign(headers=KEY, callback_url=ELSEWHERE)

    (key,) = api.rows(tables.idempotency_keys)
    assert [(one.status_code, one.content) for one in again] == [(200, first.content)] * 2
    assert key["transfer_id"] == first.headers["x-transfer-id"]
    assert refusal(reused) == (422, "idempotency_key_reused")
    assert api.counts() == recorded == counts(1, 1, 1)


def test_a_keyed_repeat_with_another_callback_url_is_told_once(api: Api) -> None:
    first = api.assign()

    again = [api.assign(headers=KEY, callback_url=ELSEWHERE) for _ in range(2)]

    assert [(one.status_code, one.content) for one in again] == [(200, first.content)] * 2
    assert api.counts() == counts(1, 2, 1)


def test_two_keys_for_one_request_share_its_transfer(api: Api) -> None:
    answers = [api.assign(headers=sample.headers(**{"Idempotency-Key": key})) for key in ("k-1", "k-2")]

    assert answers[0].content == answers[1].content
    assert api.counts() == counts(1, 1, 2)
