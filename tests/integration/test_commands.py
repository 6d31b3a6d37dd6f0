"""The command line as an operator uses it: what it prints, and its exit codes."""

import json
import socket
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import httpx
import jwt
import pytest
from sqlalchemy import text

from conftest import StartService
from handoff.store.engine import open_writer
from handoff.store.schema import REVISION
from rigs import sample
from rigs.command import handoff
from rigs.ports import free_port
from rigs.postgres import PostgresServer

MASTER = "whsec_" + "QUJD" * 10


def change(url: str, statements: Sequence[str]) -> None:
    engine = open_writer(url)
    with engine.begin() as connection:
        for statement in statements:
            connection.execute(text(statement))
    engine.dispose()


def imported(url: str) -> None:
    done = handoff("import", "-", url=url, stdin=json.dumps(sample.directory()))
    assert done.exit_code == 0, done.stderr


def test_an_import_counts_what_it_wrote_and_repeats_without_harm(database_url: str, tmp_path: Path) -> None:
    file = tmp_path / "directory.json"
    file.write_text(json.dumps(sample.directory(), indent=2))

    runs = [handoff("import", str(file), url=database_url) for _ in range(2)]

    assert [run.exit_code for run in runs] == [0, 0]
    assert [run.stdout for run in runs] == ["imported 1 apps, 1 streams, 2 agents, 2 queues, 1 sessions\n"] * 2


def test_an_import_leaves_holders_and_load_alone(database_url: str, start_service: StartService) -> None:
    imported(database_url)
    service = start_service(database_url, settings={"dispatcher": "off"})
    won = httpx.post(service.url + sample.PATH, headers=sample.headers(), json=sample.body(), timeout=60)

    imported(database_url)
    repeated = httpx.post(service.url + sample.PATH, headers=sample.headers(), json=sample.body(), timeout=60)
    diagnosis = handoff("doctor", url=database_url)

    assert won.content == repeated.content
    assert (diagnosis.exit_code, diagnosis.stdout) == (0, "every invariant holds\n")


def test_an_import_names_the_line_of_every_bad_row_and_takes_the_good_ones(sqlite_url: str) -> None:
    agents = [sample.agent(), sample.agent("a-2", maxChatSupport=-1), sample.agent("no id!"), sample.agent("a-4")]
    file = '{"agents": [\n' + ",\n".join(json.dumps(agent) for agent in agents) + "\n]}"

    run = handoff("import", "-", "--json", url=sqlite_url, stdin=file)

    report = json.loads(run.stdout)
    assert run.exit_code == 2
    assert report["written"] == {"agents": 2}
    assert [sentence.split(":")[0:3:2] for sentence in report["errors"]] == [
        ["line 3", " maxChatSupport"],
        ["line 4", " id"],
    ]


def test_an_import_of_no_json_says_where_it_broke(sqlite_url: str) -> None:
    run = handoff("import", "-", url=sqlite_url, stdin='{"agents": [\n{"id": }\n]}')

    assert run.exit_code == 2
    assert "line 2: not JSON" in run.stderr


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"secrets": ["short"]}, "each of secrets needs 32 bytes or more"),
        ({"algorithms": ["ES256"]}, "ES256 needs an entry in publicKeys"),
        ({"algorithms": ["none"]}, "algorithms"),
        ({"requireJti": "yes, please"}, "requireJti"),
        ({"secrets": ["-----BEGIN PUBLIC KEY----- " + "x" * 40]}, "publicKeys"),
        ({"streams": "all"}, "streams"),
        ({"colour": "red"}, "no such field"),
    ],
)
def test_an_app_that_could_not_be_trusted_is_refused(sqlite_url: str, changes: dict[str, Any], sentence: str) -> None:
    run = handoff("import", "-", url=sqlite_url, stdin=json.dumps({"apps": [sample.app(**changes)]}))

    assert run.exit_code == 2
    assert sentence in run.stderr


def test_migrate_is_needed_on_postgres_and_named_by_serve(postgres: PostgresServer) -> None:
    url = postgres.create_database()

    refused = handoff("serve", url=url)
    migrated = handoff("migrate", url=url)
    again = handoff("migrate", url=url)

    assert refused.exit_code == 3
    assert "run `handoff migrate`" in refused.stderr
    assert (migrated.exit_code, migrated.stdout) == (0, f"migrated from nothing to {REVISION}\n")
    assert (again.exit_code, again.stdout) == (0, f"already at revision {REVISION}\n")


def test_a_dispatcher_of_its_own_migrates_no_store(postgres: PostgresServer, sqlite_url: str) -> None:
    for url in (postgres.create_database(), sqlite_url):
        refused = handoff("dispatch", url=url)

        assert refused.exit_code == 3
        assert "run `handoff migrate`" in refused.stderr


def test_a_token_is_the_documented_one_signed_with_the_newest_secret(sqlite_url: str) -> None:
    imported(sqlite_url)

    documented = handoff("token", sample.APP, "--expires-in", "0", url=sqlite_url).stdout.strip()
    usual = handoff("token", sample.APP, url=sqlite_url).stdout.strip()
    unknown = handoff("token", "cs-nobody", url=sqlite_url)

    claims = jwt.decode(usual, sample.SECRET, ["HS256"])
    assert jwt.decode(documented, sample.SECRET, ["HS256"]) == {"appId": sample.APP}
    assert claims["exp"] - claims["iat"] == 3_600
    assert (unknown.exit_code, "handoff import" in unknown.stderr) == (2, True)


def test_the_callback_secret_of_an_app_is_shown_for_every_live_master(sqlite_url: str) -> None:
    imported(sqlite_url)
    both = f"{MASTER},whsec_{'REVG' * 10}"

    shown = handoff("apps", "callback-secret", sample.APP, url=sqlite_url, callback_secrets=both)
    unsigned = handoff("apps", "callback-secret", sample.APP, url=sqlite_url)
    unknown = handoff("apps", "callback-secret", "cs-nobody", url=sqlite_url, callback_secrets=both)

    assert [line.startswith("whsec_") for line in shown.stdout.splitlines()] == [True, True]
    assert (unsigned.exit_code, unknown.exit_code, unknown.stdout) == (2, 2, "")
    assert "HANDOFF_CALLBACK_SECRETS" in unsigned.stderr
    assert "there is no app cs-nobody" in unknown.stderr


DAMAGES = {
    "I1": ["UPDATE sessions SET state = 'agent', holder_id = 'a-nobody', version = 0"],
    "I2": ["UPDATE agents SET active_sessions = 4"],
    "I3": [f"UPDATE sessions SET state = 'agent', holder_id = '{sample.AGENT}'"],
    "I4": [
        """INSERT INTO transfers (account_id, transfer_id, app_id, stream_id, org_id, session_id, target_kind,
        target_id, status, completed_at, callback_url, request_id, body)
        VALUES ('x', 'tr_1', 'x', 'x', 'x', 'x', 'agent', 'x', 404, 4000000000000, 'x', 'x', 'x')"""
    ],
    "I5": [
        """INSERT INTO callbacks (account_id, callback_id, transfer_id, app_id, url, lane, body, state, due_at,
        expires_at) VALUES ('x', 'msg_1', 'tr_1', 'x', 'x', 'x', 'x', 'dead', 1, 1)"""
    ],
    "I6": ["UPDATE sessions SET version = 3"],
}


@pytest.mark.parametrize("invariant", DAMAGES)
def test_the_doctor_names_a_broken_invariant_and_exits_1(database_url: str, invariant: str) -> None:
    imported(database_url)
    change(database_url, DAMAGES[invariant])

    run = handoff("doctor", "--json", url=database_url)

    assert run.exit_code == 1
    assert invariant in {violation["invariant"] for violation in json.loads(run.stdout)["violations"]}


def test_the_doctor_repairs_counters(database_url: str) -> None:
    imported(database_url)
    change(database_url, DAMAGES["I2"])

    run = handoff("doctor", "--repair", url=database_url)

    assert run.exit_code == 0
    assert run.stdout == "repaired the counts of 2 agents\nevery invariant holds\n"


def test_a_taken_port_is_told_with_the_setting_to_change(sqlite_url: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        served = handoff("serve", url=sqlite_url, port=port)
        shown = handoff("demo", url=sqlite_url, port=port)
        received = handoff("demo", "--receiver-port", str(port), url=sqlite_url, port=free_port())

        unmeasured = [
            handoff(command, url=sqlite_url, port=free_port(), metrics_port=port) for command in ("serve", "dispatch")
        ]

    assert (served.exit_code, shown.exit_code, received.exit_code) == (2, 2, 2)
    assert [(run.exit_code, "set HANDOFF_METRICS_PORT" in run.stderr) for run in unmeasured] == [(2, True)] * 2
    assert f"port {port} on 127.0.0.1 is taken: set HANDOFF_PORT" in served.stderr
    assert "set HANDOFF_PORT" in shown.stderr
    assert "set --receiver-port" in received.stderr


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"host": "0.0.0.0"}, "HANDOFF_CALLBACK_POLICY=production"),
        ({"callback_policy": "production"}, "HANDOFF_CALLBACK_SIGNING=off"),
        ({"callback_policy": "production", "callback_secrets": MASTER}, "set HANDOFF_SECRET_KEYS"),
        ({"secret_keys": "c2hvcnQ="}, "HANDOFF_SECRET_KEYS"),
        ({"callback_secrets": "whsec_short"}, "HANDOFF_CALLBACK_SECRETS"),
        ({"port": "eighty"}, "HANDOFF_PORT"),
    ],
)
def test_settings_that_cannot_work_are_told_by_name(sqlite_url: str, settings: dict[str, Any], sentence: str) -> None:
    run = handoff("serve", url=sqlite_url, **settings)

    assert run.exit_code == 2
    assert sentence in run.stderr
    assert "Traceback" not in run.stderr


def test_a_database_of_another_kind_is_refused_by_name() -> None:
    run = handoff("doctor", url="mysql://x")

    assert run.exit_code == 2
    assert "HANDOFF_DATABASE_URL: use sqlite:///" in run.stderr


def test_a_setting_that_is_misspelt_is_told(sqlite_url: str) -> None:
    run = handoff("doctor", url=sqlite_url, prot=1)

    assert "HANDOFF_PROT is not a setting; did you mean HANDOFF_PORT?" in run.stderr


def test_serve_says_what_is_wrong_when_the_database_cannot_be_reached() -> None:
    run = handoff("serve", url=f"postgresql://nobody@127.0.0.1:{free_port()}/none")

    assert run.exit_code == 3
    assert "Traceback" not in run.stderr
