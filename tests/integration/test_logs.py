"""What a running service says: one line for a request, one for an attempt, and nothing that is anybody's secret."""

import json
import time
from collections.abc import Callable
from typing import Any

import httpx
import jwt
import pytest
from sqlalchemy import text

from conftest import StartService
from handoff import Settings, load_directory
from handoff.store.engine import open_reader
from rigs import sample
from rigs.ports import free_port
from rigs.receiver import Received, Receiver
from rigs.service import Service

MASTER = "whsec_" + "QUJD" * 10
ROUTE = "/agentassist/api/v1/public/{streamId}/assign-conversation"
# Each stands in a place of its own in what is sent.
IN_URL, IN_QUERY, IN_HEADER, IN_BODY, IN_PATH = "Zurl", "Zquery", "Zheader", "Zbody", "Zpath"


def lines(service: Service) -> list[dict[str, Any]]:
    """Those that are written to their end."""
    return [json.loads(line) for line in service.log.read_text().splitlines(keepends=True) if line.endswith("\n")]


def said(service: Service, event: str, count: int) -> list[dict[str, Any]]:
    """The lines of an event, once there are so many."""
    while len(found := [line for line in lines(service) if line["event"] == event]) < count:
        time.sleep(0.02)
    return found


def wait_until(holds: Callable[[], bool]) -> None:
    while not holds():
        time.sleep(0.02)


@pytest.fixture
def service(loaded_url: str, start_service: StartService) -> Service:
    return start_service(loaded_url, settings={"log_format": "json"})


def test_a_request_is_told_in_one_line_with_what_became_of_it(service: Service) -> None:
    with Receiver() as receiver, httpx.Client(base_url=service.url, timeout=60) as client:
        body = sample.body(receiver.url())
        won = client.post(sample.PATH, headers=sample.headers(**{"x-request-id": "r-1"}), json=body)
        lost = client.post(sample.PATH, headers=sample.headers(), json=body | {"aId": sample.OTHER_AGENT})
        wrong = client.post(sample.PATH, headers={"auth": "no token"}, json=body)
        missing = client.get("/nowhere?a=b")
        told = said(service, "request", 4)

    assert all(line.pop("duration_ms") > 0 and line.pop("timestamp") for line in told)
    common = {"level": "info", "logger": "handoff.api.request_log", "event": "request", "method": "POST"}
    assert told == [
        {
            **common,
            "route": ROUTE,
            "status": 200,
            "outcome": "transferred",
            "request_id": "r-1",
            "transfer_id": won.headers["x-transfer-id"],
            "app_id": sample.APP,
        },
        {
            **common,
            "route": ROUTE,
            "status": 409,
            "outcome": "session_already_assigned",
            "request_id": lost.headers["x-request-id"],
            "transfer_id": lost.headers["x-transfer-id"],
            "app_id": sample.APP,
        },
        {
            **common,
            "route": ROUTE,
            "status": 401,
            "outcome": "token_invalid",
            "request_id": wrong.headers["x-request-id"],
        },
        {**common, "method": "GET", "route": None, "status": missing.status_code, "outcome": "error"},
    ]


def test_what_machines_ask_and_the_api_page_are_no_lines(service: Service) -> None:
    for path in ("/livez", "/readyz", "/docs", "/openapi.json", "/docs/assets/favicon.png"):
        assert httpx.get(service.url + path, timeout=60).status_code == 200
    httpx.get(service.url + "/nowhere", timeout=60)

    assert len(said(service, "request", 1)) == 1


def test_an_attempt_is_told_in_one_line_with_what_follows(service: Service) -> None:
    answers = iter([500, 410])
    with Receiver(answer=lambda _: (next(answers), {})) as receiver:
        body = sample.body(receiver.url("/hook"))
        won = httpx.post(service.url + sample.PATH, headers=sample.headers(), json=body, timeout=60)
        again, dead = said(service, "callback", 2)
        received, _ = receiver.received

    lane = {"lane": receiver.url("").rstrip("/"), "event": "callback", "logger": "handoff.service.attempt_log"}
    whose = {"webhook_id": received.headers["webhook-id"], "transfer_id": won.headers["x-transfer-id"], **lane}
    for line in (again, dead):
        assert line.pop("duration_ms") >= 0
        assert line.pop("timestamp")
    assert again.pop("due_at") > 0
    assert again == {**whose, "level": "info", "attempt": 1, "status": 500, "outcome": "again"}
    assert dead == {**whose, "level": "warning", "attempt": 2, "status": 410, "outcome": "dead", "reason": "gone"}


def test_an_attempt_without_an_answer_is_told_with_its_error(service: Service) -> None:
    body = sample.body(f"http://127.0.0.1:{free_port()}/")
    httpx.post(service.url + sample.PATH, headers=sample.headers(), json=body, timeout=60)
    (line,) = said(service, "callback", 1)

    assert (line["error"], line["outcome"], "status" in line) == ("connect", "again", False)


def test_nothing_secret_is_in_any_line_at_any_level(loaded_url: str, start_service: StartService) -> None:
    service = start_service(
        loaded_url, settings={"log_format": "json", "log_level": "DEBUG", "callback_secrets": MASTER}
    )
    unknown = jwt.encode({"appId": "cs-nobody"}, sample.SECRET, "HS256")
    kept: list[Received] = []
    with Receiver(answer=lambda _: (200, {"x-said": IN_HEADER})) as receiver, httpx.Client(timeout=60) as client:
        url = receiver.url(f"/{IN_URL}?token={IN_QUERY}")
        headers = sample.headers(cookie=IN_HEADER, **{"idempotency-key": IN_HEADER})
        for body in (sample.body(url, name=IN_BODY), sample.body(url, aId=sample.OTHER_AGENT, name=IN_BODY)):
            client.post(f"{service.url}{sample.PATH}?secret={IN_QUERY}", headers=headers, json=body)
        client.post(f"{service.url}{sample.PATH}", headers=sample.headers(), json=sample.body("ftp://x/" + IN_URL))
        client.post(service.url + sample.PATH, headers=sample.headers(), content=f'{{"{IN_BODY}'.encode())
        for token in (unknown, "Bearer " + IN_HEADER, sample.token() + "x"):
            client.post(service.url + sample.PATH, headers={"auth": token}, json=sample.body(url))
        client.get(f"{service.url}/{IN_PATH}?x={IN_QUERY}")
        refused = sample.body(f"http://127.0.0.1:{free_port()}/{IN_URL}?token={IN_QUERY}", botSessionId="none")
        client.post(service.url + sample.PATH, headers=sample.headers(), json=refused)
        kept += receiver.wait_for(1)
        wait_until(lambda: len([line for line in lines(service) if line["event"] == "callback"]) >= 2)
    service.stop()
    everything = service.log.read_text()

    secrets = [sample.SECRET, sample.token(), unknown, MASTER, MASTER.removeprefix("whsec_"), "eyJ"]
    secrets += [IN_URL, IN_QUERY, IN_HEADER, IN_BODY, IN_PATH, kept[0].headers["webhook-signature"]]
    assert [secret for secret in secrets if secret in everything] == []
    assert [name for name in ("requestCompletedAt", "callbackUrl") if name in everything] == []
    assert len(said(service, "request", 9)) == 9


def test_what_the_store_says_of_a_row_is_not_told(database_url: str, start_service: StartService) -> None:
    load_directory(Settings(database_url=database_url), sample.directory())
    engine = open_reader(database_url)
    with engine.begin() as connection:
        connection.execute(text("DROP TABLE callbacks"))
    engine.dispose()
    service = start_service(database_url, settings={"log_format": "json", "dispatcher": "off"})
    httpx.post(
        service.url + sample.PATH, headers=sample.headers(), json=sample.body(f"http://localhost/{IN_URL}"), timeout=60
    )
    (line,) = said(service, "request", 1)

    assert (line["status"], line["outcome"], "callbacks" in line["reason"]) == (503, "store_unavailable", True)
    assert IN_URL not in service.log.read_text()
