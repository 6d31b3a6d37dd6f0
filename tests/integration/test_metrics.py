"""Metrics as they are scraped from the processes that have them."""

import socket
import time
from collections.abc import Callable
from urllib.error import HTTPError
from urllib.request import urlopen

import httpx
import pytest
from fastapi.testclient import TestClient
from sqlalchemy import text

from conftest import StartService
from handoff import Settings, create_app, load_directory
from handoff.store.engine import open_writer
from handoff.system import CannotListen
from rigs import sample
from rigs.metrics import scraped
from rigs.ports import free_port
from rigs.receiver import Receiver


def eventually(holds: Callable[[], bool]) -> None:
    while not holds():
        time.sleep(0.05)


def test_serve_tells_of_its_requests_and_callbacks(loaded_url: str, start_service: StartService) -> None:
    port = free_port()
    service = start_service(loaded_url, settings={"metrics_port": port})
    with Receiver() as receiver:
        body = sample.body(receiver.url())
        for changes in ({}, {}, {"aId": sample.OTHER_AGENT}, {"orgId": None}):
            httpx.post(service.url + sample.PATH, headers=sample.headers(), json=body | changes, timeout=60)
        eventually(lambda: scraped(port)['handoff_callback_attempts_total{class="2xx"}'] == 2)
    series = scraped(port)

    assert series['handoff_requests_total{code="transferred"}'] == 2
    assert series['handoff_requests_total{code="session_already_assigned"}'] == 1
    assert series['handoff_requests_total{code="invalid_request"}'] == 1
    assert series["handoff_request_duration_seconds_count"] == 4
    assert series["handoff_batch_requests_sum"] == 3
    assert series["handoff_store_up"] == 1
    assert service.stop() == 0
    with pytest.raises(OSError, match="refused"):
        scraped(port)


def test_a_dispatcher_of_its_own_tells_of_its_callbacks(loaded_url: str, start_service: StartService) -> None:
    port = free_port()
    service = start_service(loaded_url, settings={"dispatcher": "off"})
    with Receiver() as receiver:
        httpx.post(service.url + sample.PATH, headers=sample.headers(), json=sample.body(receiver.url()), timeout=60)
        dispatcher = start_service(loaded_url, command=("handoff", "dispatch"), settings={"metrics_port": port})
        receiver.wait_for(1, timeout_s=30)
        eventually(lambda: scraped(port)['handoff_callback_attempts_total{class="2xx"}'] == 1)

    assert dispatcher.stop() == 0


def test_an_application_under_another_server_serves_its_metrics_while_it_runs(loaded_url: str) -> None:
    port = free_port()
    settings = Settings(database_url=loaded_url, dispatcher="off", metrics_port=port)
    with TestClient(create_app(settings)) as client:
        client.post(sample.PATH, headers=sample.headers(), json=sample.body())
        series = scraped(port)
    again = TestClient(create_app(settings))

    assert series['handoff_requests_total{code="transferred"}'] == 1
    assert series['handoff_outbox_callbacks{state="pending"}'] == 1
    with again:
        assert scraped(port)['handoff_requests_total{code="transferred"}'] == 0


def test_without_the_setting_nothing_listens_and_all_works(sqlite_url: str) -> None:
    settings = Settings(database_url=sqlite_url, dispatcher="off")
    load_directory(settings, sample.directory())
    with TestClient(create_app(settings)) as client:
        answer = client.post(sample.PATH, headers=sample.headers(), json=sample.body())

    assert answer.status_code == 200


def test_a_mistake_of_ours_is_counted_as_an_error(sqlite_url: str) -> None:
    port = free_port()
    settings = Settings(database_url=sqlite_url, dispatcher="off", metrics_port=port)
    load_directory(settings, sample.directory())
    app = create_app(settings)
    with TestClient(app, raise_server_exceptions=False) as client:
        app.state.services.authenticator._verified = None  # noqa: SLF001 (a mistake, put there)
        answer = client.post(sample.PATH, headers=sample.headers(), json=sample.body())
        series = scraped(port)

    assert answer.status_code == 500
    assert series['handoff_requests_total{code="error"}'] == 1


def test_a_store_without_its_tables_breaks_no_scrape(loaded_url: str) -> None:
    port = free_port()
    with TestClient(create_app(Settings(database_url=loaded_url, dispatcher="off", metrics_port=port))) as client:
        engine = open_writer(loaded_url)
        with engine.begin() as connection:
            connection.execute(text("DROP TABLE callbacks"))
        engine.dispose()
        client.post(sample.PATH, headers=sample.headers(), json=sample.body())
        series = scraped(port)

    assert series["handoff_store_up"] == 0
    assert "handoff_outbox_oldest_due_age_seconds" not in series
    assert series['handoff_store_errors_total{part="transfers"}'] == 1
    assert series['handoff_requests_total{code="store_unavailable"}'] == 1


def test_nothing_but_the_metrics_is_on_their_port(sqlite_url: str) -> None:
    port = free_port()
    with (
        TestClient(create_app(Settings(database_url=sqlite_url, dispatcher="off", metrics_port=port))),
        pytest.raises(HTTPError) as refused,
    ):
        urlopen(f"http://127.0.0.1:{port}/")
    refused.value.close()

    assert refused.value.code == 404
    assert "Python" not in str(refused.value.headers)


def test_a_taken_port_keeps_an_application_from_starting(sqlite_url: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        app = create_app(Settings(database_url=sqlite_url, metrics_port=port))
        with pytest.raises(CannotListen, match="set HANDOFF_METRICS_PORT to another"), TestClient(app):
            pass
