"""Too much at one time: callers who never wait, and clients who mean no good, over connections of their own.

Each of them is a task that lasts until the flood is over; those who are slow, until the server cuts them off.
"""

import asyncio
import contextlib
import json
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field

from rigs import sample

# An answer that takes longer is one that does not come.
_PATIENCE_S = 30.0
_QUEUES = (sample.QUEUE, sample.OTHER_QUEUE)
_PROBE_EVERY_S = 0.1

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@dataclass(slots=True)
class Seen:
    """What came of it all.

    `calls` counts answers to callers by status and code; `others`, what hostile clients were told, by kind and status
    (0: cut off). `acknowledged` has the transfers that somebody was told of; `waited_s`, how long each probe took.
    """

    calls: Counter[tuple[int, str]] = field(default_factory=Counter)
    others: Counter[tuple[str, int]] = field(default_factory=Counter)
    acknowledged: set[str] = field(default_factory=set)
    probes: Counter[int] = field(default_factory=Counter)
    waited_s: list[float] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Heard:
    """One answer."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def code(self) -> str:
        return str(json.loads(self.body).get("code", "transferred")) if self.body else ""


@contextlib.asynccontextmanager
async def connected(port: int) -> AsyncIterator[Streams]:
    """A connection that is closed in the end, whatever became of it."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        yield reader, writer
    finally:
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


def request(body: bytes, *more: str, path: str = sample.PATH) -> bytes:
    """The documented call as it goes over the wire."""
    lines = [f"POST {path} HTTP/1.1", "host: x", "content-type: application/json", f"content-length: {len(body)}"]
    return "\r\n".join([*lines, f"auth: {sample.token()}", *more, "\r\n"]).encode() + body


async def heard(reader: asyncio.StreamReader) -> Heard:
    """The next answer. Raises IncompleteReadError or ConnectionError where the server closes before its end."""
    first, *lines = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")[:-2]
    headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
    body = await reader.readexactly(int(headers.get("content-length", 0)))
    return Heard(int(first.split(" ")[1]), headers, body)


class Flood:
    """All clients of one flood against the server at `port`, until `stop`."""

    def __init__(self, port: int) -> None:
        self.seen = Seen()
        self._port = port
        self._is_over = asyncio.Event()

    def stop(self) -> None:
        """Nobody begins anything more."""
        self._is_over.set()

    async def caller(self, session: str) -> None:
        """Moves its session from queue to queue, without a pause between an answer and the next call."""
        turn = 0
        async with connected(self._port) as (reader, writer):
            while not self._is_over.is_set():
                body = sample.body(aId=None, transferredType="QUEUE", queueId=_QUEUES[turn % 2], botSessionId=session)
                writer.write(request(json.dumps(body).encode()))
                answer = await asyncio.wait_for(heard(reader), _PATIENCE_S)
                self.seen.calls[answer.status, answer.code] += 1
                if answer.status == 200:
                    turn += 1
                    self.seen.acknowledged.add(answer.headers["x-transfer-id"])
                else:
                    assert int(answer.headers["retry-after"]) >= 1

    async def probe(self) -> None:
        """Asks for the health, over a new connection each time."""
        while not self._is_over.is_set():
            began = time.monotonic()
            async with connected(self._port) as (reader, writer):
                writer.write(b"GET /livez HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
                answer = await asyncio.wait_for(heard(reader), _PATIENCE_S)
            self.seen.probes[answer.status] += 1
            self.seen.waited_s.append(time.monotonic() - began)
            await asyncio.sleep(_PROBE_EVERY_S)

    async def idler(self) -> None:
        """Says nothing, and waits to be cut off."""
        async with connected(self._port) as (reader, _):
            await self._until_cut_off("idle", reader)

    async def slow_head(self, every_s: float) -> None:
        """Sends a byte of a head now and then."""
        await self._trickle("slow head", b"GET /livez HTTP/1.1\r\nx: ", b"x", every_s)

    async def slow_body(self, every_s: float) -> None:
        """Has no token, and goes on sending a body that nobody asks for."""
        head = f"POST {sample.PATH} HTTP/1.1\r\nhost: x\r\ncontent-length: 65000\r\n\r\n"
        await self._trickle("slow body", head.encode(), b"x", every_s)

    async def long_head(self) -> None:
        """Sends headers without end, again and again."""
        await self._again("long head", lambda: b"x: " + b"y" * 8_000 + b"\r\n", b"GET /livez HTTP/1.1\r\n")

    async def long_body(self) -> None:
        """Has a token, and sends a body without end, again and again."""
        head = request(b"", "transfer-encoding: chunked").replace(b"content-length: 0\r\n", b"")
        await self._again("long body", lambda: b"2000\r\n" + b" " * 0x2000 + b"\r\n", head)

    async def pipeliner(self) -> None:
        """Sends requests by the thousand and waits for no answer, again and again."""
        await self._again("requests in a row", lambda: b"GET /livez HTTP/1.1\r\n\r\n" * 1_000, b"")

    async def _again(self, kind: str, piece: Callable[[], bytes], begin: bytes) -> None:
        while not self._is_over.is_set():
            async with connected(self._port) as (reader, writer):
                answering = asyncio.ensure_future(_first_status(reader))
                with contextlib.suppress(ConnectionError):
                    writer.write(begin)
                    while not answering.done() and not self._is_over.is_set():
                        writer.write(piece())
                        await writer.drain()
                        await asyncio.sleep(0)
                if not self._is_over.is_set():
                    self.seen.others[kind, await asyncio.wait_for(answering, _PATIENCE_S)] += 1
                answering.cancel()

    async def _trickle(self, kind: str, begin: bytes, piece: bytes, every_s: float) -> None:
        async with connected(self._port) as (reader, writer):
            waiting = asyncio.ensure_future(self._until_cut_off(kind, reader))
            with contextlib.suppress(ConnectionError):
                writer.write(begin)
                while not waiting.done():
                    await asyncio.wait({waiting}, timeout=every_s)
                    writer.write(piece)
                    await writer.drain()
            await waiting

    async def _until_cut_off(self, kind: str, reader: asyncio.StreamReader) -> None:
        """Read to the end, for as long as the test's own timeout allows."""
        with contextlib.suppress(ConnectionError):
            await reader.read()
        self.seen.others[kind, 0] += 1


async def _first_status(reader: asyncio.StreamReader) -> int:
    """The status of the first answer; 0 where the connection ends without."""
    try:
        return int((await reader.readuntil(b"\r\n")).split(b" ")[1])
    except (ConnectionError, asyncio.IncompleteReadError):
        return 0


async def all_of(clients: list[Awaitable[None]], within_s: float) -> None:
    """Wait for every client's end. Raises what one of them raises, and TimeoutError."""
    async with asyncio.timeout(within_s), asyncio.TaskGroup() as group:
        for client in clients:
            group.create_task(_ended(client))


async def _ended(client: Awaitable[None]) -> None:
    await client
