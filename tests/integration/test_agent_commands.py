"""`handoff agents …`, as an operator uses it."""

import json
from typing import Any

import pytest
from click.testing import Result

from handoff import Settings, load_directory
from handoff.store import tables as t
from rigs import sample
from rigs.command import handoff
from rigs.tables import Tables

JANE = ("--email", "jane@example.com", "--first-name", "Jane", "--last-name", "Doe")


@pytest.fixture
def url(loaded_url: str) -> str:
    """A store with the sample's directory."""
    return loaded_url


@pytest.fixture
def second_account(url: str) -> str:
    """Another account with an agent of its own and one whose id the first account has, too."""
    place = {"accountId": "acc-2", "orgId": "o-2"}
    agents = [sample.agent("a-2", **place), sample.agent(**place, maxChatSupport=1)]
    load_directory(Settings(database_url=url), {"streams": [{**place, "streamId": "st-2"}], "agents": agents})
    return "acc-2"


def run(url: str, *arguments: str) -> Result:
    return handoff("agents", *arguments, url=url)


def told(url: str, *arguments: str) -> Any:
    """What a command that succeeds tells machines."""
    done = run(url, *arguments, "--json")
    assert done.exit_code == 0, done.stderr
    return json.loads(done.stdout)


def refused(url: str, *arguments: str) -> str:
    """What a command says that ends for wrong input."""
    done = run(url, *arguments)
    assert (done.exit_code, done.stdout) == (2, ""), done.stderr
    return done.stderr


def kinds(url: str) -> list[str]:
    stored = Tables(url)
    events = stored.events()
    stored.close()
    return [kind for kind, _ in events]


@pytest.mark.usefixtures("second_account")
def test_a_list_is_a_table_for_people_and_json_for_machines(url: str) -> None:
    table = run(url, "list").stdout
    rows = told(url, "list")

    heading, _, *lines = table.splitlines()
    assert heading.split() == ["agent", "account", "org", "status", "sessions", "name", "email"]
    assert [line.split()[:5] for line in lines] == [
        [sample.OTHER_AGENT, sample.ACCOUNT, sample.ORG, "AVAILABLE", "0/5"],
        [sample.AGENT, sample.ACCOUNT, sample.ORG, "AVAILABLE", "0/5"],
        ["a-2", "acc-2", "o-2", "AVAILABLE", "0/5"],
        [sample.AGENT, "acc-2", "o-2", "AVAILABLE", "0/1"],
    ]
    assert [(row["accountId"], row["id"]) for row in rows] == [
        (sample.ACCOUNT, sample.OTHER_AGENT),
        (sample.ACCOUNT, sample.AGENT),
        ("acc-2", "a-2"),
        ("acc-2", sample.AGENT),
    ]


@pytest.mark.usefixtures("second_account")
def test_options_narrow_the_list(url: str) -> None:
    assert [row["id"] for row in told(url, "list", "--account", "acc-2")] == ["a-2", sample.AGENT]
    assert [row["accountId"] for row in told(url, "list", "--org", "o-2")] == ["acc-2", "acc-2"]
    assert len(told(url, "list", "--limit", "3")) == 3
    assert "more than these 3" in run(url, "list", "--limit", "3").stderr
    assert run(url, "list", "--limit", "4").stderr == ""
    assert run(url, "list", "--account", "acc-3").stdout == "no such agents\n"


def test_a_new_agent_is_shown_to_people_and_machines_and_told_in_the_feed(url: str) -> None:
    made = told(url, "create", *JANE, "--slots", "2", "--custom-id", "1111", "--skill", "s-1", "--queue", sample.QUEUE)

    shown = run(url, "show", made["id"])
    again = told(url, "show", made["id"])

    assert made == again
    assert (made["orgId"], made["maxChatSupport"], made["customId"]) == (sample.ORG, 2, "1111")
    assert (made["onlineStatusType"], made["createdBy"]) == ("OFFLINE", "(operator)")
    assert [one["id"] for one in made["queues"]] == [sample.QUEUE]
    lines = dict(line.split(maxsplit=1) for line in shown.stdout.splitlines())
    assert (lines["agent"], lines["sessions"], lines["name"], lines["skills"]) == (made["id"], "0/2", "Jane Doe", "s-1")
    assert lines["queues"] == sample.QUEUE
    assert kinds(url) == ["agent.created"]


@pytest.mark.parametrize(
    ("options", "word"),
    [
        (("--email", "jane"), "emailId"),
        (("--custom-id", "a b"), "customId"),
        (("--queue", "qu-none"), "qu-none"),
        (("--id", sample.AGENT), "Another agent"),
        (("--org", "o-none"), f"--account {sample.ACCOUNT} --org {sample.ORG}"),
        (("--slots", "10001"), "10000"),
    ],
)
def test_an_agent_that_cannot_be_made_is_told_why(url: str, options: tuple[str, ...], word: str) -> None:
    assert word in refused(url, "create", *JANE, *options)
    assert kinds(url) == []


def test_with_several_orgs_a_new_agent_says_which(url: str, second_account: str) -> None:
    sentence = refused(url, "create", *JANE)
    made = told(url, "create", *JANE, "--account", second_account)

    assert f"--account {sample.ACCOUNT} --org {sample.ORG}" in sentence
    assert "--account acc-2 --org o-2" in sentence
    assert (made["accountId"], made["orgId"]) == ("acc-2", "o-2")


def test_without_any_org_there_is_nowhere_to_make_one(database_url: str) -> None:
    assert "handoff import" in refused(database_url, "create", *JANE)


def test_an_agent_is_said_to_be_there_for_a_while(url: str) -> None:
    people = run(url, "status", sample.AGENT, "away", "--expires-in", "3600")
    machines = told(url, "status", sample.AGENT, "AWAY", "--expires-in", "3600")
    for_ever = run(url, "status", sample.AGENT, "AVAILABLE")

    assert people.stdout.startswith(f"{sample.AGENT} is AWAY until 20")
    assert (machines["onlineStatusType"], machines["statusExpiresAt"] > 1 << 40) == ("AWAY", True)
    assert for_ever.stdout == f"{sample.AGENT} is AVAILABLE\n"
    assert kinds(url) == ["agent.status", "agent.status"]


def test_a_status_that_has_lapsed_is_shown_as_offline(url: str) -> None:
    run(url, "status", sample.AGENT, "AVAILABLE", "--expires-in", "60")
    stored = Tables(url)
    stored.change(t.agents, {"agent_id": sample.AGENT}, status_expires_at=1)
    stored.close()

    (line,) = (line for line in run(url, "list").stdout.splitlines() if sample.AGENT in line)
    assert line.split()[3:5] == ["OFFLINE", "0/5"]


@pytest.mark.parametrize("arguments", [("BREAK",), ("AWAY", "--expires-in", "0"), ("AWAY", "--expires-in", "604801")])
def test_a_status_that_is_none_is_refused(url: str, arguments: tuple[str, ...]) -> None:
    refused(url, "status", sample.AGENT, *arguments)

    assert kinds(url) == []


def test_an_agent_is_deleted_unless_it_holds_sessions(url: str) -> None:
    stored = Tables(url)
    stored.change(t.agents, {"agent_id": sample.AGENT}, active_sessions=2)

    sentence = refused(url, "delete", sample.AGENT)
    done = run(url, "delete", sample.OTHER_AGENT)

    assert "holds 2 sessions" in sentence
    assert (done.exit_code, done.stdout) == (0, f"{sample.OTHER_AGENT} is deleted\n")
    assert [row["agent_id"] for row in stored.rows(t.agents)] == [sample.AGENT]
    stored.close()
    assert kinds(url) == ["agent.deleted"]


@pytest.mark.parametrize("command", [("show",), ("status",), ("delete",)])
def test_one_that_is_in_several_accounts_is_asked_for_with_its_account(
    url: str, second_account: str, command: tuple[str]
) -> None:
    more = ("AWAY",) if command == ("status",) else ()

    sentence = refused(url, *command, sample.AGENT, *more)
    done = told(url, *command, sample.AGENT, *more, "--account", second_account)
    nobody = refused(url, *command, "a-none", *more)
    elsewhere = refused(url, *command, "a-2", *more, "--account", sample.ACCOUNT)

    assert f"({sample.ACCOUNT}, acc-2): name one with --account" in sentence
    assert done["accountId"] == "acc-2"
    assert "there is no agent a-none" in nobody
    assert f"there is no agent a-2 in account {sample.ACCOUNT}" in elsewhere
