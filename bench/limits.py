"""What the machine and the databases allow, beside which the other figures stand.

`python -m bench.limits` measures the disk, SQLite and PostgreSQL by themselves. See docs/benchmarks.md.
"""

import os
import re
import sqlite3
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing
from pathlib import Path
from tempfile import TemporaryDirectory

from bench import machine, report, world
from bench.rounds import spread
from bench.sides import sides

_SECONDS = 2.0
_PAGE = b"\0" * 4_096
_CLIENTS = 64
_SESSIONS = 200_000
# One call's work in one statement of the server's own: the session, the agent, the transfer, the event, the callback.
_CALL = f"""
\\set n random(0, {_SESSIONS - 1})
WITH named AS (
  SELECT account_id, session_id, stream_id, org_id, 'tr_' || uuidv7() AS transfer_id, CAST(uuidv7() AS TEXT) AS fresh
  FROM sessions WHERE account_id = '{world.account_id(0)}'
  AND session_id = lpad(to_hex({0x65000000} + CAST(:n AS INT) / 50), 8, '0') || 'c9cf425ee5'
    || lpad(to_hex(CAST(:n AS INT)), 6, '0')
), agent AS (
  UPDATE agents SET active_sessions = active_sessions + 1 WHERE account_id = '{world.account_id(0)}'
  AND agent_id = 'a-8cd2673-0cb7-462d-9453-0ee60e52' || lpad(CAST(CAST(:n AS INT) % {world.AGENTS} AS TEXT), 4, '0')
  RETURNING agent_id
), held AS (
  UPDATE sessions SET state = 'agent', holder_id = agent_id, version = version + 1, transfer_id = named.transfer_id
  FROM named, agent WHERE sessions.account_id = named.account_id AND sessions.session_id = named.session_id
), told AS (
  INSERT INTO callbacks (account_id, callback_id, transfer_id, app_id, url, lane, body, due_at, expires_at)
  SELECT account_id, 'msg_' || fresh, transfer_id, 'cs-1', 'http://127.0.0.1:9/', 'http://127.0.0.1:9',
  repeat('x', 250), 1, 2 FROM named
), event AS (
  INSERT INTO events (account_id, position, kind, at, org_id, stream_id, agent_id, body)
  SELECT account_id, nextval('positions'), 'session.transferred', 1, org_id, stream_id, agent_id, repeat('x', 350)
  FROM named, agent
)
INSERT INTO transfers (account_id, transfer_id, app_id, stream_id, org_id, session_id, target_kind, target_id,
previous_state, status, version, completed_at, callback_url, request_id, body)
SELECT account_id, transfer_id, 'cs-1', stream_id, org_id, session_id, 'agent', agent_id, 'bot', 200, 1, 1,
'http://127.0.0.1:9/', fresh, repeat('x', 150) FROM named, agent;
"""  # noqa: S608 (our own words)


def in_a_second(act: Callable[[], object]) -> float:
    """How often it can be done in a second."""
    count, began = 0, time.perf_counter()
    while (took := time.perf_counter() - began) < _SECONDS:
        act()
        count += 1
    return count / took


def syncs(folder: Path) -> float:
    """Pages appended to a file and synced (fdatasync), one after another."""
    with (folder / "synced").open("wb", buffering=0) as file:

        def sync() -> None:
            file.write(_PAGE)
            os.fdatasync(file.fileno())

        return in_a_second(sync)


def sqlite_commits(folder: Path) -> float:
    """Commits of one row each, as durable as ours (WAL, synchronous=FULL)."""
    with closing(sqlite3.connect(folder / "rows.db", isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=FULL")
        connection.execute("CREATE TABLE rows (id INTEGER PRIMARY KEY, body TEXT)")
        return in_a_second(lambda: connection.execute("INSERT INTO rows (body) VALUES (?)", ("x" * 400,)))


def postgres_calls(stack: ExitStack, folder: Path) -> Callable[[], float]:
    """What measures one call's work in one statement of pgbench, 64 clients, a commit each."""
    start = stack.enter_context(sides(machine.BOTH, {1: _SESSIONS}))
    url = start.store("PostgreSQL")
    programs = start.postgres.programs
    subprocess.run([programs / "psql", "--quiet", "--command=CREATE SEQUENCE positions CACHE 100", url], check=True)
    (folder / "call.sql").write_text(_CALL)
    options = ["--no-vacuum", "--protocol=prepared", f"--client={_CLIENTS}", f"--time={_SECONDS:.0f}"]
    command = [str(programs / "pgbench"), *options, f"--file={folder / 'call.sql'}", url]

    def measured() -> float:
        told = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        found = re.search(r"tps = ([\d.]+)", told)
        assert found is not None, told
        return float(found[1])

    return measured


def rows(stack: ExitStack, rounds: int) -> Iterator[Sequence[str]]:
    """Each limit, with its range over the rounds."""
    folder = Path(stack.enter_context(TemporaryDirectory(prefix="handoff-bench-")))
    pgbench = postgres_calls(stack, folder)
    limits: dict[str, Callable[[], float]] = {
        "4 KiB written and synced (fdatasync)": lambda: syncs(folder),
        "SQLite, one row a commit, synchronous=FULL": lambda: sqlite_commits(Path(stack.enter_context(_new_folder()))),
        f"PostgreSQL, one call a commit, pgbench with {_CLIENTS} clients": pgbench,
    }
    for name, measured in limits.items():
        yield name, spread([measured() for _ in range(rounds)], ",.0f")


def _new_folder() -> "TemporaryDirectory[str]":
    return TemporaryDirectory(prefix="handoff-bench-")


def main() -> None:
    chosen = report.parser("limits").parse_args()
    told = report.Report(
        "limits",
        "Limits",
        "What the disk and the databases do by themselves, all on two cores. The statement of pgbench does what one "
        "call does: session, agent, transfer, event, callback.",
    )
    with ExitStack() as stack:
        told.table(("what", "in a second"), rows(stack, chosen.rounds))
    if chosen.keep:
        told.keep()


if __name__ == "__main__":
    main()
