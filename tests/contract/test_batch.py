"""What is written together: each thing as it would be alone, and an account's head of the feed locked last."""

from collections.abc import Iterator
from threading import Thread

import pytest
from sqlalchemy import Connection, Engine, Table, select, text
from sqlalchemy.exc import OperationalError

from handoff import Settings
from handoff.store.batch import Append, Batch, Change, Row
from handoff.store.batch_postgres import PostgresBatch
from handoff.store.batch_sqlite import SqliteBatch
from handoff.store.engine import is_sqlite, open_writer
from handoff.store.feed import to_feed
from handoff.store.tables import agents, events, idempotency_keys, sessions
from rigs import feed, sample

LOCK = text("SELECT 1 FROM agents WHERE agent_id = :agent FOR UPDATE NOWAIT")
WAITING = text("SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'")
KEY = {"account_id": sample.ACCOUNT, "app_id": sample.APP, "fingerprint": "f", "transfer_id": "tr_1", "created_at": 1}
LOAD = {"account_id": sample.ACCOUNT, "agent_id": sample.AGENT, "active_sessions": 3}


@pytest.fixture
def engine(stored: Settings) -> Iterator[Engine]:
    made = open_writer(stored.database_url)
    yield made
    made.dispose()


@pytest.fixture
def batch(stored: Settings) -> Batch:
    return SqliteBatch() if is_sqlite(stored.database_url) else PostgresBatch()


def values(connection: Connection, table: Table, *names: str) -> list[tuple[object, ...]]:
    rows = connection.execute(select(*(table.c[name] for name in names)).order_by(*table.primary_key))
    return [tuple(row) for row in rows]


def test_all_that_is_written_together_is_there(engine: Engine, batch: Batch) -> None:
    with engine.begin() as connection:
        batch.write(
            connection,
            [
                Change(agents, [LOAD, LOAD | {"agent_id": sample.OTHER_AGENT, "active_sessions": 4}]),
                Append(idempotency_keys, [KEY | {"key": "one"}, KEY | {"key": "two"}]),
                to_feed([feed.event()]),
            ],
        )

        assert values(connection, agents, "active_sessions") == [(4,), (3,)]
        assert values(connection, idempotency_keys, "key") == [("one",), ("two",)]
        assert values(connection, events, "position") == [(1,)]


def test_nothing_is_written_where_there_are_no_rows(engine: Engine, batch: Batch) -> None:
    with engine.begin() as connection:
        batch.write(connection, [])
        batch.write(connection, [Append(idempotency_keys, []), Change(agents, []), to_feed([])])

        assert values(connection, idempotency_keys, "key") == []


def test_a_row_that_is_there_is_left_alone_where_it_may_be(engine: Engine, batch: Batch) -> None:
    keys: list[Row] = [KEY | {"key": "one", "created_at": 2}, KEY | {"key": "two", "created_at": 2}]
    with engine.begin() as connection:
        batch.write(connection, [Append(idempotency_keys, [KEY | {"key": "one"}])])
        batch.write(connection, [Append(idempotency_keys, keys, once=True)])

        assert values(connection, idempotency_keys, "key", "created_at") == [("one", 1), ("two", 2)]


def test_events_count_on_within_their_accounts_in_their_order(engine: Engine, batch: Batch) -> None:
    with engine.begin() as connection:
        for number in range(2):
            new = [
                feed.event(f"{number}{name}", account_id=account) for name, account in zip("abcd", "yxyx", strict=True)
            ]
            batch.write(connection, [to_feed(new)])

        told = [
            (*place, str(body)[9:11]) for *place, body in values(connection, events, "account_id", "position", "body")
        ]
        assert told == [
            *(("x", position, name) for position, name in enumerate(("0b", "0d", "1b", "1d"), 1)),
            *(("y", position, name) for position, name in enumerate(("0a", "0c", "1a", "1c"), 1)),
        ]


@pytest.mark.parametrize("profile", [None, {}, {"name": 'Zoë "Z"', "tags": ["a", 1, None, {"b": False}]}])
def test_json_comes_back_as_it_was_and_text_unharmed(engine: Engine, batch: Batch, profile: object) -> None:
    row = {
        "account_id": sample.ACCOUNT,
        "session_id": "s-new",
        "conversation_id": "c-1",
        "stream_id": sample.STREAM,
        "org_id": sample.ORG,
        "state": "bot",
        "holder_id": None,
        "version": 2**40,
        "source": "\\ \" ' % %s {} \n Zoë \U0001f600",
        "profile": profile,
    }
    with engine.begin() as connection:
        batch.write(connection, [Append(sessions, [row])])

        found = connection.execute(select(sessions).where(sessions.c.session_id == "s-new")).mappings().one()
        assert {name: found[name] for name in row} == row


@pytest.mark.parametrize("loaded_url", ["postgres"], indirect=True)  # SQLite has one lock
def test_whoever_waits_for_a_head_has_locked_all_else_before(engine: Engine, batch: Batch) -> None:
    with engine.begin() as connection:
        batch.write(connection, [to_feed([feed.event()])])

    def write() -> None:
        with engine.begin() as connection:
            batch.write(connection, [Change(agents, [LOAD]), to_feed([feed.event()])])

    writer = Thread(target=write)
    with engine.connect() as holder, engine.connect() as other:
        batch.write(holder, [to_feed([feed.event()])])
        writer.start()
        while other.execute(WAITING).scalar_one() == 0:
            other.rollback()
        with pytest.raises(OperationalError):
            other.execute(LOCK, {"agent": sample.AGENT})
        other.rollback()
        holder.commit()
    writer.join()
