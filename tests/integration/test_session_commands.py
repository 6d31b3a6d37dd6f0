"""`handoff sessions …` and `handoff transfers …`, as an operator uses them."""

import json
from dataclasses import replace
from typing import Any

import httpx
import pytest

from conftest import StartService
from handoff import Settings, load_directory
from handoff.domain.model import Target, TargetKind
from handoff.operating import operating
from handoff.store import tables
from rigs import api, facts, sample
from rigs.command import handoff
from rigs.conversations import BASE, OTHER_ACCOUNT, OTHER_STREAM, SCOPES
from rigs.sample import AGENT, OTHER_AGENT, QUEUE

TO_AGENT, TO_OTHER = Target(TargetKind.AGENT, AGENT), Target(TargetKind.AGENT, OTHER_AGENT)
TO_QUEUE = Target(TargetKind.QUEUE, QUEUE)


@pytest.fixture
def url(database_url: str) -> str:
    """A store with the sample's directory, its app free to call everything, and a second stream and account."""
    directory = sample.directory(sessions=[])
    directory["apps"] = [sample.app(scopes=SCOPES)]
    directory["streams"] += [
        {"streamId": OTHER_STREAM, "accountId": sample.ACCOUNT, "orgId": sample.ORG},
        {"streamId": sample.STREAM, "accountId": OTHER_ACCOUNT, "orgId": "o-3"},
    ]
    load_directory(Settings(database_url=database_url), directory)
    return database_url


def run(url: str, *arguments: str, exit_code: int = 0) -> str:
    """What a command prints; of one that fails, what it complains."""
    done = handoff(*arguments, url=url)
    assert done.exit_code == exit_code, done.output
    return done.stdout if exit_code == 0 else done.stderr


def opened(url: str, session_id: str, stream: str = sample.STREAM, account: str = sample.ACCOUNT) -> str:
    run(url, "sessions", "open", session_id, "--stream", stream, "--account", account)
    return session_id


def assigned(url: str, session_id: str, target: Target, **changes: Any) -> None:
    """As the API would do it."""
    request = replace(
        facts.CALL,
        session_id=session_id,
        target=target,
        callback_url="http://localhost:8009/",
        request_id="r-1",
        **changes,
    )
    with operating(Settings(database_url=url)) as transfers:
        transfers.settle([request])


def listed(url: str, *options: str) -> list[str]:
    return [one["botSessionId"] for one in json.loads(run(url, "sessions", "list", "--json", *options))]


def test_a_session_is_opened_once(url: str) -> None:
    first = run(url, "sessions", "open", "s-1", "--stream", OTHER_STREAM, "--source", "rtm")
    again = run(url, "sessions", "open", "s-1", "--stream", OTHER_STREAM)

    (shown,) = json.loads(run(url, "sessions", "list", "--json"))
    assert (first, again) == ("s-1 is open\n", "s-1 is known already\n")
    assert (shown["source"], shown["botId"], shown["accountId"]) == ("rtm", OTHER_STREAM, sample.ACCOUNT)


def test_an_opening_that_cannot_be_is_told_in_a_sentence(url: str) -> None:
    opened(url, "s-1")

    taken = run(url, "sessions", "open", "s-1", "--stream", OTHER_STREAM, exit_code=2)
    unknown = run(url, "sessions", "open", "s-2", "--stream", "st-nobody", exit_code=2)
    ambiguous = run(url, "sessions", "open", "s-2", "--stream", sample.STREAM, exit_code=2)
    wrong = run(url, "sessions", "open", "s 2", "--stream", OTHER_STREAM, exit_code=2)

    assert "another stream" in taken
    assert "There is no stream st-nobody." in unknown
    assert "2 accounts have a stream" in ambiguous
    assert wrong.startswith("Error: botSessionId: ")


def test_a_list_is_a_table_for_people_and_json_for_machines(url: str) -> None:
    # An id that a table might take for a number.
    opened(url, "653806996789012345678901")
    assigned(url, "653806996789012345678901", TO_AGENT)

    heading, _, line = run(url, "sessions", "list").splitlines()
    (row,) = json.loads(run(url, "sessions", "list", "--json"))

    assert heading.split()[:4] == ["session", "conversation", "account", "state"]
    assert line.split()[:6] == [row["botSessionId"], row["_id"], sample.ACCOUNT, "agent", AGENT, "1"]
    assert row["botSessionId"] == "653806996789012345678901"
    assert row["holder"] == {"agentId": AGENT, "queueId": None}


def test_options_narrow_the_list(url: str) -> None:
    for name, target in (("s-agent", TO_AGENT), ("s-queue", TO_QUEUE)):
        opened(url, name)
        assigned(url, name, target)
    opened(url, "s-elsewhere", OTHER_STREAM)
    opened(url, "s-foreign", account=OTHER_ACCOUNT)

    assert listed(url) == ["s-elsewhere", "s-queue", "s-agent", "s-foreign"]
    assert listed(url, "--account", OTHER_ACCOUNT) == ["s-foreign"]
    assert listed(url, "--stream", OTHER_STREAM) == ["s-elsewhere"]
    assert listed(url, "--state", "queue") == ["s-queue"]
    assert listed(url, "--agent", AGENT) == ["s-agent"]
    assert listed(url, "--queue", QUEUE) == ["s-queue"]
    assert listed(url, "--since", "1h", "--limit", "2") == ["s-elsewhere", "s-queue"]
    assert listed(url, "--since", "2999-01-01") == []
    assert run(url, "sessions", "list", "--state", "closed") == "no such sessions\n"
    assert "not both" in run(url, "sessions", "list", "--agent", AGENT, "--queue", QUEUE, exit_code=2)


def test_one_is_shown_with_every_agent_who_had_it(url: str) -> None:
    opened(url, "s-1")
    assigned(url, "s-1", TO_AGENT)
    assigned(url, "s-1", TO_OTHER, expected_agent_id=AGENT)

    people = run(url, "sessions", "show", "s-1")
    machines = json.loads(run(url, "sessions", "show", "--json", "s-1"))

    assert people.index(f"u-{AGENT}") < people.index(f"u-{OTHER_AGENT}")
    assert people.splitlines()[-1].endswith("now")
    assert [one["agentId"] for one in machines["participants"]] == [f"u-{AGENT}", f"u-{OTHER_AGENT}"]
    assert "There is no session s-2." in run(url, "sessions", "show", "s-2", exit_code=2)


def test_a_session_of_several_accounts_is_named_with_its_own(url: str) -> None:
    opened(url, "s-1")
    opened(url, "s-1", account=OTHER_ACCOUNT)

    ambiguous = run(url, "sessions", "show", "s-1", exit_code=2)
    shown = json.loads(run(url, "sessions", "show", "s-1", "--account", OTHER_ACCOUNT, "--json"))

    assert "2 accounts have a session s-1: name one with --account" in ambiguous
    assert shown["accountId"] == OTHER_ACCOUNT


def test_the_history_tells_every_attempt_and_which_were_an_operators(url: str) -> None:
    opened(url, "s-1")
    nothing = run(url, "sessions", "history", "s-1")
    assigned(url, "s-1", TO_AGENT)
    assigned(url, "s-1", TO_OTHER)
    run(url, "sessions", "close", "s-1")

    people = run(url, "sessions", "history", "s-1").splitlines()[2:]
    machines = json.loads(run(url, "sessions", "history", "--json", "s-1"))

    assert nothing == "nothing was tried yet\n"
    assert [one["outcome"] for one in machines] == ["transferred", "refused", "closed"]
    assert [(one["askedBy"], one["appId"]) for one in machines] == [
        ("app", sample.APP),
        ("app", sample.APP),
        ("operator", None),
    ]
    assert [line.split()[-1] for line in people] == [sample.APP, sample.APP, "operator"]
    assert "session_already_assigned" in people[1]


def test_sessions_are_closed_and_released_and_those_that_cannot_be_are_told(url: str) -> None:
    for name in ("s-1", "s-2"):
        opened(url, name)
        assigned(url, name, TO_AGENT)

    closed = handoff("sessions", "close", "s-1", "s-nobody", url=url)
    again = run(url, "sessions", "close", "s-1")
    released = run(url, "sessions", "release", "s-2")
    too_late = run(url, "sessions", "release", "s-1", exit_code=1)

    assert (closed.exit_code, closed.stdout, closed.stderr) == (
        1,
        "s-1 is closed\n",
        "There is no session s-nobody.\n",
    )
    assert (again, released) == ("s-1 is closed\n", "s-2 is with the bot\n")
    assert too_late == "Session s-1 is closed.\n"
    assert run(url, "doctor") == "every invariant holds\n"


def test_a_session_is_closed_only_while_the_expected_agent_has_it(url: str) -> None:
    opened(url, "s-1")
    assigned(url, "s-1", TO_AGENT)

    refused = run(url, "sessions", "close", "s-1", "--expected-agent", OTHER_AGENT, exit_code=1)
    closed = run(url, "sessions", "close", "s-1", "--expected-agent", AGENT)

    assert f"not with agent {OTHER_AGENT}" in refused
    assert closed == "s-1 is closed\n"


def test_transfers_are_listed_with_options_and_shown_with_their_callbacks(url: str) -> None:
    opened(url, "s-1")
    opened(url, "s-2")
    assigned(url, "s-1", TO_AGENT)
    assigned(url, "s-1", TO_OTHER)
    assigned(url, "s-2", TO_OTHER)
    run(url, "sessions", "release", "s-2")

    def found(*options: str) -> list[str]:
        rows = json.loads(run(url, "transfers", "list", "--json", *options))
        return [f"{one['sessionId']} {one['outcome']}" for one in rows]

    everything = ["s-2 released", "s-2 transferred", "s-1 refused", "s-1 transferred"]
    (won,) = json.loads(run(url, "transfers", "list", "--json", "--session", "s-1", "--outcome", "transferred"))
    people = run(url, "transfers", "show", won["transferId"])
    machines = json.loads(run(url, "transfers", "show", "--json", won["transferId"]))

    assert found() == found("--account", sample.ACCOUNT) == found("--since", "1h") == everything
    assert found("--account", OTHER_ACCOUNT) == []
    assert found("--agent", AGENT) == everything[2:]
    assert found("--outcome", "released") == ["s-2 released"]
    assert found("--code", "session_already_assigned") == ["s-1 refused"]
    assert found("--limit", "1") == ["s-2 released"]
    assert run(url, "transfers", "list", "--code", "x") == "no such transfers\n"
    assert len(run(url, "transfers", "list").splitlines()) == 6
    assert [one["state"] for one in machines["callbacks"]] == ["pending"]
    assert "pending" in people
    assert machines["accountId"] == sample.ACCOUNT
    assert "There is no transfer tr_nobody." in run(url, "transfers", "show", "tr_nobody", exit_code=2)


def test_a_close_beside_a_running_service_frees_the_slot_and_is_an_event(url: str, start_service: StartService) -> None:
    load_directory(Settings(database_url=url), {"agents": [sample.agent(maxChatSupport=1)]})
    service = start_service(url, settings={"dispatcher": "off"})
    with httpx.Client(base_url=service.url, headers=sample.headers(), timeout=60) as client:
        for name in ("s-1", "s-2"):
            assert client.post(f"{BASE}/conversations", json={"botSessionId": name}).status_code == 201
        first = client.post(sample.PATH, json=sample.body(botSessionId="s-1"))
        full = client.post(sample.PATH, json=sample.body(botSessionId="s-2"))

        closed = run(url, "sessions", "close", "s-1")
        second = client.post(sample.PATH, json=sample.body(botSessionId="s-2"))
        shown = client.get(f"{BASE}/conversations/sessions/s-1").json()
        last = client.get(f"{BASE}/conversations/sessions/s-1/history").json()["results"][-1]

    assert [answer.status_code for answer in (first, full, second)] == [200, 409, 200]
    assert closed == "s-1 is closed\n"
    assert (shown["state"], last["askedBy"]) == ("closed", "operator")
    with api.serving(Settings(database_url=url, dispatcher="off")) as beside:
        kinds = [row["kind"] for row in beside.rows(tables.events)]
    assert kinds == [
        "session.opened",
        "session.opened",
        "session.transferred",
        "session.closed",
        "session.transferred",
    ]
