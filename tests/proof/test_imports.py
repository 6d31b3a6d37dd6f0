"""Imports at their worst: very long ones, ones that are killed, and ones while the service works."""

import asyncio
import json
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy import func, select

from conftest import StartService
from handoff import Settings, load_directory
from handoff.directory import import_directory
from handoff.migrating import migrate_store
from handoff.outboxes import open_store
from handoff.service.directory_file import Entry
from handoff.store.tables import sessions
from handoff.stores import open_audit
from rigs import sample
from rigs.callers import callers
from rigs.measured import measured
from rigs.service import environment

# What more rows may cost in memory: nothing, but the pools of the allocator and the page cache of SQLite are no
# exact things.
SLACK_MB = 10
AGENTS = 6
ROUNDS = 12


def file_of(folder: Path, rows: int) -> Path:
    """A directory file with so many sessions, one a line."""
    file = folder / f"{rows}.json"
    with file.open("w", encoding="utf-8") as out:
        out.write('{"sessions": [\n')
        out.writelines(f"{json.dumps(sample.session(f's-{number}'))},\n" for number in range(rows - 1))
        out.write(json.dumps(sample.session("s-last")) + "\n]}\n")
    return file


def count(settings: Settings) -> int:
    engine = open_store(settings)
    with engine.begin() as connection:
        found = connection.execute(select(func.count()).select_from(sessions)).scalar_one()
    engine.dispose()
    return found


def test_memory_does_not_grow_with_the_rows_on_the_way_in_or_out(tmp_path: Path) -> None:
    few, many = (f"sqlite:///{tmp_path}/{name}.db" for name in ("few", "many"))

    small = measured(few, "import", str(file_of(tmp_path, 5_000))), measured(few, "export", str(tmp_path / "few"))
    large = measured(many, "import", str(file_of(tmp_path, 60_000))), measured(many, "export", str(tmp_path / "many"))

    assert [large[way].peak_mb - small[way].peak_mb < SLACK_MB for way in (0, 1)] == [True, True]
    assert max(ran.peak_mb for ran in large) < 150


def test_an_import_that_is_killed_is_begun_again_and_comes_to_the_same(database_url: str, tmp_path: Path) -> None:
    settings = Settings(database_url=database_url)
    migrate_store(settings)
    file = file_of(tmp_path, 30_000)
    command = [sys.executable, "-m", "handoff", "import", str(file)]
    with subprocess.Popen(command, env=environment(database_url), stdout=subprocess.DEVNULL) as process:
        deadline = time.monotonic() + 60
        while count(settings) < 5_000 and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.01)
        process.kill()
    broken_off = count(settings)

    again = subprocess.run(command, env=environment(database_url), check=True, capture_output=True, text=True)

    assert 0 < broken_off < 30_000
    assert broken_off % 1_000 == 0
    assert again.stdout == "imported 30000 sessions\n"
    assert count(settings) == 30_000


@pytest.mark.anyio
async def test_an_import_of_the_very_sessions_and_agents_that_calls_are_about_disturbs_neither(
    database_url: str, start_service: StartService
) -> None:
    settings = Settings(database_url=database_url)
    agents = [f"a-{number}" for number in range(AGENTS)]
    names = [f"s-{number}" for number in range(AGENTS * ROUNDS)]
    load_directory(settings, sample.directory(agents=[], sessions=[sample.session(name) for name in names]))
    load_directory(settings, {"agents": [sample.agent(agent, maxChatSupport=1_000) for agent in agents]})
    service = start_service(database_url, settings={"dispatcher": "off"})
    stop = asyncio.Event()

    async with callers([service.url]) as group, asyncio.TaskGroup() as tasks:
        importing = tasks.create_task(asyncio.to_thread(renew_until, stop, settings, agents, names))
        statuses: list[int] = []
        for number in range(ROUNDS):
            chosen = names[number * AGENTS : (number + 1) * AGENTS]
            bodies = [
                sample.body(aId=agent, botSessionId=name) for name in chosen for agent in (agents[0], *agents[::-1])
            ]
            statuses += [answer.status_code for answer in await group.call_at_once(bodies)]
        stop.set()
    imports = await importing

    with closing(open_audit(settings)) as audit:
        assert audit.violations() == []
    assert statuses.count(503) == 0
    assert sum(status == 200 for status in statuses) >= len(names)
    assert imports > 1


def renew_until(stop: asyncio.Event, settings: Settings, agents: Sequence[str], names: Sequence[str]) -> int:
    """Bring the same agents and sessions in, each time with something else to renew; how often."""
    done = 0
    while not stop.is_set():
        done += 1
        changed = [sample.agent(agent, maxChatSupport=1_000, firstName=f"{done}") for agent in reversed(agents)]
        others = [sample.session(name, source=f"{done}") for name in reversed(names)]
        entries = [*(Entry("agents", 0, one) for one in changed), *(Entry("sessions", 0, one) for one in others)]
        report = import_directory(settings, entries)
        assert report.errors == []
    return done
