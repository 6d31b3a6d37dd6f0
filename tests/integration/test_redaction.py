"""No line of any process holds what is anybody's secret, at any level, in either format, whatever is sent.

Everything that is sent carries a mark of its own, and the marks are looked for in all that was said.
"""

import json
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import jwt
import pytest

from conftest import StartService
from handoff import Settings, load_directory
from handoff.delivery.signature import app_secret, parse_secret, show_secret
from rigs import sample
from rigs.api import until
from rigs.command import handoff
from rigs.ports import free_port
from rigs.receiver import Receiver
from rigs.redis_server import PASSWORD, RedisServer
from rigs.sample import APP, SECRET
from rigs.service import Service

MASTER = "whsec_" + "WkFC" * 10
DATABASE_PASSWORD = "Zdatabasepassword"
BASE = sample.PATH.removesuffix("/assign-conversation")
# Where each mark stands in what is sent.
MARKS = {
    place: f"Z{place}Z"
    for place in (
        "path",
        "query",
        "header",
        "cookie",
        "body",
        "fieldname",
        "urlpath",
        "urlquery",
        "answerheader",
        "location",
        "key",
        "cursor",
        "claim",
        "rawbytes",
        "row",
    )
}


@pytest.fixture(params=[("sqlite", "console"), ("postgres", "json")], ids="-".join)
def place(request: pytest.FixtureRequest) -> tuple[str, str]:
    """A store, by a URL with a password where it can have one (which this server takes), and a format of the log."""
    kind, log_format = request.param
    url: str = request.getfixturevalue(f"{kind}_url")
    apps = [sample.app(appId="cs-once", requireJti=True)]
    load_directory(Settings(database_url=url), sample.directory() | {"apps": [sample.app(), *apps]})
    return url.replace("postgres@", f"postgres:{DATABASE_PASSWORD}@"), log_format


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[RedisServer]:
    with RedisServer(tmp_path) as server:
        yield server


def once(**claims: Any) -> str:
    payload = {"appId": "cs-once", "jti": MARKS["claim"], "exp": time.time() + 60, **claims}
    return jwt.encode(payload, SECRET, "HS256")


def assign(client: httpx.Client, callback_url: str, **changes: Any) -> httpx.Response:
    body = {**sample.body(callback_url), "note": MARKS["body"], MARKS["fieldname"]: 1, **changes}
    headers = sample.headers(cookie=MARKS["cookie"], referer=MARKS["header"], **{"idempotency-key": MARKS["key"]})
    return client.post(f"{sample.PATH}?{MARKS['query']}={MARKS['query']}", headers=headers, json=body)


def good_and_refused_calls(client: httpx.Client, receiver: Receiver) -> Iterator[httpx.Response]:
    """Calls that leave an outcome; their callbacks are delivered, refused, redirected and never answered."""
    marked = f"/{MARKS['urlpath']}?token={MARKS['urlquery']}"
    yield assign(client, receiver.url(marked))
    yield assign(client, receiver.url("/other" + marked), aId=sample.OTHER_AGENT)  # the key was used before
    yield client.post(sample.PATH, headers=sample.headers(), json=sample.body() | {"aId": sample.OTHER_AGENT})
    for path in ("/gone", "/elsewhere", "/broken"):
        body = sample.body(receiver.url(path + marked), botSessionId="none")
        yield client.post(sample.PATH, headers=sample.headers(), json=body)
    away = f"http://user:{MARKS['urlpath']}@127.0.0.1:{free_port()}{marked}"
    yield client.post(sample.PATH, headers=sample.headers(), json=sample.body(away, botSessionId="none"))
    away = f"http://127.0.0.1:{free_port()}{marked}"
    yield client.post(sample.PATH, headers=sample.headers(), json=sample.body(away, botSessionId="none"))
    yield client.post(sample.PATH, headers=sample.headers(), json=sample.body(away) | {"dryRun": True})


def calls_that_say_something_wrong(client: httpx.Client) -> Iterator[httpx.Response]:
    for changes in ({"orgId": MARKS["body"] + "!"}, {"callbackUrl": f"ftp://{MARKS['urlpath']}/"}, {"aId": 7}):
        yield client.post(sample.PATH, headers=sample.headers(), json=sample.body() | changes)
    for content in (f'{{"{MARKS["body"]}', f"{MARKS['body']}" * 16_000, "[]"):
        yield client.post(sample.PATH, headers=sample.headers(), content=content.encode())
    more = {"content-type": MARKS["header"]}
    yield client.post(sample.PATH, headers=sample.headers() | more, content=MARKS["body"].encode())
    yield client.post(
        sample.PATH, headers=sample.headers(**{"idempotency-key": f"{MARKS['key']} {MARKS['key']}"}), json=sample.body()
    )
    yield client.post(sample.PATH, headers=sample.headers(**{"x-request-id": f"{MARKS['header']}!"}), json={})
    yield client.post(sample.PATH, headers=sample.headers(accountid=MARKS["header"]), json=sample.body())
    yield client.get(f"/{MARKS['path']}?x={MARKS['query']}")
    yield client.put(sample.PATH.replace(sample.STREAM, MARKS["path"]), headers=sample.headers())
    yield client.post(sample.PATH.replace(sample.STREAM, MARKS["path"]), headers=sample.headers(), json=sample.body())


def calls_without_a_good_token(client: httpx.Client) -> Iterator[httpx.Response]:
    forged = jwt.encode({"appId": APP, "note": MARKS["claim"]}, SECRET + MARKS["claim"], "HS256")
    bad_times = jwt.encode({"appId": APP, "exp": MARKS["claim"]}, SECRET, "HS256")
    unknown = jwt.encode({"appId": MARKS["claim"]}, SECRET, "HS256")
    for token in (forged, bad_times, unknown, MARKS["header"], f"Bearer {MARKS['header']}", "", once(exp=1)):
        yield client.post(sample.PATH, headers={"auth": token}, json=sample.body())
    yield client.post(sample.PATH, headers={"authorization": f"Basic {MARKS['header']}"}, json=sample.body())
    token = once()
    for _ in range(2):
        yield client.post(sample.PATH, headers={"auth": token}, json=sample.body())


def calls_about_callbacks(client: httpx.Client, callback_id: str) -> Iterator[httpx.Response]:
    headers = sample.headers(cookie=MARKS["cookie"])
    for query in (f"host={MARKS['query']}", f"cursor={MARKS['cursor']}", f"limit={MARKS['query']}", "state=dead"):
        yield client.get(f"{BASE}/callbacks?{query}", headers=headers)
    yield client.get(f"{BASE}/callbacks/{MARKS['path']}", headers=headers)
    yield client.get(f"{BASE}/callbacks/{callback_id}", headers=headers)
    yield client.post(f"{BASE}/callbacks/{callback_id}/redeliver", headers=headers)
    yield client.post(f"{BASE}/callbacks/redeliver", headers=headers, json={"cursor": MARKS["cursor"]})
    yield client.post(f"{BASE}/callbacks/redeliver", headers=headers, content=f'{{"{MARKS["body"]}'.encode())


def send_no_http(port: int) -> None:
    mark = MARKS["rawbytes"].encode()
    for sent in (
        mark + b"\r\n\r\n",
        b"GET /" + mark + b" HTTP/9.9\r\n\r\n",
        b"POST / HTTP/1.1\r\n" + mark + b"\r\n\r\n",
    ):
        with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
            connection.sendall(sent)
            connection.recv(1_000)


def what_commands_log(url: str, **settings: str) -> str:
    """All that commands say on standard error, where logs go."""
    bad = json.dumps({"agents": [{"id": MARKS["row"] + "!"}], "apps": [sample.app(secrets=[MARKS["row"]])]})
    commands = [("token", APP), ("apps", "callback-secret", APP), ("doctor",), ("callbacks", "show", "msg_none")]
    runs = [handoff("import", "-", url=url, stdin=bad, **settings)]
    runs += [handoff(*command, url=url, **settings) for command in commands]
    runs += [handoff("callbacks", "list", "--host", MARKS["query"], url=url, **settings)]
    return "".join(run.stderr for run in runs)


def test_nothing_that_is_anybodys_is_in_any_line_of_any_process(
    place: tuple[str, str], redis: RedisServer, start_service: StartService
) -> None:
    url, log_format = place
    settings = {"log_format": log_format, "log_level": "DEBUG", "callback_secrets": MASTER}
    limits = {"rate_limit": "1000/minute", "rate_limit_store": redis.url}
    api = start_service(url, settings={**settings, **limits, "dispatcher": "off"})
    dispatcher = start_service(url, command=("handoff", "dispatch"), settings=settings)
    answers: list[httpx.Response] = []

    with Receiver(answer=marked_answer) as receiver, httpx.Client(base_url=api.url, timeout=60) as client:
        answers += good_and_refused_calls(client, receiver)
        callback_id = answers[0].headers["x-transfer-id"].replace("tr_", "msg_")
        answers += calls_that_say_something_wrong(client)
        answers += calls_without_a_good_token(client)
        answers += calls_about_callbacks(client, callback_id)
        send_no_http(api.port)
        sent = receiver.wait_for(5)
        until(lambda: told(dispatcher, "callback") >= 6)
        redis.kill()
        answers += [client.post(sample.PATH, headers=sample.headers(), json=sample.body())]
        until(lambda: told(api, "rate limit counted by this process alone") >= 1)
    api.stop()
    dispatcher.stop()
    everything = api.log.read_text() + dispatcher.log.read_text()
    everything += what_commands_log(url, **settings)

    secrets = [SECRET, MASTER, MASTER.removeprefix("whsec_"), PASSWORD, DATABASE_PASSWORD, "eyJ"]
    secrets += [show_secret(app_secret(parse_secret(MASTER), APP)), sent[0].headers["webhook-signature"]]
    secrets += [*MARKS.values(), *(quote(mark) for mark in MARKS.values())]
    assert [secret for secret in secrets if secret in everything] == []
    assert [name for name in ("requestCompletedAt", "callbackUrl", "Traceback") if name in everything] == []
    assert {answer.status_code for answer in answers} >= {200, 401, 403, 404, 405, 409, 413, 415, 422}
    assert told(api, "request") == len(answers)


def marked_answer(received: Any) -> tuple[int, dict[str, str]]:
    status = {"/gone": 410, "/elsewhere": 302, "/broken": 500}.get("/" + received.path.split("/")[1], 200)
    return status, {"x-note": MARKS["answerheader"], "location": f"/{MARKS['location']}"}


def told(service: Service, event: str) -> int:
    """How many lines of a process tell of an event."""
    marks: tuple[Callable[[str], bool], ...] = (
        lambda line: f'"event":"{event}"' in line or f'"event": "{event}"' in line,
        lambda line: f"] {event} " in line,
    )
    return sum(any(mark(line) for mark in marks) for line in service.log.read_text().splitlines())
