"""A commit in one process wakes the dispatchers of others, also after a connection broke (PostgreSQL)."""

import asyncio

import httpx
import psycopg
import pytest

from conftest import StartService
from handoff import Settings, load_directory
from handoff.store.wakeups import Channel, listening, notifying
from rigs import api, sample

pytestmark = pytest.mark.anyio
WAIT_S = 60
CALLBACKS = Channel.CALLBACKS


class Bell:
    """Remembers that it was rung, and how often."""

    def __init__(self) -> None:
        self.rung = asyncio.Event()
        self.count = 0

    def ring(self) -> None:
        self.count += 1
        self.rung.set()

    async def wait(self) -> None:
        async with asyncio.timeout(WAIT_S):
            await self.rung.wait()
        self.rung.clear()


async def test_who_listens_is_woken_at_first_and_by_every_notice(postgres_url: str) -> None:
    bell, other = Bell(), Bell()
    async with (
        listening(postgres_url, {CALLBACKS: bell.ring}),
        listening(postgres_url, {CALLBACKS: other.ring}),
        notifying(postgres_url) as tell,
    ):
        await bell.wait()
        await other.wait()

        tell(CALLBACKS)
        await bell.wait()
        await other.wait()

        tell(CALLBACKS)
        await bell.wait()


async def test_commits_close_together_are_told_in_few_notices(postgres_url: str) -> None:
    bell = Bell()
    async with listening(postgres_url, {CALLBACKS: bell.ring}), notifying(postgres_url) as tell:
        await bell.wait()
        for _ in range(1_000):
            tell(CALLBACKS)
        await bell.wait()

    assert bell.count < 10


async def test_a_broken_connection_is_made_anew(postgres_url: str) -> None:
    bell = Bell()
    async with listening(postgres_url, {CALLBACKS: bell.ring}), notifying(postgres_url) as tell:
        await bell.wait()
        tell(CALLBACKS)
        await bell.wait()
        with psycopg.connect(postgres_url) as admin:
            admin.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid()")

        await bell.wait()  # it listens anew
        while not bell.rung.is_set():
            tell(CALLBACKS)
            await asyncio.sleep(0.05)

    assert bell.count >= 4


async def test_serve_tells_of_its_commits_and_dispatch_listens(postgres_url: str, start_service: StartService) -> None:
    load_directory(Settings(database_url=postgres_url), sample.directory())
    service = start_service(postgres_url, settings={"dispatcher": "off"})
    bell = Bell()
    async with (
        listening(postgres_url, {CALLBACKS: bell.ring}),
        httpx.AsyncClient(base_url=service.url, timeout=60) as client,
    ):
        await bell.wait()
        answer = await client.post(sample.PATH, headers=sample.headers(), json=sample.body())
        await bell.wait()

    start_service(postgres_url, command=("handoff", "dispatch"))
    with psycopg.connect(postgres_url, autocommit=True) as watcher:
        listeners = "SELECT 1 FROM pg_stat_activity WHERE query = 'LISTEN handoff_callbacks'"
        api.until(lambda: watcher.execute(listeners).fetchone())

    assert answer.status_code == 200
