"""Rows by the hundred thousand, written past the service: sessions to assign, and the past of an old store."""

import sqlite3
from collections.abc import Iterable
from contextlib import closing
from itertools import islice
from typing import Any, Final

import psycopg

from bench import world
from handoff import Settings
from handoff.store.engine import is_sqlite

Row = tuple[Any, ...]

# Of a session's past: it changed hands so often, and was then closed.
MOVES: Final = 5
# Rows of one transaction: a log of millions would double the disk that is needed.
_AT_A_TIME: Final = 100_000
_PAST_MS: Final = 1_600_000_000_000


def add_sessions(settings: Settings, *, first: int, count: int, accounts: int, is_past: bool = False) -> None:
    """Sessions that are with the bot, or that were closed long ago (`is_past`)."""
    columns = "account_id, session_id, stream_id, org_id, state, version, transfer_id, conversation_id, opened_at"
    state, version = ("closed", MOVES) if is_past else ("bot", 0)
    rows = (
        (
            world.account_id(n % accounts),
            world.session_id(n),
            world.stream_id(n % accounts),
            world.org_id(n % accounts),
            state,
            version,
            f"tr_{_uuid7(n * MOVES + MOVES - 1)}" if is_past else None,
            f"c-{_uuid7(n)[1:]}",
            _PAST_MS + n,
        )
        for n in range(first, first + count)
    )
    write(settings.database_url, "sessions", columns, rows)


def add_transfers(settings: Settings, *, sessions: int, accounts: int) -> None:
    """The past of the first so many sessions: `MOVES` transfers and events of each, in the order of time."""
    columns = (
        "account_id, transfer_id, app_id, stream_id, org_id, session_id, target_kind, target_id, previous_state, "
        "status, version, completed_at, callback_url, request_id, body"
    )
    write(settings.database_url, "transfers", columns, (_transfer(n, accounts) for n in range(sessions * MOVES)))
    columns = "account_id, position, kind, at, org_id, stream_id, agent_id, body"
    write(settings.database_url, "events", columns, (_event(n, accounts) for n in range(sessions * MOVES)))
    heads = ((world.account_id(n), sessions * MOVES) for n in range(accounts))
    write(settings.database_url, "event_heads", "account_id, position", heads)


def _transfer(number: int, accounts: int) -> Row:
    session = number // MOVES
    account, agent, at = session % accounts, world.agent_id(number % world.AGENTS), _PAST_MS + number
    session_id = world.session_id(session)
    body = f'{{"sessionId":"{session_id}","agentId":"{agent}","status":"transferred","requestCompletedAt":{at}}}'
    return (
        world.account_id(account),
        f"tr_{_uuid7(number)}",
        world.app_id(0),
        world.stream_id(account),
        world.org_id(account),
        session_id,
        "agent",
        agent,
        "bot",
        200,
        1 + number % MOVES,
        at,
        "http://127.0.0.1:8009/",
        _uuid7(number),
        body,
    )


def _event(number: int, accounts: int) -> Row:
    session = number // MOVES
    account, agent = session % accounts, world.agent_id(number % world.AGENTS)
    stream, org = world.stream_id(account), world.org_id(account)
    body = (
        f'{{"sessionId":"{world.session_id(session)}","conversationId":"c-{_uuid7(session)[1:]}","streamId":"{stream}",'
        f'"orgId":"{org}","state":"agent","agentId":"{agent}","version":{1 + number % MOVES},'
        f'"transferId":"tr_{_uuid7(number)}","appId":"{world.app_id(0)}"}}'
    )
    return (world.account_id(account), 1 + number, "session.transferred", _PAST_MS + number, org, stream, agent, body)


def _uuid7(number: int) -> str:
    """One each millisecond, its random part spread as chance would."""
    at, spread = _PAST_MS + number, number * 0x9E3779B97F4A7C15 & 0xFFFFFFFFFFFFFFFF
    last = spread & 0xFFFFFFFFFFFF
    return f"{at >> 16:08x}-{at & 0xFFFF:04x}-7{spread >> 52:03x}-8{spread >> 40 & 0xFFF:03x}-{last:012x}"


def write(url: str, table: str, columns: str, rows: Iterable[Row]) -> None:
    """Write the rows into either database, in their order."""
    left = iter(rows)
    while some := list(islice(left, _AT_A_TIME)):
        if is_sqlite(url):
            _write_sqlite(url.removeprefix("sqlite:///"), table, columns, some)
        else:
            _write_postgres(url, table, columns, some)


def _write_sqlite(path: str, table: str, columns: str, rows: list[Row]) -> None:
    marks = ", ".join("?" for _ in columns.split(","))
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("PRAGMA synchronous=OFF")
        connection.executemany(f"INSERT INTO {table} ({columns}) VALUES ({marks})", rows)  # noqa: S608 (our own words)


def _write_postgres(url: str, table: str, columns: str, rows: list[Row]) -> None:
    statement = f"COPY {table} ({columns}) FROM STDIN"
    with psycopg.connect(url) as connection, connection.cursor() as cursor, cursor.copy(statement) as copy:
        for row in rows:
            copy.write_row(row)


def settle(url: str) -> None:
    """What a database that has been up for a while has done: its statistics are known, its log is written out."""
    if is_sqlite(url):
        with closing(sqlite3.connect(url.removeprefix("sqlite:///"))) as connection:
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        return
    with psycopg.connect(url, autocommit=True) as connection:
        for statement in ("VACUUM ANALYZE", "CHECKPOINT"):
            connection.execute(statement)
