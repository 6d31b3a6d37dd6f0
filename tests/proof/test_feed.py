"""The feed under writers that are delayed, readers that come and go or do not read, and several processes."""

import asyncio
import random
import socket
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest

from conftest import StartService
from handoff import Settings, load_directory
from handoff.domain.event import Event
from handoff.store.engine import is_sqlite
from handoff.stores import open_audit
from rigs import feed, sample
from rigs.callers import callers
from rigs.feed import FeedWriter, Frame
from rigs.service import Service

pytestmark = pytest.mark.anyio

WRITERS = 3
READERS = 3
LONGEST_REST_S = 0.03
NOTHING_S = 60
LAST = "the last"
MOST_GROWTH_KIB = 24 * 1024


@dataclass(frozen=True, slots=True)
class Run:
    """`transactions` of each writer, `slow_events` behind the back of the slow reader."""

    transactions: int
    slow_events: int


@pytest.fixture
def run(*, is_long: bool) -> Run:
    return Run(transactions=1_000, slow_events=60_000) if is_long else Run(transactions=120, slow_events=20_000)


@pytest.fixture
def loaded(database_url: str) -> Settings:
    settings = Settings(database_url=database_url)
    load_directory(settings, feed.directory())
    return settings


def serve(start_service: StartService, settings: Settings, **more: Any) -> Service:
    return start_service(settings.database_url, settings={"dispatcher": "off", **more})


def write_slowly(url: str, number: int, transactions: int) -> list[str]:
    """Transactions that rest before their positions are taken and before they commit; some fail. What was written."""
    chance = random.Random(number)
    written: list[str] = []

    def rest(_connection: object = None) -> None:
        if chance.random() < 0.5:
            time.sleep(chance.random() * LONGEST_REST_S)

    with feed.writer(url) as writer, _news(url) as tell:
        for count in range(transactions):
            events = [_event(chance, f"{number}.{count}.{place}") for place in range(chance.randint(1, 3))]
            rest()
            if chance.random() < 0.1:
                _fail(writer, events)
                continue
            with writer.begin() as connection:
                rest()
                writer.append(connection, *events)
                rest()
            tell()
            written += [name for name in feed.names(events) if not name.startswith("-")]
    return written


@contextmanager
def _news(url: str) -> Iterator[Callable[[], object]]:
    """What a process does after a commit: tell the others. On SQLite they find out by themselves."""
    if is_sqlite(url):
        yield lambda: None
        return
    with psycopg.connect(url, autocommit=True) as connection:
        yield lambda: connection.execute("NOTIFY handoff_events")


def _event(chance: random.Random, name: str) -> Event:
    """One in four is of another stream, which the reader does not see."""
    return feed.event(f"-{name}", stream_id="st-other") if chance.random() < 0.25 else feed.event(name)


def _fail(writer: FeedWriter, events: Sequence[Event]) -> None:
    with pytest.raises(ZeroDivisionError), writer.begin() as connection:
        writer.append(connection, *events)
        raise ZeroDivisionError


class Reader:
    """Comes and goes as chance has it, and goes on each time behind the last id that it got."""

    def __init__(self, seed: int) -> None:
        self.seen: list[Frame] = []
        self.visits = 0
        self._chance = random.Random(seed)
        self._last_id = "0"

    async def read(self, url: str) -> None:
        """Up to the last event, and once more, since nothing may come behind it."""
        async with feed.client(url) as client:
            while LAST not in feed.names(self.seen[-1:]):
                await self._visit(client, self._chance.randint(0, 40))
            await self._visit(client, 1)

    async def _visit(self, client: httpx.AsyncClient, most: int) -> None:
        """A visit of so many events at most, or until none comes."""
        self.visits += 1
        await asyncio.sleep(self._chance.random() * 0.01)
        async with feed.stream_of(client, headers={"Last-Event-ID": self._last_id}) as frames:
            ready = await anext(frames)
            assert (ready.kind, ready.id) == ("ready", self._last_id)
            for _ in range(most):
                frame = await _soon(frames)
                if frame is None:
                    return
                self._last_id = frame.id or self._last_id
                self.seen += [frame] if frame.kind is not None else []


async def _soon(frames: AsyncIterator[Frame], timeout_s: float = 1.5) -> Frame | None:
    """The next frame, if one comes before a poll of the store would be over."""
    try:
        async with asyncio.timeout(timeout_s):
            return await anext(frames)
    except TimeoutError:
        return None


async def _write_all(url: str, transactions: int) -> list[list[str]]:
    """What each of the writers wrote."""
    loop = asyncio.get_running_loop()
    with ThreadPoolExecutor(WRITERS) as threads:
        writing = [loop.run_in_executor(threads, write_slowly, url, number, transactions) for number in range(WRITERS)]
        return list(await asyncio.gather(*writing))


async def test_readers_that_come_and_go_see_every_event_of_three_delayed_writers_once_and_in_order(
    loaded: Settings, start_service: StartService, run: Run
) -> None:
    service = serve(start_service, loaded)
    with feed.writer(loaded.database_url) as writer:
        writer.write(feed.event("begun", stream_id="st-other"))
    readers = [Reader(seed) for seed in range(READERS)]
    reading = asyncio.gather(*(reader.read(service.url) for reader in readers))
    written = await _write_all(loaded.database_url, run.transactions)
    with feed.writer(loaded.database_url) as writer:
        writer.write(feed.event(LAST))
    await reading
    audit = open_audit(loaded)
    violations = audit.violations()
    audit.close()

    assert violations == []
    for reader in readers:
        names = feed.names(reader.seen)
        ids = [int(frame.id or 0) for frame in reader.seen]
        print(f"\n{len(ids)} events in {reader.visits} visits")
        assert sorted(names) == sorted([LAST, *(name for one in written for name in one)])
        assert ids == sorted(set(ids))
        for number, one in enumerate(written):
            assert [name for name in names if name.startswith(f"{number}.")] == one


async def test_the_pages_show_the_sequence_that_the_streams_show_to_whomever_they_are_served(
    loaded: Settings, start_service: StartService
) -> None:
    sessions = [f"s-{number}" for number in range(60)]
    load_directory(loaded, {"sessions": [sample.session(one) for one in sessions]})
    load_directory(loaded, {"agents": [sample.agent(maxChatSupport=100)]})
    services = [serve(start_service, loaded) for _ in range(2)]
    async with callers([service.url for service in services]) as group:
        answers = await group.call_at_once([sample.body(botSessionId=session) for session in sessions])
    async with httpx.AsyncClient(base_url=services[0].url, timeout=60) as client:
        answer = await client.get(feed.PATH, headers=sample.headers(), params={"limit": 1_000})
    page = answer.json()
    shown = []
    for service in services:
        async with feed.stream(service.url, after=0) as frames, asyncio.timeout(NOTHING_S):
            shown.append([frame async for frame in _first(frames, 1 + len(sessions))][1:])

    assert {answer.status_code for answer in answers} == {200}
    assert [one["id"] for one in page["results"]] == [str(number) for number in range(1, 61)]
    assert {one["data"]["sessionId"] for one in page["results"]} == set(sessions)
    for frames_shown in shown:
        assert [
            {"id": one.id, "type": one.kind, "at": one.data.pop("at"), "data": one.data} for one in frames_shown
        ] == page["results"]


async def _first(frames: AsyncIterator[Frame], count: int) -> AsyncIterator[Frame]:
    for _ in range(count):
        yield await anext(frames)


@pytest.mark.alone
async def test_a_reader_on_one_process_hears_of_calls_to_another_before_the_next_poll(
    postgres_url: str, start_service: StartService
) -> None:
    settings = Settings(database_url=postgres_url)
    load_directory(settings, feed.directory())
    load_directory(settings, {"sessions": [sample.session(f"s-{number}") for number in range(20)]})
    load_directory(settings, {"agents": [sample.agent(maxChatSupport=100)]})
    here, there = serve(start_service, settings), serve(start_service, settings)
    delays: list[float] = []
    async with feed.stream(here.url) as frames, callers([there.url]) as group:
        await anext(frames)
        for number in range(20):
            await group.call_at_once([sample.body(botSessionId=f"s-{number}")])
            answered = time.monotonic()
            async with asyncio.timeout(NOTHING_S):
                frame = await anext(frames)
            delays.append(time.monotonic() - answered)
            assert frame.data["sessionId"] == f"s-{number}"

    # A poll once a second would need half a second on the average. A busy machine is slow with some.
    assert sorted(delays)[len(delays) // 2] < 0.25, delays


@pytest.mark.alone
async def test_a_reader_that_does_not_read_costs_no_memory_and_gets_everything_in_the_end(
    loaded: Settings, start_service: StartService, run: Run
) -> None:
    service = serve(start_service, loaded)
    with (
        socket.create_connection(("127.0.0.1", service.port)) as connection,
        feed.writer(loaded.database_url) as writer,
    ):
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16 * 1024)
        connection.sendall(_request())
        begun = connection.recv(4_096)
        writer.write(*_large_events(0, 2_000))
        await asyncio.sleep(1.5)
        before_kib = resident_kib(service)
        for begin in range(2_000, run.slow_events, 500):
            writer.write(*_large_events(begin, 500))
            await asyncio.sleep(0.002)
        await asyncio.sleep(1.5)
        grown_kib = resident_kib(service) - before_kib
        connection.settimeout(NOTHING_S)
        ids = await asyncio.to_thread(_read_ids, connection, begun, run.slow_events)

    print(f"\n{grown_kib} KiB more")
    assert ids == list(range(1, run.slow_events + 1))
    assert grown_kib < MOST_GROWTH_KIB
    assert run.slow_events * _LARGE > 3 * MOST_GROWTH_KIB * 1024


_LARGE = 4_000


def _large_events(begin: int, count: int) -> list[Event]:
    return [feed.event(number, body=b'{"name":"%s"}' % (b"x" * _LARGE)) for number in range(begin, begin + count)]


def _request() -> bytes:
    head = [f"GET {feed.PATH} HTTP/1.1", "host: x", "accept: text/event-stream", f"auth: {sample.token()}"]
    return "\r\n".join([*head, "\r\n"]).encode()


def resident_kib(service: Service) -> int:
    (line,) = [one for one in Path(f"/proc/{service.pid}/status").read_text().splitlines() if one.startswith("VmRSS")]
    return int(line.split()[1])


def _read_ids(connection: socket.socket, begun: bytes, count: int) -> list[int]:
    """The ids of the events up to the last one, of a stream that was not read so far."""
    found: list[int] = []
    rest = begun
    while not found or found[-1] < count:
        rest += connection.recv(1 << 16)
        *lines, rest = rest.split(b"\n")
        found += [int(line[4:]) for line in lines if line.startswith(b"id: ") and line != b"id: 0"]
    return found
