"""A stop that cannot wait for the store says so to those who wait, who then repeat their calls."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import httpx2 as httpx
import pytest

from handoff import Settings, load_directory
from rigs import sample
from rigs.conversations import BASE
from rigs.locks import locked, until_ours_waits
from rigs.service import Service

StartService = Callable[..., Service]

PATIENCE_S = 30.0


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

    with ThreadPoolExecutor(1) as thread, locked(postgres_url, "sessions", "session_id", sample.SESSION):
        calling = thread.submit(call)
        until_ours_waits(postgres_url)
        code = service.stop()
        answer = calling.result()

    assert (answer.status_code, answer.json()["code"]) == (503, "store_unavailable")
    assert answer.headers["retry-after"] == "1"
    assert code == 0
    assert "Exception in ASGI application" not in service.log.read_text()
