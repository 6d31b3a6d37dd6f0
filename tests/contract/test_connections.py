"""Connections that break, hang or were never there, and what the store's errors say of it."""

import contextlib
import os
import socket
import threading
import time
import traceback
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psycopg
import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from handoff import Settings, load_directory
from handoff.migrating import migrate_store
from handoff.service.ports import Changes, Contended, Locked, StoreUnavailable
from handoff.store.engine import ThreadConnection, is_sqlite, open_writer
from handoff.stores import open_transfer_store
from rigs import facts, sample
from rigs.ports import free_port
from rigs.postgres import PostgresServer


def test_a_server_that_is_silent_is_cut_off_from_another_thread(postgres_url: str) -> None:
    connection = ThreadConnection(open_writer(postgres_url))
    begun = threading.Event()

    def wait_long() -> None:
        with connection.transaction() as open_one:
            begun.set()
            open_one.execute(text("SELECT pg_sleep(60)"))

    with ThreadPoolExecutor(1) as executor:
        waiting = executor.submit(wait_long)
        begun.wait(20)
        connection.abort()

        with pytest.raises(StoreUnavailable) as caught:
            waiting.result(20)
    assert caught.value.is_lost
    with connection.transaction() as another:
        assert another.scalar(text("SELECT 1")) == 1
    connection.close()


@pytest.mark.parametrize("is_noticed", [True, False])
def test_a_connection_that_is_gone_already_can_be_cut_off_all_the_same(
    postgres_url: str,
    is_noticed: bool,  # noqa: FBT001 (a case)
) -> None:
    connection = ThreadConnection(open_writer(postgres_url))
    times = 0
    with pytest.raises(StoreUnavailable), connection.transaction() as open_one:
        driver = open_one.connection.driver_connection
        with psycopg.connect(postgres_url) as other:
            other.execute("SELECT pg_terminate_backend(%s)", [driver.info.backend_pid])  # type: ignore[union-attr]
        if is_noticed:
            with pytest.raises(DBAPIError):
                open_one.execute(text("SELECT 1"))
        else:
            reset(driver.fileno())  # type: ignore[union-attr]
        connection.abort()
        connection.abort()
        times = 2
        open_one.execute(text("SELECT 1"))
    connection.abort()

    assert times == 2


def reset(connected: int) -> None:
    """Send until the other side, which is gone, answers with a reset."""
    with socket.socket(fileno=os.dup(connected)) as twin, contextlib.suppress(ConnectionError):
        while True:
            twin.send(b"x")
            time.sleep(0.01)


def test_a_backend_that_was_ended_is_a_lost_connection_and_the_next_one_works(
    postgres_url: str,
) -> None:
    connection = ThreadConnection(open_writer(postgres_url))
    with connection.transaction() as open_one:
        backend = open_one.scalar(text("SELECT pg_backend_pid()"))
    with psycopg.connect(postgres_url) as other:
        other.execute("SELECT pg_terminate_backend(%s)", [backend])

    with pytest.raises(StoreUnavailable) as caught, connection.transaction() as open_one:
        open_one.execute(text("SELECT 1"))

    assert caught.value.is_lost
    with connection.transaction() as another:
        assert another.scalar(text("SELECT 1")) == 1
    connection.close()


def test_a_server_that_came_back_is_used_without_a_restart_of_ours() -> None:
    with PostgresServer(durable=True) as server:
        settings = Settings(database_url=server.create_database())
        migrate_store(settings)
        load_directory(settings, sample.directory())
        store = open_transfer_store(settings)
        with store.begin() as transaction:
            transaction.write(Changes(transfers=[facts.TRANSFER]))

        server.kill()
        with pytest.raises(StoreUnavailable), store.begin() as transaction:
            transaction.transfers({(sample.ACCOUNT, "tr_1")})
        server.start()
        with store.begin() as transaction:
            found = transaction.transfers({(sample.ACCOUNT, "tr_1")})
        store.close()

    assert list(found.values()) == [facts.TRANSFER]


def test_a_store_that_is_not_there_is_unavailable(database_url: str, tmp_path: Path) -> None:
    away = (
        f"sqlite:///{tmp_path}/no-such-folder/handoff.db"
        if is_sqlite(database_url)
        else f"postgresql://postgres@127.0.0.1:{free_port()}/none"
    )
    store = open_transfer_store(Settings(database_url=away))

    with pytest.raises(StoreUnavailable), store.begin():
        pass


@pytest.mark.parametrize("password", ["hush%hush", "hush hush", "not@hush", "hush@not@hush"])
def test_a_url_that_cannot_be_read_does_not_give_its_password_away(password: str) -> None:
    away = f"postgresql://somebody:{password}@127.0.0.1:{free_port()}/none"
    store = open_transfer_store(Settings(database_url=away))

    with pytest.raises(StoreUnavailable) as caught, store.begin():
        pass
    told = "".join(traceback.format_exception(caught.value)) + str(caught.value)

    assert "%25" in told
    assert "hush" not in told


def test_a_row_that_somebody_keeps_locked_fails_its_transaction_only(postgres_url: str) -> None:
    settings = Settings(database_url=postgres_url)
    load_directory(settings, sample.directory())
    store = open_transfer_store(settings)
    wanted = {(sample.ACCOUNT, sample.SESSION)}
    with psycopg.connect(postgres_url) as other:
        other.execute("SELECT 1 FROM sessions FOR UPDATE")
        with pytest.raises(Locked), store.begin() as transaction:
            transaction.sessions(wanted)

    with store.begin() as transaction:
        assert set(transaction.sessions(wanted)) == wanted
    store.close()


def test_a_deadlock_is_a_race_that_was_lost(postgres_url: str) -> None:
    settings = Settings(database_url=postgres_url)
    load_directory(settings, sample.directory())
    first, second = (ThreadConnection(open_writer(postgres_url)) for _ in range(2))
    has_one = threading.Barrier(2)
    agents = (sample.AGENT, sample.OTHER_AGENT)

    def lock_both(connection: ThreadConnection, order: tuple[str, str]) -> str:
        try:
            with connection.transaction() as open_one:
                for place, agent in enumerate(order):
                    open_one.execute(text("SELECT 1 FROM agents WHERE agent_id = :id FOR UPDATE"), {"id": agent})
                    if place == 0:
                        has_one.wait(20)
        except Contended:
            return "lost"
        return "won"

    with ThreadPoolExecutor(2) as executor:
        runs = [executor.submit(lock_both, first, agents), executor.submit(lock_both, second, agents[::-1])]
        outcomes = sorted(run.result(30) for run in runs)
    first.close()
    second.close()

    assert outcomes == ["lost", "won"]


def test_a_server_ends_the_transaction_of_a_client_that_froze_in_it(postgres_url: str) -> None:
    frozen = ThreadConnection(open_writer(postgres_url))
    with pytest.raises(StoreUnavailable) as caught, frozen.transaction() as open_one:
        bound = open_one.scalar(text("SHOW idle_in_transaction_session_timeout"))
        # The same at another speed; SET LOCAL is of this transaction.
        open_one.execute(text("SET LOCAL idle_in_transaction_session_timeout = '100ms'"))
        time.sleep(0.5)
        open_one.execute(text("SELECT 1"))

    frozen.close()
    assert caught.value.is_lost
    assert bound == "10s"


def test_the_embedded_stores_file_is_its_owners_alone(sqlite_url: str) -> None:
    load_directory(Settings(database_url=sqlite_url), sample.directory())

    assert Path(sqlite_url.removeprefix("sqlite:///")).stat().st_mode & 0o077 == 0


def test_what_the_url_says_of_the_connection_is_left_as_it_is(postgres_url: str) -> None:
    connection = ThreadConnection(
        open_writer(f"{postgres_url}?application_name=theirs&options=-csearch_path%3Dpg_catalog")
    )
    with connection.transaction() as open_one:
        shown = [open_one.scalar(text(f"SHOW {name}")) for name in ("application_name", "search_path", "lock_timeout")]
    connection.close()

    assert shown == ["theirs", "pg_catalog", "2s"]
