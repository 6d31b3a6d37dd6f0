"""Receivers that do harm: real listeners on loopback, each of which treats every connection as it was told to."""

import asyncio
import contextlib
import socket
import ssl
import struct
import threading
from collections.abc import Awaitable, Callable, Iterable
from functools import partial
from typing import Self

from rigs.listening import accept_no_more

_HOUSEKEEPING_TIMEOUT_S = 30.0

# What one flood sends at most: enough to be seen in a process that keeps it, and over within seconds.
_FLOOD_BYTES = 256 << 20

# SO_LINGER with no time to linger: closing sends a reset.
_RESET = struct.pack("ii", 1, 0)

Talk = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


class EvilHost:
    """Listens on as many loopback ports as asked for while its `with` block lasts, all in one thread."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="evil", daemon=True)
        self._servers: list[asyncio.Server] = []
        self._talks: set[asyncio.Task[None]] = set()
        self.connections: dict[int, int] = {}

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_exc: object) -> None:
        asyncio.run_coroutine_threadsafe(self._close(), self._loop).result(_HOUSEKEEPING_TIMEOUT_S)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(_HOUSEKEEPING_TIMEOUT_S)
        self._loop.close()

    def listen(self, talk: Talk, *, tls: ssl.SSLContext | None = None) -> int:
        """A new port whose every connection is given to `talk`; with `tls`, after the handshake."""
        opened = asyncio.run_coroutine_threadsafe(self._listen(talk, tls), self._loop)
        return opened.result(_HOUSEKEEPING_TIMEOUT_S)

    async def _listen(self, talk: Talk, tls: ssl.SSLContext | None) -> int:
        server = await asyncio.start_server(partial(self._serve, talk), "127.0.0.1", 0, ssl=tls)
        self._servers.append(server)
        port: int = server.sockets[0].getsockname()[1]
        self.connections[port] = 0
        return port

    async def _serve(self, talk: Talk, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._talks.add(task)
        task.add_done_callback(self._talks.discard)
        self.connections[writer.get_extra_info("sockname")[1]] += 1
        try:
            with contextlib.suppress(OSError, asyncio.IncompleteReadError):
                await talk(reader, writer)
            writer.close()
            # Under way until nothing is left of it: a loop that ends before leaves the socket to whoever collects it.
            with contextlib.suppress(OSError):
                await writer.wait_closed()
        except asyncio.CancelledError:
            writer.transport.abort()

    async def _close(self) -> None:
        for server in self._servers:
            await accept_no_more(server.sockets)
            server.close()
        under_way = list(self._talks)
        for task in under_way:
            task.cancel()
        await asyncio.gather(*under_way, return_exceptions=True)
        await asyncio.sleep(0)  # a turn for what was aborted


async def take_request(reader: asyncio.StreamReader) -> None:
    """Read one whole request, so that closing the connection is no reset."""
    head = await reader.readuntil(b"\r\n\r\n")
    lengths = [line.split(b":")[1] for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
    await reader.readexactly(int(lengths[0]))


def say(*pieces: bytes) -> Talk:
    """Answer the request with these pieces, each a packet of its own, and close."""

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await take_request(reader)
        await _send(writer, pieces)

    return talk


def say_to_anything(*pieces: bytes) -> Talk:
    """Answer whatever comes first, a request or not, with these pieces, and wait for the end."""

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        await _send(writer, pieces)
        await reader.read()

    return talk


def say_and_hold(*pieces: bytes) -> Talk:
    """Answer with these pieces and say nothing more, until the other side has had enough."""

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await take_request(reader)
        await _send(writer, pieces)
        await reader.read()

    return talk


def say_and_reset(*pieces: bytes) -> Talk:
    """Answer with these pieces and break the connection."""

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await take_request(reader)
        await _send(writer, pieces)
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        writer.transport.abort()

    return talk


def say_and_half_close(*pieces: bytes) -> Talk:
    """Answer with these pieces, end this direction, and go on listening."""

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await take_request(reader)
        await _send(writer, pieces)
        writer.write_eof()
        await reader.read()

    return talk


def drip(beginning: bytes, drops: bytes, *, every_s: float = 0.2) -> Talk:
    """Answer with the beginning, then with one byte at a time, over and over."""

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await take_request(reader)
        await _send(writer, [beginning] if beginning else [])
        while True:
            for drop in drops:
                await asyncio.sleep(every_s)
                await _send(writer, [bytes([drop])])

    return talk


def flood(beginning: bytes, piece: bytes) -> Talk:
    """Answer with the beginning, then with the piece over and over, as fast as it is taken."""

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await take_request(reader)
        writer.write(beginning)
        for _ in range(_FLOOD_BYTES // len(piece)):
            writer.write(piece)
            await writer.drain()

    return talk


async def close_at_once(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Accept and hang up."""
    del reader
    writer.close()


async def ignore(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Accept and neither read nor answer."""
    del reader, writer
    await asyncio.Event().wait()


def answer_unasked(answer: bytes) -> Talk:
    """Answer before there is a request, then read what comes."""

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await _send(writer, [answer])
        await reader.read()

    return talk


async def _send(writer: asyncio.StreamWriter, pieces: Iterable[bytes]) -> None:
    for piece in pieces:
        writer.write(piece)
        await writer.drain()
        await asyncio.sleep(0.02)  # longer than it takes to arrive, so that two pieces come as two
