"""What stands after a commit that failed, and after a process that died between its commit and its answer (I3, I7)."""

import sqlite3

import httpx
import psycopg
import pytest
from fastapi.testclient import TestClient

from conftest import StartService
from handoff import Settings, create_app, load_directory
from rigs import sample
from rigs.callers import callers

TABLES = ("transfers", "callbacks", "idempotency_keys")


def counts(database_url: str) -> dict[str, int]:
    """How many rows each table of outcomes has."""
    queries = {table: f"SELECT count(*) FROM {table}" for table in TABLES}
    if database_url.startswith("sqlite"):
        connection = sqlite3.connect(database_url.removeprefix("sqlite:///"))
        found = {table: int(connection.execute(query).fetchone()[0]) for table, query in queries.items()}
        connection.close()
        return found
    with psycopg.connect(database_url) as postgres:
        return {table: int((postgres.execute(query).fetchone() or [0])[0]) for table, query in queries.items()}


def refuse_commits(database_url: str, *, session: str) -> None:
    """Make every transaction fail that touches the session: on PostgreSQL in the commit itself."""
    if database_url.startswith("sqlite"):
        connection = sqlite3.connect(database_url.removeprefix("sqlite:///"))
        connection.executescript(
            f"""CREATE TRIGGER refuse BEFORE UPDATE ON sessions WHEN new.session_id = '{session}'
            BEGIN SELECT RAISE(ABORT, 'refused by the test'); END"""
        )
        connection.close()
        return
    with psycopg.connect(database_url) as postgres:
        postgres.execute(
            """CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS
            $$ BEGIN RAISE check_violation USING MESSAGE = 'refused by the test'; END $$"""
        )
        postgres.execute(
            f"""CREATE CONSTRAINT TRIGGER refuse AFTER UPDATE ON sessions DEFERRABLE INITIALLY DEFERRED
            FOR EACH ROW WHEN (new.session_id = '{session}') EXECUTE FUNCTION refuse()"""
        )


def test_a_commit_that_fails_answers_503_and_leaves_nothing(settings: Settings) -> None:
    refuse_commits(settings.database_url, session=sample.SESSION)
    headers = sample.headers(**{"Idempotency-Key": "once"})

    with TestClient(create_app(settings)) as client:
        answer = client.post(sample.PATH, headers=headers, json=sample.body())

    assert answer.status_code == 503
    assert answer.json()["code"] == "store_unavailable"
    assert "retry-after" in answer.headers
    assert counts(settings.database_url) == dict.fromkeys(TABLES, 0)


@pytest.mark.anyio
async def test_a_request_that_cannot_be_written_fails_none_of_its_batch(
    database_url: str, start_service: StartService
) -> None:
    sessions = [f"s-{number}" for number in range(20)]
    load_directory(
        Settings(database_url=database_url),
        sample.directory(
            agents=[sample.agent(maxChatSupport=100)], sessions=[sample.session(session) for session in sessions]
        ),
    )
    refuse_commits(database_url, session="s-7")
    service = start_service(database_url, settings={"dispatcher": "off"})

    async with callers([service.url]) as group:
        answers = await group.call_at_once([sample.body(botSessionId=session) for session in sessions])

    statuses = {session: answer.status_code for session, answer in zip(sessions, answers, strict=True)}
    assert statuses == {session: 503 if session == "s-7" else 200 for session in sessions}


@pytest.mark.parametrize("key", [{}, {"Idempotency-Key": "once"}], ids=["without a key", "with a key"])
def test_an_outcome_whose_process_died_before_the_answer_is_repeated_byte_for_byte(
    database_url: str, start_service: StartService, key: dict[str, str]
) -> None:
    load_directory(Settings(database_url=database_url), sample.directory())
    dying = start_service(
        database_url, command=("programs.dies_at", "after_commit", "1", "serve"), settings={"dispatcher": "off"}
    )
    headers = sample.headers(**key)

    with pytest.raises(httpx.RemoteProtocolError):
        httpx.post(dying.url + sample.PATH, headers=headers, json=sample.body(), timeout=60)

    assert dying.wait() == -9
    assert counts(database_url)["transfers"] == 1
    service = start_service(database_url, settings={"dispatcher": "off"})
    repeats = [httpx.post(service.url + sample.PATH, headers=headers, json=sample.body(), timeout=60) for _ in range(2)]

    assert [repeat.status_code for repeat in repeats] == [200, 200]
    assert repeats[0].content == repeats[1].content
    assert counts(database_url) == {"transfers": 1, "callbacks": 1, "idempotency_keys": len(key)}
