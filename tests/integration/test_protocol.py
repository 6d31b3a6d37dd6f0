"""What a client may send before it is anybody's request, over a real socket."""

import asyncio
import contextlib
import json
import socket
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import ClassVar

import pytest
import uvicorn

from handoff import Settings, create_app, load_directory
from handoff.cli.protocol import BoundedHttpProtocol
from handoff.cli.room import Room
from rigs import feed, sample

pytestmark = pytest.mark.anyio

# Far longer than anything here takes; only a hang ends it.
PATIENCE_S = 30.0

GOOD = b"GET /livez HTTP/1.1\r\nhost: x\r\n\r\n"


class Impatient(BoundedHttpProtocol):
    """Waits for no head."""

    head_timeout_s = 0.5


class Unread(BoundedHttpProtocol):
    """Waits for no reader."""

    stall_s = 0.2


@asynccontextmanager
async def serving(
    url: str, protocol: type[BoundedHttpProtocol] = BoundedHttpProtocol, **settings: int
) -> AsyncIterator[int]:
    """The port of a server in this event loop."""
    app = create_app(Settings(database_url=url, dispatcher="off", **settings))  # type: ignore[arg-type] # by their names
    config = uvicorn.Config(app, http=protocol, log_config=None, access_log=False)
    server = uvicorn.Server(config)
    listener = socket.create_server(("127.0.0.1", 0))
    if issubclass(protocol, Watched):
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 64 * 1024)
    task = asyncio.get_running_loop().create_task(server.serve([listener]))
    while not server.started:  # noqa: ASYNC110 (uvicorn has no event for it)
        await asyncio.sleep(0.01)
    yield listener.getsockname()[1]
    server.should_exit = True
    await task


async def answer_to(port: int, *pieces: bytes) -> bytes:
    """Everything that comes back until the server closes or the first answer is complete."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    with contextlib.suppress(ConnectionError):
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(0)
    answer = b""
    with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
        answer = await reader.readuntil(b"\r\n")
    writer.close()
    return answer


@pytest.mark.parametrize(
    "pieces",
    [
        [b"GET /livez HTTP/1.1\r\nx: ", *[b"x" * 1_000] * 100],
        [b"GET /livez HTTP/1.1\r\n", *[b"x: y\r\n" * 100] * 200],
        [b"GET /", *[b"x" * 1_000] * 100],
    ],
    ids=["one header", "many headers", "URL"],
)
async def test_a_head_that_does_not_end_is_refused_and_harms_nobody(sqlite_url: str, pieces: list[bytes]) -> None:
    async with serving(sqlite_url) as port:
        answer = await answer_to(port, *pieces)
        after = await answer_to(port, GOOD)

    assert answer in {b"HTTP/1.1 431 Request Header Fields Too Large\r\n", b""}
    assert after == b"HTTP/1.1 200 OK\r\n"


@pytest.mark.parametrize("begun", [b"", b"GET /livez HTTP/1.1\r\n"], ids=["nothing", "a part"])
async def test_a_head_that_does_not_come_ends_the_connection(sqlite_url: str, begun: bytes) -> None:
    async with serving(sqlite_url, Impatient) as port:
        answer = await answer_to(port, begun)

    assert answer == b""


async def test_a_connection_lives_on_from_request_to_request(sqlite_url: str) -> None:
    async with serving(sqlite_url, Impatient) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        answers = []
        for _ in range(3):
            writer.write(GOOD)
            answers.append(await reader.readuntil(b"\r\n"))
            await reader.readuntil(b"}")
            await asyncio.sleep(Impatient.head_timeout_s)
        writer.close()

    assert answers == [b"HTTP/1.1 200 OK\r\n"] * 3


@pytest.mark.parametrize(("protocol", "is_cut_off"), [(Unread, True), (BoundedHttpProtocol, False)])
async def test_a_client_that_reads_nothing_is_cut_off_in_the_end(
    sqlite_url: str,
    protocol: type[BoundedHttpProtocol],
    is_cut_off: bool,  # noqa: FBT001 (a case)
) -> None:
    load_directory(Settings(database_url=sqlite_url), feed.directory())
    with feed.writer(sqlite_url) as writer:
        for _ in range(20):
            writer.write(*(feed.event(body=b'{"x":"%s"}' % (b"x" * 10_000)) for _ in range(100)))
        writer.write(feed.event("the last one"))
    async with serving(sqlite_url, protocol) as port:
        came = await asyncio.to_thread(_read_late, port, b"the last one")

    assert (b"the last one" not in came) is is_cut_off


def _read_late(port: int, last: bytes) -> bytes:
    """The stream of the whole feed up to its last words, not read for a while; or what came of it."""
    head = [f"GET {feed.PATH}?after=0 HTTP/1.1", "host: x", "accept: text/event-stream", f"auth: {sample.token()}"]
    came = b""
    with (
        socket.create_connection(("127.0.0.1", port)) as connection,
        contextlib.suppress(ConnectionError, TimeoutError),
    ):
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16 * 1024)
        connection.settimeout(10)
        connection.sendall("\r\n".join([*head, "\r\n"]).encode())
        time.sleep(2)
        while last not in came[-1_000:]:
            piece = connection.recv(1 << 16)
            if not piece:
                break
            came += piece
    return came


async def test_requests_before_a_head_do_not_count_as_part_of_it(sqlite_url: str) -> None:
    one = b"POST /livez HTTP/1.1\r\ncontent-length: 8000\r\n\r\n" + b"x" * 8_000
    last = GOOD.replace(b"host: x", b"connection: close")
    async with serving(sqlite_url) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(one * 12 + last[:20])
        answers = [await asyncio.wait_for(reader.readuntil(b"HTTP/1.1 405 "), PATIENCE_S) for _ in range(12)]
        writer.write(last[20:])
        rest = await asyncio.wait_for(reader.read(), PATIENCE_S)
        writer.close()

    assert len(answers) == 12
    assert b"HTTP/1.1 200 OK" in rest


async def end_of(reader: asyncio.StreamReader) -> None:
    """Wait until the other side has closed the connection, in whatever way."""
    with contextlib.suppress(ConnectionError):
        await reader.read()


@pytest.mark.parametrize(
    ("begun", "more"),
    [
        (b"POST /livez HTTP/1.1\r\ncontent-length: 100000\r\n\r\n", b"x"),
        (b"POST /livez HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n", b"1\r\nx\r\n"),
        (GOOD, b"\r\n"),
    ],
    ids=["a body by its length", "a body in chunks", "empty lines"],
)
async def test_what_goes_on_coming_behind_an_answer_and_is_no_request_ends_the_connection(
    sqlite_url: str, begun: bytes, more: bytes
) -> None:
    async with serving(sqlite_url, Impatient) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(begun)
        ending = asyncio.ensure_future(end_of(reader))
        with contextlib.suppress(ConnectionError):
            async with asyncio.timeout(PATIENCE_S):
                while not ending.done():
                    writer.write(more)
                    await writer.drain()
                    await asyncio.sleep(0.02)
        async with asyncio.timeout(PATIENCE_S):
            await ending
        writer.close()


@pytest.mark.parametrize(("requests", "is_answered"), [(16, True), (2_000, False)])
async def test_requests_that_wait_for_none_of_their_answers_are_taken_up_to_a_number(
    sqlite_url: str,
    requests: int,
    is_answered: bool,  # noqa: FBT001 (a case)
) -> None:
    async with serving(sqlite_url, Impatient) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(GOOD * (requests - 1) + GOOD.replace(b"host: x", b"connection: close"))
        came = b""
        with contextlib.suppress(ConnectionError):
            came = await asyncio.wait_for(reader.read(), PATIENCE_S)
        writer.close()
        after = await answer_to(port, GOOD)

    assert (came.count(b"HTTP/1.1 200") == requests) is is_answered
    assert after == b"HTTP/1.1 200 OK\r\n"


class InSmallRoom(BoundedHttpProtocol):
    """Holds three connections."""

    room = Room(3)


async def test_past_the_limit_the_connection_that_has_been_idle_for_longest_makes_room(sqlite_url: str) -> None:
    async with serving(sqlite_url, InSmallRoom) as port:
        ends = [await asyncio.open_connection("127.0.0.1", port) for _ in range(3)]
        await asyncio.sleep(0.05)
        ends[0][1].write(GOOD)
        await ends[0][0].readuntil(b"}")
        answer = await answer_to(port, GOOD)
        gone = await asyncio.wait_for(ends[1][0].read(), PATIENCE_S)
        answers = []
        for reader, writer in (ends[0], ends[2]):
            writer.write(GOOD)
            answers.append(await reader.readuntil(b"\r\n"))
        for _, writer in ends:
            writer.close()

    assert answer == b"HTTP/1.1 200 OK\r\n"
    assert gone == b""
    assert answers == [b"HTTP/1.1 200 OK\r\n"] * 2


async def test_where_every_connection_is_being_served_one_more_is_told_to_come_again(sqlite_url: str) -> None:
    load_directory(Settings(database_url=sqlite_url), feed.directory())
    stream = [f"GET {feed.PATH} HTTP/1.1", "accept: text/event-stream", f"auth: {sample.token()}", "\r\n"]
    async with serving(sqlite_url, InSmallRoom) as port:
        busy = [await asyncio.open_connection("127.0.0.1", port) for _ in range(3)]
        for reader, writer in busy:
            writer.write("\r\n".join(stream).encode())
            assert await reader.readuntil(b"\r\n") == b"HTTP/1.1 200 OK\r\n"
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        told = await asyncio.wait_for(reader.read(), PATIENCE_S)
        for _, each in [*busy, (reader, writer)]:
            each.close()

    assert told.startswith(b"HTTP/1.1 503 ")
    assert b"\r\nretry-after: 1\r\n" in told
    assert b'"code":"overloaded"' in told


def offering(protocol: str, *, is_chunked: bool) -> tuple[bytes, bytes]:
    """Head and body of the documented call by a client that would rather speak another protocol."""
    body = json.dumps(sample.body()).encode()
    length = "transfer-encoding: chunked" if is_chunked else f"content-length: {len(body)}"
    head = [f"POST {sample.PATH} HTTP/1.1", "host: x", "Connection: Upgrade, HTTP2-Settings", f"Upgrade: {protocol}"]
    head += ["HTTP2-Settings: AAEAAEAAAAIAAAAB", f"auth: {sample.token()}", length, "\r\n"]
    return "\r\n".join(head).encode(), b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body) if is_chunked else body


@pytest.mark.parametrize("protocol", ["h2c", "websocket"])
@pytest.mark.parametrize("is_chunked", [False, True], ids=["by its length", "in chunks"])
@pytest.mark.parametrize("cut", ["nowhere", "in the head", "behind the head", "in the body"])
async def test_an_offer_of_another_protocol_is_passed_over_and_the_body_is_not(
    sqlite_url: str,
    protocol: str,
    is_chunked: bool,  # noqa: FBT001 (a case)
    cut: str,
) -> None:
    load_directory(Settings(database_url=sqlite_url), sample.directory())
    head, body = offering(protocol, is_chunked=is_chunked)
    request = head + body
    place = {"nowhere": 0, "in the head": 150, "behind the head": len(head), "in the body": -3}[cut]
    async with serving(sqlite_url) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(request[:place])
        await writer.drain()
        await asyncio.sleep(0.05)
        writer.write(request[place:] + GOOD.replace(b"host: x", b"connection: close"))
        came = await asyncio.wait_for(reader.read(), PATIENCE_S)
        writer.close()

    assert came.count(b"HTTP/1.1 ") == came.count(b"HTTP/1.1 200 OK\r\n") == len([request, GOOD])
    assert b'"status":"transferred"' in came


LONG = b"GET /openapi.json HTTP/1.1\r\nhost: x\r\n\r\n"


def reading_nothing(port: int, request: bytes) -> socket.socket:
    """The client's end of a connection over which this was asked, and no answer is read."""
    client = socket.socket()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 * 1024)
    client.connect(("127.0.0.1", port))
    client.sendall(request)
    return client


class Watched(Unread):
    """Tells which connections the server has, three at most. The network takes little of an answer at one time."""

    room = Room(3)
    inside: ClassVar[set[BoundedHttpProtocol]] = set()

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override] # as in uvicorn
        self.inside.add(self)
        super().connection_made(transport)

    def connection_lost(self, exc: Exception | None) -> None:
        self.inside.discard(self)
        super().connection_lost(exc)


class Patient(Watched):
    """Would wait for a reader for longer than any test takes."""

    stall_s = 600.0
    room = Room(3)


async def at_most(connections: int) -> None:
    """Wait until the server has no more than so many."""
    async with asyncio.timeout(PATIENCE_S):
        while len(Watched.inside) > connections:  # noqa: ASYNC110 (a connection that ends tells nobody)
            await asyncio.sleep(0.01)


async def test_the_rest_of_an_answer_that_nobody_reads_keeps_no_connection_that_is_to_be_closed(
    sqlite_url: str,
) -> None:
    async with serving(sqlite_url, Watched) as port:
        client = await asyncio.to_thread(reading_nothing, port, LONG.replace(b"host: x", b"connection: close"))
        await answer_to(port, GOOD)
        await at_most(0)
        client.close()


async def test_whoever_reads_nothing_makes_room_at_once_for_those_who_do(sqlite_url: str) -> None:
    async with serving(sqlite_url, Patient) as port:
        clients = [await asyncio.to_thread(reading_nothing, port, LONG) for _ in range(3)]
        answers, ends = [], []
        for _ in clients:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(GOOD)
            answers.append(await reader.readuntil(b"\r\n"))
            ends.append(writer)
        await at_most(len(ends))
        for client in clients:
            client.close()
        for end in ends:
            end.close()

    assert answers == [b"HTTP/1.1 200 OK\r\n"] * 3


async def test_a_stream_ends_with_its_connection_though_more_was_asked_over_it(sqlite_url: str) -> None:
    load_directory(Settings(database_url=sqlite_url), feed.directory())
    head = [f"GET {feed.PATH} HTTP/1.1", "host: x", "accept: text/event-stream", f"auth: {sample.token()}", "\r\n"]
    stream = "\r\n".join(head).encode()
    async with serving(sqlite_url, event_streams_limit=1) as port, asyncio.timeout(PATIENCE_S):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(stream + GOOD)
        first = await reader.readuntil(b"\r\n")
        writer.close()
        second = b""
        while second != b"HTTP/1.1 200 OK\r\n":
            second = await answer_to(port, stream)

    assert first == b"HTTP/1.1 200 OK\r\n"
