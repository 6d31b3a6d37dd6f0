"""The power fails while assignments are being made: whatever was acknowledged is there when it is back (I3)."""

import asyncio
import contextlib
import itertools
import json
import os
import random
import re
import shutil
import signal
import sqlite3
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from handoff import Settings, load_directory
from handoff.store import tables as t
from handoff.store.engine import open_writer
from handoff.stores import open_audit
from rigs import sample
from rigs.disks import small_disk
from rigs.flood import connected, heard, request
from rigs.power import Disk, missing
from rigs.service import Service
from rigs.tables import Tables

pytestmark = pytest.mark.alone

CALLERS = 16
# An answer that was sent is there to be read.
HEARD_WITHIN_S = 0.1
QUEUES = (sample.QUEUE, sample.OTHER_QUEUE)
TRACED = "pwrite64,fdatasync,fsync,write,writev,sendto,sendmsg"


@dataclass(frozen=True, slots=True)
class Run:
    """The power fails so many times, each time after so many seconds of calls at the most; all fits on the disk."""

    cuts: int
    longest_s: float
    megabytes: int


SHORT = Run(cuts=2, longest_s=0.5, megabytes=128)
LONG = Run(cuts=25, longest_s=4, megabytes=1_024)


@pytest.fixture
def run(*, is_long: bool) -> Run:
    return LONG if is_long else SHORT


@contextmanager
def made(disk: Disk) -> Iterator[Disk]:
    """The disk while the block lasts. Skips the test where none can be made."""
    reason = missing()
    if reason is not None:
        pytest.skip(f"power loss is not proved here: {reason}")
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(disk)
        except subprocess.CalledProcessError as error:
            pytest.skip(f"power loss is not proved here: {error.stderr.decode().strip()}")
        yield disk


@pytest.fixture
def disk(tmp_path: Path, run: Run) -> Iterator[Disk]:
    with made(Disk(tmp_path, megabytes=run.megabytes)) as disk:
        yield disk


async def assign(port: int, session: str, told: set[str]) -> None:
    """Move the session from queue to queue, one call behind the other, until one is not answered 200."""
    with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
        async with connected(port) as (reader, writer):
            for turn in itertools.count():
                body = sample.body(aId=None, transferredType="QUEUE", queueId=QUEUES[turn % 2], botSessionId=session)
                writer.write(request(json.dumps(body).encode()))
                answer = await heard(reader)
                if answer.status != 200:
                    return
                told.add(answer.headers["x-transfer-id"])


async def cut_under_load(disk: Disk, service: Service, after_s: float, *, is_stopped: bool) -> frozenset[str]:
    """The transfers that somebody was told of before the power failed.

    A machine without power tells nobody anything. Where the process is stopped first, all that it had told before the
    cut counts. Where it is not, the disk goes in the middle of its writes, some of which the kernel may call done that
    were under way: then only what the callers had heard before the cut counts.
    """
    told: set[str] = set()
    callers = [asyncio.ensure_future(assign(service.port, f"s-{number}", told)) for number in range(CALLERS)]
    while not told:
        assert not all(caller.done() for caller in callers), "every caller was refused"
        await asyncio.sleep(0.01)
    await asyncio.sleep(after_s)
    if is_stopped:
        os.kill(service.pid, signal.SIGSTOP)
        await asyncio.sleep(HEARD_WITHIN_S)
    before = frozenset(told)
    disk.cut()
    service.kill()
    await asyncio.gather(*callers)
    return before


def require_whole(url: str, told: set[str]) -> int:
    """Everything that was told of is there, the file is sound and the rules hold; how many transfers there are."""
    with contextlib.closing(sqlite3.connect(url.removeprefix("sqlite:///"))) as connection:
        sound = connection.execute("PRAGMA integrity_check").fetchall()
    store = Tables(url)
    recorded = {row["transfer_id"] for row in store.rows(t.transfers)}
    store.close()
    audit = open_audit(Settings(database_url=url))
    violations = audit.violations()
    audit.close()

    assert sound == [("ok",)]
    assert told - recorded == set()
    assert violations == []
    return len(recorded)


@pytest.mark.timeout(900)
def test_no_acknowledged_assignment_is_lost_with_the_power(disk: Disk, tmp_path: Path, run: Run) -> None:
    url = f"sqlite:///{disk.path}/handoff.db"
    sessions = [sample.session(f"s-{number}") for number in range(CALLERS)]
    load_directory(Settings(database_url=url), sample.directory(sessions=sessions))
    told: set[str] = set()
    recorded = 0

    for number in range(run.cuts):
        # The log lies elsewhere: it tells what the service said when the disk was gone.
        service = Service(url, folder=tmp_path)
        service.start()
        after_s, is_stopped = random.uniform(0.2, run.longest_s), number % 2 == 0
        told |= asyncio.run(cut_under_load(disk, service, after_s, is_stopped=is_stopped))
        disk.restore()
        recorded = require_whole(url, told)

    print(f"\n{run.cuts} cuts: {len(told)} assignments were acknowledged, {recorded} are there, none is lost")
    assert told


def test_no_acknowledged_assignment_is_lost_where_syncs_failed_before_the_power(tmp_path: Path) -> None:
    told: set[str] = set()
    with small_disk(tmp_path / "room", megabytes=64) as room, made(Disk(room.folder, megabytes=32)) as disk:
        url = f"sqlite:///{disk.path}/handoff.db"
        load_directory(Settings(database_url=url), sample.directory())
        service = Service(url, folder=tmp_path, settings={"dispatcher": "off", "log_format": "json"})
        service.start()
        with httpx.Client(base_url=service.url, headers=sample.headers(), timeout=60) as client:

            def moved() -> int:
                body = sample.body(aId=None, transferredType="QUEUE", queueId=QUEUES[len(told) % 2])
                answer = client.post(sample.PATH, json=body)
                if answer.status_code == 200:
                    told.add(answer.headers["x-transfer-id"])
                return answer.status_code

            well = [moved() for _ in range(5)]
            room.fill()
            ill = [moved() for _ in range(100)]
            room.free()
            well += [moved() for _ in range(5)]
        os.kill(service.pid, signal.SIGSTOP)
        disk.cut()
        service.kill()
        disk.restore()
        require_whole(url, told)

    assert well == [200] * 10
    assert (set(ill), ill[-1]) == ({200, 503}, 503)
    assert "disk I/O error" in service.log.read_text()


# What durability rests on, also where no power can be cut.


def test_transfers_are_written_with_every_commit_on_disk(sqlite_url: str) -> None:
    engine = open_writer(sqlite_url, durability="FULL")
    with engine.connect() as connection:
        mode = connection.exec_driver_sql("PRAGMA journal_mode").scalar()
        synchronous = connection.exec_driver_sql("PRAGMA synchronous").scalar()
    engine.dispose()

    assert (mode, synchronous) == ("wal", 2)


@contextmanager
def traced(pid: int, lines: Path) -> Iterator[None]:
    """What every thread of the process asks of the kernel about its files and sockets, in order."""
    if shutil.which("strace") is None:
        pytest.skip("there is no strace")
    command = ["strace", "-f", "-y", "-s", "32", "-e", f"trace={TRACED}", "-o", str(lines), "-p", str(pid)]
    with subprocess.Popen(command, stderr=subprocess.PIPE) as process:
        assert process.stderr is not None
        said = process.stderr.readline().decode()
        if "attached" not in said:
            process.kill()
            pytest.skip(f"strace may not look at a process: {said.strip()}")
        yield
        process.send_signal(signal.SIGINT)


def test_what_a_call_wrote_is_forced_to_the_disk_before_it_is_answered(sqlite_url: str, tmp_path: Path) -> None:
    load_directory(Settings(database_url=sqlite_url), sample.directory())
    lines = tmp_path / "calls.txt"

    with Service(sqlite_url, folder=tmp_path, settings={"dispatcher": "off"}) as service, traced(service.pid, lines):
        answer = httpx.post(service.url + sample.PATH, headers=sample.headers(), json=sample.body(), timeout=60)
        deadline = time.monotonic() + 10
        while "HTTP/1.1 200" not in lines.read_text() and time.monotonic() < deadline:
            time.sleep(0.02)
    steps = [step for line in lines.read_text().splitlines() if (step := _step(line)) is not None]

    assert answer.status_code == 200
    assert steps[-1] == "answer"
    assert steps[-2] == "sync"
    assert "write" in steps[:-2]


def _step(line: str) -> str | None:
    if "HTTP/1.1 200" in line:
        return "answer"
    found = re.search(r"(pwrite64|fdatasync|fsync)\(\d+<[^>]*handoff\.db-wal>", line)
    if found is None:
        return None
    return "write" if found[1] == "pwrite64" else "sync"
