"""A stop that cannot wait for the store says so to those who wait, who then repeat their calls."""

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import httpx2 as httpx
import psycopg
import pytest

from handoff import Settings, load_directory
from rigs import sample
from rigs.conversations import BASE
from rigs.service import Service

StartService = Callable[..., Service]

PATIENCE_S = 30.0
WAITING = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"


@pytest.mark.parametrize("path", [sample.PATH, f"{BASE}/conversations/sessions/{sample.SESSION}/release"])
def test_whoever_waits_for_the_store_when_the_service_stops_is_told_to_repeat_the_call(
    postgres_url: str, start_service: StartService, path: str
) -> None:
    directory = sample.directory()
    directory["apps"] = [sample.app(scopes=["Routing", "Configuration"])]
    load_directory(Settings(database_url=postgres_url), directory)
    service = start_service(postgres_url, settings={"dispatcher": "off", "grace_seconds": 1})

    def call() -> httpx.Response:
        return httpx.post(service.url + path, headers=sample.headers(), json=sample.body(), timeout=PATIENCE_S)

    with ThreadPoolExecutor(1) as thread, locked_sessions(postgres_url):
        calling = thread.submit(call)
        until_it_waits(postgres_url)
        code = service.stop()
        answer = calling.result()

    assert (answer.status_code, answer.json()["code"]) == (503, "store_unavailable")
    assert answer.headers["retry-after"] == "1"
    assert code == 0
    assert "Exception in ASGI application" not in service.log.read_text()


@contextmanager
def locked_sessions(url: str) -> Iterator[None]:
    """Nobody can change a session meanwhile."""
    with psycopg.connect(url) as other:
        other.execute("SELECT 1 FROM sessions FOR UPDATE")
        yield
        other.rollback()


def until_it_waits(url: str) -> None:
    """Wait until the service has come to a row that is locked."""
    deadline = time.monotonic() + PATIENCE_S
    with psycopg.connect(url, autocommit=True) as other:
        while other.execute(WAITING).fetchone() == (0,):
            assert time.monotonic() < deadline, "the service waits for nothing"
