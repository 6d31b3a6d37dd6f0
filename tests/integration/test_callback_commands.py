"""`handoff callbacks …` and `handoff purge`, as an operator uses them."""

import json
from typing import Any

import pytest
from sqlalchemy import select, update

from conftest import StartService
from handoff import Settings, load_directory
from handoff.domain.ids import callback_id_at
from handoff.service.ports import Changes
from handoff.store.engine import open_writer
from handoff.store.tables import callback_attempts, callbacks
from handoff.stores import open_transfer_store
from handoff.system import SystemClock
from rigs import api, facts, sample
from rigs.backlog import queue_up
from rigs.command import handoff

DAY_MS = 86_400_000
DEAD: dict[str, Any] = {"state": "dead", "dead_reason": "gone", "last_status": 410, "ended_at": 1}


@pytest.fixture
def url(loaded_url: str) -> str:
    """A store with the sample's directory."""
    return loaded_url


def write(url: str, name: str, *, account_id: str = sample.ACCOUNT, age_days: float = 0, **columns: Any) -> str:
    """A callback with its transfer and the columns as given; its id."""
    at = SystemClock().now_ms() - int(age_days * DAY_MS)
    callback_id, transfer_id = f"{callback_id_at(at)}-{name}", f"tr_{name}"
    store = open_transfer_store(Settings(database_url=url))
    with store.begin() as transaction:
        transaction.write(
            Changes(
                transfers=[facts.transfer(0, transfer_id=transfer_id, account_id=account_id, completed_at=at)],
                callbacks=[facts.callback(0, callback_id=callback_id, transfer_id=transfer_id, account_id=account_id)],
            )
        )
    store.close()
    if columns:
        engine = open_writer(url)
        with engine.begin() as connection:
            connection.execute(update(callbacks).where(callbacks.c.callback_id == callback_id).values(**columns))
        engine.dispose()
    return callback_id


def states(url: str) -> dict[str, str]:
    listed = handoff("callbacks", "list", "--json", url=url)
    assert listed.exit_code == 0, listed.stderr
    return {one["id"]: one["state"] for one in json.loads(listed.stdout)}


def test_a_list_is_a_table_for_people_and_json_for_machines(url: str) -> None:
    dead = write(url, "1", **DEAD)
    other = write(url, "2", account_id="acc-2")

    table = handoff("callbacks", "list", url=url)
    rows = json.loads(handoff("callbacks", "list", "--json", url=url).stdout)

    heading, _, *lines = table.stdout.splitlines()
    assert heading.split()[:3] == ["callback", "account", "state"]
    assert sorted(line.split()[:3] for line in lines) == sorted(
        [[dead, sample.ACCOUNT, "dead"], [other, "acc-2", "pending"]]
    )
    assert {(row["id"], row["accountId"], row["deadReason"]) for row in rows} == {
        (dead, sample.ACCOUNT, "gone"),
        (other, "acc-2", None),
    }


def test_options_narrow_the_list(url: str) -> None:
    dead = write(url, "1", **DEAD)
    old = write(url, "2", age_days=3)
    elsewhere = write(url, "3", lane="https://b.example:443", account_id="acc-2")

    def found(*options: str) -> set[str]:
        return {one["id"] for one in json.loads(handoff("callbacks", "list", "--json", *options, url=url).stdout)}

    assert found("--state", "dead") == {dead}
    assert found("--since", "24h") == {dead, elsewhere}
    assert found("--since", "2001-01-01") == {dead, old, elsewhere}
    assert found("--host", "b.example") == {elsewhere}
    assert found("--account", "acc-2") == {elsewhere}
    assert handoff("callbacks", "list", "--state", "sending", url=url).stdout == "no such callbacks\n"


def test_a_list_that_is_cut_says_so(url: str) -> None:
    for number in range(3):
        write(url, str(number), account_id=f"acc-{number}")

    cut = handoff("callbacks", "list", "--json", "--limit", "2", url=url)
    whole = handoff("callbacks", "list", "--json", "--limit", "3", url=url)

    assert (len(json.loads(cut.stdout)), cut.stderr) == (2, "there are more than these 2: say --limit\n")
    assert (len(json.loads(whole.stdout)), whole.stderr) == (3, "")


@pytest.mark.parametrize("command", [("list",), ("redeliver", "--all")])
def test_a_host_that_can_be_none_is_refused(url: str, command: tuple[str, ...]) -> None:
    run = handoff("callbacks", *command, "--host", "https://b.example/", url=url)

    assert run.exit_code == 2
    assert "bots.example.com:8443" in run.stderr


def test_a_time_that_is_none_is_told_with_those_that_are(url: str) -> None:
    run = handoff("callbacks", "list", "--since", "yesterday", url=url)

    assert run.exit_code == 2
    assert "24h" in run.stderr


def test_one_is_shown_with_its_attempts_and_why_they_failed(url: str) -> None:
    callback_id = write(url, "1", **DEAD)
    engine = open_writer(url)
    with engine.begin() as connection:
        connection.execute(
            callback_attempts.insert(),
            {
                "account_id": sample.ACCOUNT,
                "callback_id": callback_id,
                "claim": 1,
                "started_at": 1_700_000_000_000,
                "duration_ms": 7,
                "error": "connect",
                "detail": "10.1.2.3 refused",
            },
        )
    engine.dispose()

    people = handoff("callbacks", "show", callback_id, url=url).stdout
    machines = json.loads(handoff("callbacks", "show", "--json", callback_id, url=url).stdout)

    assert "2023-11-14 22:13:20Z" in people
    assert "tr_1" in people
    assert "10.1.2.3 refused" in people
    assert machines["attempts"][0]["detail"] == "10.1.2.3 refused"
    assert machines["deadReason"] == "gone"
    assert machines["message"] == json.loads(facts.CALLBACK.body)


def test_those_that_are_named_are_sent_again_and_the_others_are_told(url: str) -> None:
    dead = write(url, "1", **DEAD)
    sending = write(url, "2", state="sending", lease_token="t", lease_until=1)

    run = handoff("callbacks", "redeliver", dead, "msg_nobody", sending, url=url)

    assert run.exit_code == 1
    assert run.stdout == f"{dead} is pending\n"
    assert "no callback msg_nobody" in run.stderr
    assert f"{sending} is being sent" in run.stderr
    assert states(url) == {dead: "pending", sending: "sending"}


def test_all_that_are_dead_are_sent_again_in_every_account(url: str) -> None:
    dead = [write(url, str(number), account_id=account, **DEAD) for number, account in enumerate(("acc-1", "acc-2"))]
    delivered = write(url, "3", state="delivered", ended_at=1)

    run = handoff("callbacks", "redeliver", "--all", url=url)

    assert (run.exit_code, run.stdout) == (0, "2 callbacks will be sent again\n")
    assert states(url) == {dead[0]: "pending", dead[1]: "pending", delivered: "delivered"}


def test_many_are_spread_out_over_all_steps(sqlite_url: str) -> None:
    settings = Settings(database_url=sqlite_url)
    load_directory(settings, sample.directory())
    queue_up(settings, ["http://a.example/"] * 1_500, first_number=1)
    engine = open_writer(sqlite_url)
    with engine.begin() as connection:
        connection.execute(update(callbacks).values(**DEAD))

    run = handoff("callbacks", "redeliver", "--all", "--per-second", "1000", url=sqlite_url)
    with engine.begin() as connection:
        dues = sorted(connection.scalars(select(callbacks.c.due_at)))
    engine.dispose()

    assert run.stdout == "1500 callbacks will be sent again\n"
    assert len(set(dues)) == 1_500
    assert dues[-1] - dues[0] >= 1_499


@pytest.mark.parametrize("arguments", [(), ("msg_1", "--all")])
def test_a_redelivery_says_which_ones(url: str, arguments: tuple[str, ...]) -> None:
    run = handoff("callbacks", "redeliver", *arguments, url=url)

    assert run.exit_code == 2
    assert "name callbacks, or say --all" in run.stderr


def test_a_pending_one_is_cancelled_and_a_dead_one_is_not(url: str) -> None:
    pending, dead = write(url, "1"), write(url, "2", **DEAD)

    run = handoff("callbacks", "cancel", pending, dead, url=url)

    assert (run.exit_code, run.stdout) == (1, f"{pending} is cancelled\n")
    assert "nothing to cancel" in run.stderr
    assert states(url) == {pending: "cancelled", dead: "dead"}


def test_a_purge_deletes_what_is_over_by_the_settings(url: str) -> None:
    over: dict[str, Any] = {"state": "delivered", "ended_at": SystemClock().now_ms() - 2 * DAY_MS}
    write(url, "1", age_days=2, **over)
    kept = write(url, "2", age_days=2)

    nothing = handoff("purge", url=url)
    purged = handoff("purge", "--json", url=url, retention_delivered_days=1)

    assert (nothing.exit_code, nothing.stdout) == (0, "purged 0 callbacks and 0 events\n")
    assert (purged.exit_code, json.loads(purged.stdout)) == (0, {"purged": 1, "purgedEvents": 0})
    assert states(url) == {kept: "pending"}


def test_a_dispatcher_purges_by_itself(url: str, start_service: StartService) -> None:
    write(url, "1", age_days=8, state="delivered", ended_at=SystemClock().now_ms() - 8 * DAY_MS)
    kept = write(url, "2", state="delivered", ended_at=SystemClock().now_ms())

    start_service(url, command=("handoff", "dispatch"))

    api.until(lambda: states(url) == {kept: "delivered"})
