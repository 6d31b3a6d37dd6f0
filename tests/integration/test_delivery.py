"""From the call to the callback, through the whole service (I4, I5)."""

import json
import threading
import time
from collections.abc import Callable

import httpx
from fastapi.testclient import TestClient
from pydantic import SecretStr
from sqlalchemy import select
from standardwebhooks import Webhook

from conftest import StartService
from handoff import Settings, create_app, load_directory
from handoff.signing import app_callback_secrets
from handoff.store.engine import open_reader
from handoff.store.tables import callbacks
from rigs import sample
from rigs.receiver import Receiver
from rigs.service import Service

MASTER = "whsec_" + "QUJD" * 10


def call(service: Service, receiver: Receiver, **changes: object) -> httpx.Response:
    return httpx.post(
        service.url + sample.PATH,
        headers=sample.headers(),
        json=sample.body(receiver.url("/hook"), **changes),
        timeout=60,
    )


def eventually(holds: Callable[[], bool]) -> None:
    """Wait for a condition, for as long as the test's own timeout allows."""
    while not holds():
        time.sleep(0.02)


def states(url: str) -> list[str]:
    engine = open_reader(url)
    with engine.connect() as connection:
        found = list(connection.scalars(select(callbacks.c.state).order_by(callbacks.c.callback_id)))
    engine.dispose()
    return found


def test_success_and_failure_are_told_once_each_in_the_documented_shape(
    loaded_url: str, start_service: StartService
) -> None:
    service = start_service(loaded_url)
    with Receiver() as receiver:
        won = call(service, receiver)
        refused = call(service, receiver, aId=sample.OTHER_AGENT)
        repeated = call(service, receiver)
        received = receiver.wait_for(2)
        eventually(lambda: states(loaded_url) == ["delivered", "delivered"])

    assert [won.status_code, refused.status_code, repeated.status_code] == [200, 409, 200]
    messages = {json.loads(one.body)["status"]: json.loads(one.body) for one in received}
    assert messages["transferred"] == {
        **won.json(),
        "transferId": won.headers["x-transfer-id"],
        "version": 1,
    }
    assert messages["failed"] == {
        "sessionId": sample.SESSION,
        "agentId": sample.OTHER_AGENT,
        "status": "failed",
        "code": "session_already_assigned",
        "reason": refused.json()["detail"],
        "requestCompletedAt": messages["failed"]["requestCompletedAt"],
        "transferId": refused.headers["x-transfer-id"],
    }
    assert len(receiver.received) == 2


def test_callbacks_are_signed_with_the_secret_of_the_app(sqlite_url: str) -> None:
    settings = Settings(database_url=sqlite_url, callback_secrets=(SecretStr(MASTER),))
    load_directory(settings, sample.directory())

    with Receiver() as receiver, TestClient(create_app(settings)) as client:
        client.post(sample.PATH, headers=sample.headers(), json=sample.body(receiver.url()))
        (received,) = receiver.wait_for(1)

    (secret,) = app_callback_secrets(settings, sample.APP)
    verified = Webhook(secret).verify(received.body, dict(received.headers))
    assert verified == json.loads(received.body)
    assert received.headers["webhook-id"].startswith("msg_")


def test_a_dispatcher_of_its_own_delivers_what_serve_only_records(loaded_url: str, start_service: StartService) -> None:
    service = start_service(loaded_url, settings={"dispatcher": "off"})
    with Receiver() as receiver:
        call(service, receiver)
        before = states(loaded_url)
        dispatcher = start_service(loaded_url, command=("handoff", "dispatch"))
        receiver.wait_for(1)
        eventually(lambda: states(loaded_url) == ["delivered"])

    assert before == ["pending"]
    assert dispatcher.stop() == 0


def call_one_by_one(service: Service, receiver: Receiver, count: int) -> list[float]:
    """Make so many calls, each once the callback of the one before is there; the seconds that each took, in order."""
    took_s = []
    before = len(receiver.received)
    for number in range(before + 1, before + count + 1):
        began = time.monotonic()
        call(service, receiver, aId=f"a-nobody-{number}")
        receiver.wait_for(number)
        took_s.append(time.monotonic() - began)
    return sorted(took_s)


def test_a_callback_leaves_with_its_commit_and_waits_for_no_look(loaded_url: str, start_service: StartService) -> None:
    service = start_service(loaded_url)
    with Receiver() as receiver:
        call_one_by_one(service, receiver, 2)
        took_s = call_one_by_one(service, receiver, 12)

    # A dispatcher that only looked once a second would take most of one for each. A busy machine is slow with some.
    assert took_s[4] < 0.5, took_s


def test_a_dispatcher_of_its_own_is_woken_by_the_commit(postgres_url: str, start_service: StartService) -> None:
    load_directory(Settings(database_url=postgres_url), sample.directory())
    service = start_service(postgres_url, settings={"dispatcher": "off"})
    start_service(postgres_url, command=("handoff", "dispatch"))
    with Receiver() as receiver:
        call(service, receiver)
        receiver.wait_for(1)
        took_s = call_one_by_one(service, receiver, 12)

    assert took_s[4] < 0.5, took_s


def test_a_callback_outlives_the_process_that_recorded_it(loaded_url: str, start_service: StartService) -> None:
    service = start_service(loaded_url, settings={"dispatcher": "off"})
    with Receiver() as receiver:
        call(service, receiver)
        service.kill()
        start_service(loaded_url)
        (received,) = receiver.wait_for(1)

    assert json.loads(received.body)["status"] == "transferred"


def test_a_receiver_that_fails_is_told_again_under_the_same_id(loaded_url: str, start_service: StartService) -> None:
    answers = iter([500, 200])
    service = start_service(loaded_url)
    with Receiver(answer=lambda _: (next(answers), {})) as receiver:
        call(service, receiver)
        first, second = receiver.wait_for(2)

    assert first.headers["webhook-id"] == second.headers["webhook-id"]
    assert first.body == second.body


def test_a_stop_lets_attempts_under_way_end_and_records_them(loaded_url: str, start_service: StartService) -> None:
    arrived, released = threading.Event(), threading.Event()

    def slow(_: object) -> tuple[int, dict[str, str]]:
        arrived.set()
        released.wait(20)
        return 200, {}

    service = start_service(loaded_url)
    with Receiver(answer=slow) as receiver:
        call(service, receiver)
        arrived.wait(20)
        stopping = threading.Thread(target=service.stop)
        stopping.start()
        released.set()
        stopping.join()

    assert service.wait() == 0
    assert states(loaded_url) == ["delivered"]


def test_a_replay_with_another_url_tells_that_url_once(loaded_url: str, start_service: StartService) -> None:
    service = start_service(loaded_url)
    with Receiver() as first, Receiver() as second:
        call(service, first)
        first.wait_for(1)
        answers = [call(service, second) for _ in range(3)]
        (copy,) = second.wait_for(1)
        eventually(lambda: states(loaded_url) == ["delivered", "delivered"])

    assert {answer.status_code for answer in answers} == {200}
    assert json.loads(copy.body)["status"] == "transferred"
    assert (len(first.received), len(second.received)) == (1, 1)
