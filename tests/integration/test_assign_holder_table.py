"""Who gets the session: every row of the contract's table and every refusal about it, on both stores."""

import json
import time
from collections.abc import Iterator
from typing import Any

import pytest

from handoff import load_directory
from handoff.store import tables
from rigs import sample
from rigs.api import Api, new_store, refusal, serving, to_agent, to_queue
from rigs.sample import AGENT, OTHER_AGENT, OTHER_QUEUE, QUEUE, SESSION

FOREIGN = "650d9eb6da96d0bc0d23yyyy"
STARTS = {"bot": None, "queue": to_queue(QUEUE), "agent": to_agent(AGENT)}


@pytest.fixture(scope="module", params=["sqlite", "postgres"])
def running(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    """One service for each kind of store."""
    with serving(new_store(request, tmp_path_factory)) as api:
        yield api


@pytest.fixture
def api(running: Api) -> Api:
    """The service with nothing but the sample's directory."""
    running.reset()
    return running


def begin(api: Api, start: str) -> None:
    """Bring the sample's session to where a row of the table finds it: the bot, the first queue or the first agent."""
    first = STARTS[start]
    if first is not None:
        assert api.assign(**first).status_code == 200


def holding(api: Api) -> dict[str, Any]:
    """Who has the sample's session, and what each agent carries."""
    (session,) = api.rows(tables.sessions, session_id=SESSION)
    loads = {agent: api.load(agent) for agent in (AGENT, OTHER_AGENT)}
    return {"state": session["state"], "holder": session["holder_id"], "version": session["version"], "loads": loads}


def held_by(named: dict[str, Any], *, version: int) -> dict[str, Any]:
    """The same for a session that the agent or queue of a request has; nobody else has anything."""
    queue, agent = named.get("queueId"), named["aId"]
    loads = {AGENT: int(agent == AGENT), OTHER_AGENT: int(agent == OTHER_AGENT)}
    return {"state": "queue" if queue else "agent", "holder": queue or agent, "version": version, "loads": loads}


@pytest.mark.parametrize(
    ("start", "named", "version"),
    [
        ("bot", to_agent(AGENT), 1),
        ("bot", to_queue(QUEUE), 1),
        ("queue", to_agent(AGENT), 2),
        ("queue", to_queue(OTHER_QUEUE), 2),
        ("agent", to_agent(OTHER_AGENT, expectedAgentId=AGENT), 2),
        ("agent", to_queue(QUEUE, expectedAgentId=AGENT), 2),
    ],
)
def test_the_session_and_its_slot_go_to_whom_the_request_names(
    api: Api, start: str, named: dict[str, Any], version: int
) -> None:
    begin(api, start)

    answer = api.assign(**named)

    assert answer.status_code == 200
    assert answer.headers["etag"] == f'"{version}"'
    assert holding(api) == held_by(named, version=version)


@pytest.mark.parametrize("named", [to_agent(OTHER_AGENT), to_queue(QUEUE)], ids=["agent", "queue"])
def test_where_reassigning_is_always_allowed_no_expectation_is_needed(api: Api, named: dict[str, Any]) -> None:
    begin(api, "agent")
    with serving(api.settings.model_copy(update={"reassign": "always"})) as generous:
        doubting = generous.assign(**named, expectedAgentId=OTHER_AGENT)
        answer = generous.assign(**named)

    assert refusal(doubting) == (409, "holder_changed")
    assert answer.status_code == 200
    assert holding(api) == held_by(named, version=2)


@pytest.mark.parametrize(
    "again",
    [to_agent(AGENT), to_agent(AGENT, expectedAgentId=OTHER_AGENT), to_queue(QUEUE)],
    ids=["agent", "agent with another expectation", "queue"],
)
def test_naming_the_holder_again_changes_nothing_whatever_became_of_it(api: Api, again: dict[str, Any]) -> None:
    first = api.assign(**again | {"expectedAgentId": None})
    api.change(tables.agents, {"agent_id": AGENT}, status="OFFLINE", max_sessions=0)
    before = api.rows(tables.sessions), api.rows(tables.agents), api.counts()

    answer = api.assign(**again)

    assert (answer.status_code, answer.content) == (200, first.content)
    assert (api.rows(tables.sessions), api.rows(tables.agents), api.counts()) == before


@pytest.mark.parametrize("named", [to_agent(AGENT), to_queue(QUEUE)], ids=["agent", "queue"])
def test_the_answer_has_the_four_documented_keys_and_the_rest_in_headers(api: Api, named: dict[str, Any]) -> None:
    earliest = time.time_ns() // 1_000_000
    answer = api.assign(headers=sample.headers(**{"X-Request-Id": "r-1"}), **named)
    latest = time.time_ns() // 1_000_000

    (transfer,) = api.rows(tables.transfers)
    holder = {"queueId": QUEUE} if "queueId" in named else {"agentId": AGENT}
    completed_at = answer.json()["requestCompletedAt"]
    assert answer.json() == {
        "sessionId": SESSION,
        **holder,
        "status": "transferred",
        "requestCompletedAt": completed_at,
    }
    assert isinstance(completed_at, int)
    assert earliest <= completed_at <= latest
    assert answer.headers["content-type"] == "application/json"
    assert (answer.headers["x-request-id"], answer.headers["x-transfer-id"]) == ("r-1", transfer["transfer_id"])
    assert (transfer["request_id"], transfer["completed_at"]) == ("r-1", completed_at)


def test_a_move_is_told_to_its_callback_with_the_agent_who_lost_the_session(api: Api) -> None:
    begin(api, "agent")

    answer = api.assign(callback_url="http://localhost:8010", **to_agent(OTHER_AGENT, expectedAgentId=AGENT))

    (message,) = api.rows(tables.callbacks, url="http://localhost:8010")
    assert json.loads(message["body"]) == {
        **answer.json(),
        "transferId": answer.headers["x-transfer-id"],
        "version": 2,
        "previousAgentId": AGENT,
    }


def test_an_agent_takes_as_many_sessions_as_it_has_slots_and_another_once_one_is_freed(api: Api) -> None:
    sessions = [f"s-{number}" for number in range(4)]
    rows = [sample.session(session) for session in sessions]
    load_directory(api.settings, {"agents": [sample.agent(maxChatSupport=2)], "sessions": rows})

    filled = [api.assign(botSessionId=session).status_code for session in sessions[:2]]
    turned_away = api.assign(botSessionId=sessions[2])
    full = api.load()
    moved = api.assign(botSessionId=sessions[0], **to_queue(QUEUE, expectedAgentId=AGENT))
    freed = api.load()
    taken = api.assign(botSessionId=sessions[3])

    assert (filled, moved.status_code, taken.status_code) == ([200, 200], 200, 200)
    assert refusal(turned_away) == (409, "agent_at_capacity")
    assert (full, freed, api.load()) == (2, 1, 2)


def test_an_agent_is_available_until_its_status_expires(api: Api) -> None:
    in_an_hour = time.time_ns() // 1_000_000 + 3_600_000
    api.change(tables.agents, {"agent_id": AGENT}, status_expires_at=in_an_hour)

    assert api.assign().status_code == 200


def crowd() -> sample.Directory:
    """Everybody whom a request can name in vain."""
    other_org = {"orgId": "o-other"}
    foreign = {"accountId": FOREIGN}
    statuses = [sample.agent(f"a-{status.lower()}", onlineStatusType=status) for status in ("AWAY", "BUSY", "OFFLINE")]
    full = [sample.agent("a-zero", maxChatSupport=0), sample.agent("a-full", maxChatSupport=1)]
    elsewhere = [sample.agent("a-elsewhere", **other_org), sample.agent("a-foreign", **foreign)]
    queue = {"orgId": sample.ORG, "accountId": sample.ACCOUNT}
    return {
        "streams": [{"streamId": "st-other", "orgId": sample.ORG, "accountId": sample.ACCOUNT}],
        "agents": [*statuses, *full, *elsewhere, sample.agent("a-lapsed")],
        "queues": [queue | {"id": "qu-elsewhere"} | other_org, queue | {"id": "qu-foreign"} | foreign],
        "sessions": [
            *(sample.session(name) for name in ("s-held", "s-queued", "s-closed", "s-full")),
            sample.session("s-elsewhere", streamId="st-other"),
            sample.session("s-foreign", **foreign),
        ],
    }


@pytest.fixture(scope="module", params=["sqlite", "postgres"])
def crowded(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    """A service whose sessions and agents are in every state that a transfer is refused for."""
    settings = new_store(request, tmp_path_factory)
    load_directory(settings, sample.directory())
    load_directory(settings, crowd())
    with serving(settings) as api:
        for session, named in (("s-held", AGENT), ("s-full", "a-full")):
            assert api.assign(botSessionId=session, aId=named).status_code == 200
        assert api.assign(botSessionId="s-queued", **to_queue(QUEUE)).status_code == 200
        api.change(tables.sessions, {"session_id": "s-closed"}, state="closed", holder_id=None)
        api.change(tables.agents, {"agent_id": "a-lapsed"}, status_expires_at=time.time_ns() // 1_000_000 - 1)
        yield api


IN_VAIN: list[tuple[dict[str, Any], int, str]] = [
    ({"orgId": "o-unknown"}, 404, "org_not_found"),
    ({"orgId": "o-other", "aId": "a-elsewhere"}, 404, "org_not_found"),
    ({"botSessionId": "s-unknown"}, 404, "session_not_found"),
    ({"botSessionId": "s-elsewhere"}, 404, "session_not_found"),
    ({"botSessionId": "s-foreign"}, 404, "session_not_found"),
    (to_agent("a-unknown"), 404, "agent_not_found"),
    (to_agent("a-elsewhere"), 404, "agent_not_found"),
    (to_agent("a-foreign"), 404, "agent_not_found"),
    (to_agent(QUEUE), 404, "agent_not_found"),
    (to_queue("qu-unknown"), 404, "queue_not_found"),
    (to_queue("qu-elsewhere"), 404, "queue_not_found"),
    (to_queue("qu-foreign"), 404, "queue_not_found"),
    (to_queue(AGENT), 404, "queue_not_found"),
    (to_agent("a-away"), 409, "agent_unavailable"),
    (to_agent("a-busy"), 409, "agent_unavailable"),
    (to_agent("a-offline"), 409, "agent_unavailable"),
    (to_agent("a-lapsed"), 409, "agent_unavailable"),
    (to_agent("a-zero"), 409, "agent_at_capacity"),
    (to_agent("a-full"), 409, "agent_at_capacity"),
    (to_agent("a-full", botSessionId="s-held", expectedAgentId=AGENT), 409, "agent_at_capacity"),
    ({"botSessionId": "s-closed"}, 410, "session_closed"),
    (to_queue(QUEUE, botSessionId="s-closed"), 410, "session_closed"),
]
WITH_ANOTHER: list[tuple[dict[str, Any], str, dict[str, Any]]] = [
    (to_agent(OTHER_AGENT, botSessionId="s-held"), "session_already_assigned", {"agentId": AGENT, "version": 1}),
    (to_queue(QUEUE, botSessionId="s-held"), "session_already_assigned", {"agentId": AGENT, "version": 1}),
    (
        to_agent(OTHER_AGENT, botSessionId="s-held", expectedAgentId=OTHER_AGENT),
        "holder_changed",
        {"agentId": AGENT, "version": 1},
    ),
    (
        to_queue(QUEUE, botSessionId="s-held", expectedAgentId=OTHER_AGENT),
        "holder_changed",
        {"agentId": AGENT, "version": 1},
    ),
    (
        to_agent(AGENT, botSessionId="s-queued", expectedAgentId=AGENT),
        "holder_changed",
        {"queueId": QUEUE, "version": 1},
    ),
    (to_agent(AGENT, expectedAgentId=AGENT), "holder_changed", {"version": 0}),
]


def refuse(api: Api, changes: dict[str, Any]) -> tuple[tuple[int, str], dict[str, Any], str | None]:
    """How a call is refused, whom the problem names, and its ETag; it must be recorded, told, and change nobody."""
    counts, state = api.counts(), (api.rows(tables.sessions), api.rows(tables.agents))

    answer = api.assign(**changes)

    (told,) = api.rows(tables.callbacks, transfer_id=answer.headers["x-transfer-id"])
    problem = answer.json()
    target = {"queueId": changes["queueId"]} if "queueId" in changes else {"agentId": changes.get("aId", AGENT)}
    assert json.loads(told["body"]) == {
        "sessionId": changes.get("botSessionId", SESSION),
        **target,
        "status": "failed",
        "code": problem["code"],
        "reason": problem["detail"],
        "requestCompletedAt": api.rows(tables.transfers, transfer_id=told["transfer_id"])[0]["completed_at"],
        "transferId": answer.headers["x-transfer-id"],
    }
    assert (api.rows(tables.sessions), api.rows(tables.agents)) == state
    assert api.counts() == counts | {"transfers": counts["transfers"] + 1, "callbacks": counts["callbacks"] + 1}
    named = {name: problem[name] for name in ("agentId", "queueId", "version") if name in problem}
    return refusal(answer), named, answer.headers.get("etag")


@pytest.mark.parametrize(("changes", "status", "code"), IN_VAIN)
def test_a_session_that_cannot_go_there_stays_and_the_callback_is_told_why(
    crowded: Api, changes: dict[str, Any], status: int, code: str
) -> None:
    assert refuse(crowded, changes) == ((status, code), {}, None)


@pytest.mark.parametrize(("changes", "code", "holder"), WITH_ANOTHER)
def test_a_session_is_not_taken_from_its_holder_whom_the_refusal_names(
    crowded: Api, changes: dict[str, Any], code: str, holder: dict[str, Any]
) -> None:
    assert refuse(crowded, changes) == ((409, code), holder, f'"{holder["version"]}"')
