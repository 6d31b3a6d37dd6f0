"""Servers that are no primary, or no longer: what would write is a 503 until there is one, and then goes there."""

import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from urllib.parse import urlsplit

import psycopg
import pytest

from handoff import Settings
from handoff.migrating import migrate_store
from rigs.front import front, reasons, refused, session, statuses
from rigs.postgres import PostgresServer
from rigs.replica import Replica

pytestmark = pytest.mark.alone

WELL = [200, 200, 200]
# A batch has 20 s, and is looked at once a second; the rest is the machine's.
CUT_SHORT_S = 20.0 + 1 + 5


@dataclass(frozen=True, slots=True)
class Pair:
    """A primary with a migrated database, and its synchronous replica."""

    primary: PostgresServer
    replica: Replica
    database: str

    def url(self, *servers: PostgresServer) -> str:
        hosts = ",".join(f"127.0.0.1:{server.port}" for server in servers)
        return f"postgresql://postgres@{hosts}/{self.database}"


@pytest.fixture
def long_form(*, is_long: bool) -> None:
    """Before all that takes time."""
    if not is_long:
        pytest.skip("takes half a minute: a part of the long form")


@pytest.fixture
def pair() -> Iterator[Pair]:
    with ExitStack() as stack:
        primary = stack.enter_context(PostgresServer(settings={"synchronous_commit": "on"}))
        url = primary.create_database()
        migrate_store(Settings(database_url=url))
        replica = stack.enter_context(Replica(primary))
        yield Pair(primary, replica, urlsplit(url).path.removeprefix("/"))


def test_a_service_that_knows_a_standby_only_takes_calls_once_that_is_promoted(
    pair: Pair, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    with front(pair.url(pair.replica), loaded_through=pair.url(pair.primary)) as door:
        answers = [door.assign(), door.change()]
        looked = door.look()
        assert refused(answers)
        assert looked.status_code == 200

        pair.primary.kill()
        pair.replica.promote()

        assert statuses(door.each_kind()) == WELL
    assert "read-only transaction" in reasons(caplog.records)


def test_a_primary_that_was_set_read_only_for_a_switchover_is_left_for_the_new_one(pair: Pair) -> None:
    both = pair.url(pair.primary, pair.replica) + "?target_session_attrs=read-write"
    with front(both) as door:
        assert statuses(door.each_kind()) == WELL
        set_read_only(pair.primary)
        assert refused([door.assign(), door.change()])
        pair.replica.promote()

        assert statuses([door.assign(), door.change()]) == [200, 200]

        pair.primary.stop()
        assert statuses(door.each_kind()) == WELL


def test_a_call_whose_commit_waits_for_a_replica_that_is_away_is_told_in_the_end_that_its_outcome_is_unknown(
    long_form: None, pair: Pair
) -> None:
    del long_form
    with front(pair.url(pair.primary)) as door:
        assert statuses(door.each_kind()) == WELL
        pair.replica.hold_back()
        began = time.monotonic()
        answer = door.assign(session(10))
        took_s = time.monotonic() - began
        pair.replica.go_on(with_what_waited=True)

        print(f"\nanswered 503 after {took_s:.1f} s of a replica that was away")
        assert refused([answer])
        assert "should it have recorded the transfer" in answer.json()["detail"]
        assert took_s < CUT_SHORT_S
        assert door.assign(session(10)).status_code == 200


def set_read_only(server: PostgresServer) -> None:
    """Let transactions only read from now on, also on connections that are open."""
    with psycopg.connect(server.url(), autocommit=True) as connection:
        connection.execute("ALTER SYSTEM SET default_transaction_read_only = on")
        connection.execute("SELECT pg_reload_conf()")
        while connection.execute("SHOW default_transaction_read_only").fetchone() != ("on",):
            time.sleep(0.01)
