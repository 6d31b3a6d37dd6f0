"""A disk that is full or fails costs calls a 503 that says so; once it is well, service goes on by itself."""

import os
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from urllib.parse import urlsplit

import psycopg
import pytest
from psycopg import sql

from handoff import Settings
from handoff.migrating import migrate_store
from rigs.disks import SmallDisk, failing_writes, small_disk
from rigs.front import Front, front, reasons, refused, statuses
from rigs.postgres import NOBODY, PostgresServer

pytestmark = pytest.mark.alone

WELL = [200, 200, 200]
# Calls wait so long for their transaction to begin, whatever else waits in its thread, which they are looked after for
# once a second; and SQLite waits for the lock for 5 s.
PATIENCE_S = 2.0
LOCKED_S = PATIENCE_S + 1 + 5 + 2


def is_refused_while(door: Front, disk: SmallDisk) -> None:
    """Calls go on until the disk is so full that they are refused, and go on when there is room."""
    assert statuses(door.each_kind()) == WELL
    disk.fill()
    answers = [door.assign() for _ in range(20)]
    assert answers[-1].status_code == 503
    assert refused([answer for answer in answers if answer.status_code != 200])
    assert door.look().status_code == 200
    disk.free()
    assert statuses(door.each_kind()) == WELL


def test_a_full_disk_under_the_embedded_store_is_a_503_until_there_is_room(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    with small_disk(tmp_path / "disk", megabytes=4) as disk, front(f"sqlite:///{disk.folder}/handoff.db") as door:
        is_refused_while(door, disk)
    assert "database or disk is full" in reasons(caplog.records)


def test_a_disk_that_fails_under_the_embedded_store_is_a_503_until_it_is_well(
    sqlite_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    with front(sqlite_url) as door:
        assert statuses(door.each_kind()) == WELL
        with failing_writes(os.getpid()):
            answers = [door.assign(), door.change()]
            looked = door.look()

        assert refused(answers)
        # Who opens the file while nobody else has it open writes the index of its log, also to read.
        assert looked.status_code == 200 or refused([looked])
        assert statuses(door.each_kind()) == WELL
    assert "disk I/O error" in reasons(caplog.records)


@pytest.fixture
def small_tablespace(postgres: PostgresServer) -> Iterator[tuple[str, SmallDisk]]:
    """A migrated database on a small disk of its own."""
    with small_disk(postgres.directory / "disk", megabytes=24, owner=NOBODY) as disk:
        url = postgres.create_database()
        with psycopg.connect(postgres.url(), autocommit=True) as other:
            other.execute(sql.SQL("CREATE TABLESPACE small LOCATION {}").format(str(disk.folder)))
            name = sql.Identifier(urlsplit(url).path.removeprefix("/"))
            other.execute(sql.SQL("ALTER DATABASE {} SET TABLESPACE small").format(name))
        migrate_store(Settings(database_url=url))
        yield url, disk
        postgres.drop_database(url)
        with psycopg.connect(postgres.url(), autocommit=True) as other:
            other.execute("DROP TABLESPACE small")


def test_a_full_disk_under_postgresql_is_a_503_until_there_is_room(
    small_tablespace: tuple[str, SmallDisk], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    url, disk = small_tablespace
    with front(url) as door:
        is_refused_while(door, disk)
    assert "could not extend file" in reasons(caplog.records)


def test_a_store_that_another_process_keeps_locked_is_a_503_until_it_lets_go(
    sqlite_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    with front(sqlite_url, patience_seconds=PATIENCE_S) as door:
        assert statuses(door.each_kind()) == WELL
        with closing(sqlite3.connect(sqlite_url.removeprefix("sqlite:///"), isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            began = time.monotonic()
            answers = door.assign_at_once([f"s-{number}" for number in range(10, 14)])
            took_s = time.monotonic() - began

        assert refused(answers, codes=("store_unavailable", "overloaded"))
        assert took_s < LOCKED_S
        assert statuses(door.each_kind()) == WELL
    # Those whose batch was not begun, since the dispatcher waited in its thread, were turned away and met no lock.
    met_it = [answer for answer in answers if answer.json()["code"] == "store_unavailable"]
    assert reasons(caplog.records).count("database is locked") == len(met_it)
