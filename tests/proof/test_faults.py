"""A PostgreSQL that refuses, locks or turns away costs calls a 503 that says so, and service comes back by itself."""

import os
import signal
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from secrets import token_hex
from typing import Final

import psycopg
import pytest
from psycopg import sql

from rigs import sample
from rigs.front import front, reasons, refused, session, statuses
from rigs.locks import locked, until_ours_waits
from rigs.postgres import PostgresServer

pytestmark = pytest.mark.alone

# A lock is waited for 2 s, and then for 0.2 s by each of 20 calls at most; what came meanwhile may be a second batch.
LOCKED_S: Final = 13.0
# A read has 5 s; a batch has 20 s and the 3 s in which it finds no other connection. A little is the machine's.
READ_S: Final = 8.0
CUT_SHORT_S: Final = 28.0
WELL: Final = [200, 200, 200]


@contextmanager
def other_client(url: str) -> Iterator[psycopg.Connection]:
    """A client beside ours, each of whose statements commits by itself."""
    with psycopg.connect(url, autocommit=True, application_name="other") as connection:
        yield connection


def end_ours(url: str) -> int:
    """End every connection of the service; how many there were."""
    with other_client(url) as other:
        ended = other.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND application_name = 'handoff'"
        ).fetchall()
    return len(ended)


def test_connections_that_were_all_ended_are_made_anew(postgres_url: str) -> None:
    with front(postgres_url) as door:
        assert statuses(door.each_kind()) == WELL

        assert end_ours(postgres_url) > 3

        assert statuses(door.each_kind()) == WELL


def test_a_server_without_a_free_connection_is_a_503_that_names_it(
    postgres_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    clerk = f"clerk_{token_hex(4)}"
    with other_client(postgres_url) as other:
        other.execute(sql.SQL("CREATE ROLE {} LOGIN").format(sql.Identifier(clerk)))
        other.execute(sql.SQL("GRANT ALL ON ALL TABLES IN SCHEMA public TO {}").format(sql.Identifier(clerk)))

    def limit_to(connections: int) -> None:
        with other_client(postgres_url) as other:
            statement = sql.SQL("ALTER ROLE {} CONNECTION LIMIT {}")
            other.execute(statement.format(sql.Identifier(clerk), sql.Literal(connections)))

    with front(postgres_url.replace("postgres@", f"{clerk}@")) as door:
        assert statuses(door.each_kind()) == WELL
        limit_to(0)
        end_ours(postgres_url)

        assert refused(door.each_kind())

        limit_to(-1)
        assert statuses(door.each_kind()) == WELL
    assert f'too many connections for role "{clerk}"' in reasons(caplog.records)
    with other_client(postgres_url) as other:
        other.execute(sql.SQL("DROP OWNED BY {}").format(sql.Identifier(clerk)))
        other.execute(sql.SQL("DROP ROLE {}").format(sql.Identifier(clerk)))


def test_a_server_that_becomes_read_only_is_a_503_for_what_would_write(
    postgres_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    with front(postgres_url) as door, other_client(postgres_url) as other:
        assert statuses(door.each_kind()) == WELL
        with read_only(other):
            assert refused([door.assign(), door.change()])
            assert door.look().status_code == 200

        assert statuses(door.each_kind()) == WELL
    assert "read-only transaction" in reasons(caplog.records)


@contextmanager
def read_only(other: psycopg.Connection) -> Iterator[None]:
    """A server whose transactions may only read, those of connections that are open too."""
    try:
        other.execute("ALTER SYSTEM SET default_transaction_read_only = on")
        other.execute("SELECT pg_reload_conf()")
        until_shown(other, "on")
        yield
    finally:
        other.execute("ALTER SYSTEM RESET default_transaction_read_only")
        other.execute("SELECT pg_reload_conf()")
        until_shown(other, "off")


def until_shown(other: psycopg.Connection, value: str) -> None:
    while other.execute("SHOW default_transaction_read_only").fetchone() != (value,):
        time.sleep(0.01)


def test_a_session_that_somebody_keeps_locked_holds_up_its_own_calls_only(
    postgres_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    with front(postgres_url) as door:
        with locked(postgres_url, "sessions", "session_id", session(0)):
            began = time.monotonic()
            answers = door.assign_at_once([session(number) for number in range(10)])
            took_s = time.monotonic() - began

        assert refused(answers[:1])
        assert statuses(answers[1:]) == [200] * 9
        assert took_s < LOCKED_S
        assert door.assign(session(0)).status_code == 200
    assert "lock timeout" in reasons(caplog.records)


def test_rows_that_somebody_keeps_locked_hold_up_the_others_for_seconds_however_many_ask_for_them(
    postgres_url: str,
) -> None:
    with front(postgres_url) as door:
        wanted = [session(number) for number in range(25)]
        with locked(postgres_url, "sessions", "session_id", *wanted):
            began = time.monotonic()
            answers = door.assign_at_once(wanted)
            took_s = time.monotonic() - began
            after = door.assign(session(50))

        assert refused(answers)
        assert took_s < LOCKED_S
        assert after.status_code == 200
        assert statuses(door.assign_at_once(wanted)) == [200] * 25


def test_a_deadlock_with_another_client_costs_nobody_an_answer(postgres_url: str) -> None:
    with front(postgres_url) as door, psycopg.connect(postgres_url) as other:
        other.execute("SELECT 1 FROM agents WHERE agent_id = %s FOR UPDATE", [sample.AGENT])
        answers: list[int] = []
        caller = threading.Thread(target=lambda: answers.append(door.assign(session(0)).status_code))
        caller.start()
        until_ours_waits(postgres_url)

        with suppress(psycopg.errors.DeadlockDetected):
            other.execute("SELECT 1 FROM sessions WHERE session_id = %s FOR UPDATE", [session(0)])
        other.rollback()

        caller.join()
        assert answers == [200]


def test_a_race_that_is_lost_again_and_again_is_a_503_and_one_that_is_lost_once_is_none(
    postgres_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    with front(postgres_url) as door, other_client(postgres_url) as other:
        other.execute(
            """CREATE SEQUENCE lost; CREATE FUNCTION lose() RETURNS trigger LANGUAGE plpgsql AS
            $$ BEGIN IF nextval('lost') % 5 <> 0 THEN RAISE serialization_failure; END IF; RETURN NEW; END $$;
            CREATE TRIGGER lose BEFORE UPDATE ON sessions FOR EACH ROW EXECUTE FUNCTION lose()"""
        )
        first = door.assign()  # loses four times, which is all it tries
        other.execute("SELECT setval('lost', 3)")
        second = door.assign()

        assert refused([first])
        assert second.status_code == 200
        other.execute("DROP TRIGGER lose ON sessions")
        assert statuses(door.each_kind()) == WELL
    assert "serialization_failure" in reasons(caplog.records)


def test_a_server_that_hangs_is_a_503_within_the_documented_times_until_it_goes_on(
    postgres: PostgresServer, postgres_url: str, *, is_long: bool
) -> None:
    if not is_long:
        pytest.skip("takes half a minute: a part of the long form")
    with front(postgres_url) as door:
        assert statuses(door.each_kind()) == WELL
        with hanging(postgres), ThreadPoolExecutor(2) as executor:
            began = time.monotonic()
            assigned = executor.submit(lambda: (door.assign(), time.monotonic() - began))
            looked = executor.submit(lambda: (door.look(), time.monotonic() - began))
            (transfer, transfer_s), (look, look_s) = assigned.result(), looked.result()

        print(
            f"\na server that hung: a transfer was answered 503 after {transfer_s:.1f} s, a look after {look_s:.1f} s"
        )
        assert refused([transfer, look])
        assert look_s < READ_S
        assert transfer_s < CUT_SHORT_S
        assert statuses(door.each_kind()) == WELL


@contextmanager
def hanging(server: PostgresServer) -> Iterator[None]:
    """Every process of the server stands still, as on a disk that does not answer."""
    with other_client(server.url()) as other:
        rows = other.execute("SELECT pid FROM pg_stat_activity WHERE pid <> pg_backend_pid()").fetchall()
    pids = [*(pid for (pid,) in rows), server.pid]
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGCONT)


@pytest.mark.parametrize("isolation", ["repeatable read", "serializable"])
def test_the_isolation_that_a_database_prefers_changes_nothing(postgres_url: str, isolation: str) -> None:
    with other_client(postgres_url) as other:
        name = sql.Identifier(other.info.dbname)
        other.execute(
            sql.SQL("ALTER DATABASE {} SET default_transaction_isolation = {}").format(name, sql.Literal(isolation))
        )
    with front(postgres_url) as door:
        answers = door.assign_at_once([session(number) for number in range(40)] * 2)

        assert statuses(answers) == [200] * 80
