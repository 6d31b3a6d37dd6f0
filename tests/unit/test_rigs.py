import base64
import contextlib
import gc
import hmac
import itertools
import json
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jwt
import psycopg
import pytest
from jwt.types import Options

from rigs import memory
from rigs.evil import EvilHost, say
from rigs.ports import free_port
from rigs.postgres import PostgresServer, ServerStartError
from rigs.receiver import Received, Receiver

TESTS = Path(__file__).parents[1]
VECTORS = TESTS / "vectors"

# Far longer than anything here takes; only a hang ends it.
PATIENCE_S = 30.0

SIGNED_WHENEVER: Options = {"verify_exp": False, "verify_nbf": False}

# Starts a server, tells where it is, then waits to be killed.
HOLDER_OF_A_SERVER = """
import sys
from rigs.postgres import PostgresServer
server = PostgresServer()
server.start()
print(server.port, server.directory, flush=True)
sys.stdin.read()
"""


def vectors(name: str) -> list[dict[str, Any]]:
    read: list[dict[str, Any]] = json.loads((VECTORS / name).read_text())
    return read


def token_id(vector: dict[str, Any]) -> str:
    return f"{vector['minted_by']}-{vector['algorithm']}-{'+'.join(vector['claims'])}".replace(" ", "-")


def key_of(vector: dict[str, Any]) -> str:
    key: dict[str, str] = vector["key"]
    return key.get("secret") or key["publicKey"]


def wait_until(happened: Callable[[], bool]) -> None:
    give_up_at = time.monotonic() + PATIENCE_S
    while not happened():
        assert time.monotonic() < give_up_at
        time.sleep(0.01)


def is_open(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def one(url: str, query: str) -> Any:
    with psycopg.connect(url) as connection:
        row = connection.execute(query.encode()).fetchone()
    assert row is not None
    return row[0]


def run(url: str, *statements: str) -> None:
    with psycopg.connect(url) as connection:
        for statement in statements:
            connection.execute(statement.encode())


def post(url: str, body: bytes) -> int:
    request = urllib.request.Request(url, data=body, headers={"X-Test-Name": "one"})
    try:
        with urllib.request.urlopen(request, timeout=PATIENCE_S) as answer:
            status: int = answer.status
    except urllib.error.HTTPError as refused:
        with refused:
            status = refused.code
    return status


@pytest.fixture(scope="module")
def postgres() -> Iterator[PostgresServer]:
    with PostgresServer() as server:
        yield server


def test_a_free_port_can_be_bound_at_once() -> None:
    port = free_port()

    with socket.socket() as listener:
        listener.bind(("127.0.0.1", port))


def test_no_port_is_given_twice() -> None:
    ports = [free_port() for _ in range(1_000)]

    assert len(set(ports)) == len(ports)


def test_processes_that_test_side_by_side_are_given_ports_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    ports = []
    for worker in ("gw0", "gw1", "gw2"):
        monkeypatch.setenv("PYTEST_XDIST_WORKER", worker)
        ports.append([free_port() for _ in range(200)])
    monkeypatch.delenv("PYTEST_XDIST_WORKER")
    ports.append([free_port() for _ in range(200)])

    ports.sort(key=max)
    assert all(max(below) < min(above) for below, above in itertools.pairwise(ports))


def test_memory_is_used_where_it_has_room(tmp_path: Path) -> None:
    assert memory.folder(tmp_path, enough=1) == tmp_path
    assert memory.folder(tmp_path, enough=1 << 60) == Path(tempfile.gettempdir())
    assert memory.folder(tmp_path / "none", enough=1) == Path(tempfile.gettempdir())


def test_a_server_that_forgets_the_disk_is_in_memory_and_a_durable_one_is_not(postgres: PostgresServer) -> None:
    durable = PostgresServer(durable=True)
    durable.close()

    assert postgres.directory.parent == memory.folder()
    assert durable.directory.parent == Path(tempfile.gettempdir())


def test_postgres_answers_with_its_version(postgres: PostgresServer) -> None:
    version = one(postgres.url(), "select version()")

    assert version.startswith("PostgreSQL 18")


def test_two_databases_of_one_server_are_separate(postgres: PostgresServer) -> None:
    first, second = postgres.create_database(), postgres.create_database()

    run(first, "create table only_here (id int)")

    assert one(first, "select count(*) from pg_tables where tablename = 'only_here'") == 1
    assert one(second, "select count(*) from pg_tables where tablename = 'only_here'") == 0


def test_a_dropped_database_is_gone_even_while_it_is_used(postgres: PostgresServer) -> None:
    url = postgres.create_database()

    with psycopg.connect(url) as user:
        postgres.drop_database(url)

        with pytest.raises(psycopg.OperationalError):
            user.execute("select 1")
    with pytest.raises(psycopg.OperationalError, match="does not exist"):
        psycopg.connect(url)


def test_a_durable_server_syncs_and_a_fast_one_does_not(postgres: PostgresServer) -> None:
    with PostgresServer(durable=True) as durable:
        settings = {
            name: (one(durable.url(), f"show {name}"), one(postgres.url(), f"show {name}"))
            for name in ("fsync", "synchronous_commit", "full_page_writes")
        }

    assert set(settings.values()) == {("on", "off")}


def test_committed_rows_survive_a_kill_and_a_restart_of_a_durable_server() -> None:
    with PostgresServer(durable=True) as server:
        url = server.create_database()
        run(url, "create table kept (id int)", "insert into kept values (1), (2)")

        with psycopg.connect(url, autocommit=True) as witness:
            witness.execute("select 1")
            server.kill()
            server.restart()

        assert one(url, "select count(*) from kept") == 2


def test_committed_rows_survive_a_stop_and_a_start() -> None:
    with PostgresServer() as server:
        url = server.create_database()
        run(url, "create table kept (id int)", "insert into kept values (1)")

        server.stop()
        assert not is_open(server.port)
        server.start()

        assert one(url, "select count(*) from kept") == 1


def test_a_server_that_cannot_start_shows_its_log() -> None:
    server = PostgresServer(settings={"no_such_setting": "1"})
    try:
        with pytest.raises(ServerStartError, match="no_such_setting"):
            server.start()
    finally:
        server.close()


@pytest.mark.parametrize("end", [PostgresServer.stop, PostgresServer.kill])
def test_a_closed_server_leaves_no_listener_and_no_directory(end: Callable[[PostgresServer], None]) -> None:
    with PostgresServer() as server:
        end(server)

    assert not server.directory.exists()
    assert not is_open(server.port)


def test_a_server_ends_when_the_process_that_started_it_is_killed() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER_OF_A_SERVER],
        cwd=TESTS,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as holder:
        assert holder.stdout is not None
        port, directory = holder.stdout.readline().split()
        assert is_open(int(port))
        holder.kill()

    wait_until(lambda: not Path(directory).exists())

    assert not is_open(int(port))


def test_a_receiver_records_a_post() -> None:
    with Receiver() as receiver:
        before = time.monotonic()
        status = post(receiver.url("/callback?try=1"), b'{"a": "\xc3\xa9"}')
        [received] = receiver.wait_for(1)

    assert status == 200
    assert (received.method, received.path) == ("POST", "/callback?try=1")
    assert received.body == b'{"a": "\xc3\xa9"}'
    assert received.headers["x-test-name"] == received.headers["X-TEST-NAME"] == "one"
    assert before <= received.received_at <= time.monotonic()


def test_a_receiver_answers_each_request_as_a_callable_decides() -> None:
    def by_body(received: Received) -> tuple[int, dict[str, str]]:
        return (429, {"Retry-After": "7"}) if received.body == b"soon" else (200, {})

    with Receiver(answer=by_body) as receiver:
        assert post(receiver.url(), b"now") == 200
        with pytest.raises(urllib.error.HTTPError) as refused:
            urllib.request.urlopen(receiver.url(), data=b"soon", timeout=PATIENCE_S)

    with refused.value as answer:
        assert (answer.code, answer.headers["Retry-After"]) == (429, "7")


def test_a_receiver_that_waits_with_one_answer_still_gives_others() -> None:
    released = threading.Event()

    def waits_for_the_first(received: Received) -> tuple[int, dict[str, str]]:
        if received.body == b"slow":
            released.wait(PATIENCE_S)
        return 200, {}

    with Receiver(answer=waits_for_the_first) as receiver:
        slow = threading.Thread(target=post, args=(receiver.url(), b"slow"))
        slow.start()
        receiver.wait_for(1)
        quick = post(receiver.url(), b"quick")
        released.set()
        slow.join()

    assert quick == 200


def test_a_receiver_takes_a_body_of_many_megabytes() -> None:
    with Receiver() as receiver:
        status = post(receiver.url(), b"a" * 5_000_000)
        [received] = receiver.wait_for(1)

    assert (status, len(received.body)) == (200, 5_000_000)


def test_a_receiver_shows_what_came_when_too_little_did() -> None:
    with Receiver() as receiver:
        post(receiver.url("/only"), b"this")

        with pytest.raises(AssertionError, match=r"2 requests, 1 came:\n  POST /only b'this'"):
            receiver.wait_for(2, timeout_s=0)


def test_a_receiver_comes_back_on_the_port_of_an_earlier_one() -> None:
    with Receiver() as earlier:
        post(earlier.url(), b"")

    with Receiver(port=earlier.port, answer=503) as later:
        assert post(earlier.url(), b"again") == 503
        assert [received.body for received in later.received] == [b"again"]


@pytest.mark.parametrize("kind", ["receiver", "evil host"])
def test_a_listener_that_ends_while_clients_connect_leaves_no_socket(kind: str) -> None:
    port, over = 0, threading.Event()

    def knock() -> None:
        while not over.is_set():
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), PATIENCE_S) as connection:
                connection.sendall(b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 0\r\n\r\n")
                connection.recv(100)

    clients = [threading.Thread(target=knock) for _ in range(6)]
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        for number in range(30):
            with Receiver() if kind == "receiver" else EvilHost() as listener:
                port = (
                    listener.port
                    if isinstance(listener, Receiver)
                    else listener.listen(say(b"HTTP/1.1 200 OK\r\n\r\n"))
                )
                if not number:
                    for client in clients:
                        client.start()
                assert post(f"http://127.0.0.1:{port}/", b"") == 200
        over.set()
        for client in clients:
            client.join()
        gc.collect()

    assert [str(one.message) for one in warned] == []


@pytest.mark.parametrize("vector", vectors("tokens.json"), ids=token_id)
def test_a_minted_token_verifies_and_says_what_is_stated(vector: dict[str, Any]) -> None:
    claims = jwt.decode(vector["token"], key_of(vector), algorithms=[vector["algorithm"]], options=SIGNED_WHENEVER)

    assert claims == vector["claims"]


def test_every_library_minted_every_shape_with_every_algorithm() -> None:
    minted = {(vector["minted_by"].split()[0], vector["algorithm"]) for vector in vectors("tokens.json")}

    common = {"HS256", "HS384", "HS512", "RS256", "ES256"}
    assert minted == {("jsonwebtoken", algorithm) for algorithm in common} | {
        ("jose", algorithm) for algorithm in common | {"EdDSA"}
    }
    assert len(vectors("tokens.json")) == 5 * len(minted)


@pytest.mark.parametrize("vector", vectors("attacks.json"), ids=lambda vector: vector["name"])
def test_an_attack_is_properly_signed_only_where_it_says_so(vector: dict[str, Any]) -> None:
    signing_input, _, signature = vector["token"].rpartition(".")
    secret = vector["key"].get("secret", "")
    expected = hmac.digest(secret.encode(), signing_input.encode(), "sha256")
    holds = signature == base64.urlsafe_b64encode(expected).rstrip(b"=").decode()

    assert holds == vector["properly_signed"]
