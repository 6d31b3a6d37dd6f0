import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import cast

import pytest

from handoff.cli.paired_writes import PairedWrites

pytestmark = pytest.mark.anyio


class Seen(asyncio.Transport):
    """Notes what it is told to do."""

    def __init__(self) -> None:
        super().__init__()
        self.done: list[bytes | str] = []
        self._is_closing = False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.done.append(bytes(data))

    def close(self) -> None:
        self.done.append("closed")
        self._is_closing = True

    def is_closing(self) -> bool:
        return self._is_closing


@pytest.fixture
def seen() -> Seen:
    return Seen()


@pytest.fixture
async def writes(seen: Seen) -> PairedWrites:
    return PairedWrites(seen, asyncio.get_running_loop())


async def test_a_head_leaves_with_its_body_and_at_once(seen: Seen, writes: PairedWrites) -> None:
    for data in (b"head 1, ", b"body 1", b"head 2, ", b"body 2"):
        writes.write(data)

    assert seen.done == [b"head 1, body 1", b"head 2, body 2"]


async def test_what_nothing_follows_leaves_in_the_next_turn(seen: Seen, writes: PairedWrites) -> None:
    writes.write(b"an event")
    assert seen.done == []

    await asyncio.sleep(0)

    assert seen.done == [b"an event"]


async def test_what_is_no_head_is_not_kept(seen: Seen, writes: PairedWrites) -> None:
    writes.write(b"x" * 5_000)

    assert seen.done == [b"x" * 5_000]


async def test_a_close_comes_after_all_that_was_written(seen: Seen, writes: PairedWrites) -> None:
    writes.write(b"the last word")
    writes.close()
    await asyncio.sleep(0)

    assert seen.done == [b"the last word", "closed"]


async def test_a_connection_that_is_gone_is_written_nothing_more(seen: Seen, writes: PairedWrites) -> None:
    writes.write(b"too late")
    seen.close()
    await asyncio.sleep(0)

    assert seen.done == ["closed"]


@asynccontextmanager
async def connected() -> AsyncIterator[tuple[PairedWrites, socket.socket]]:
    """The server's end of a connection, which writes in pairs, and the client's socket."""
    loop = asyncio.get_running_loop()
    made: asyncio.Future[asyncio.Transport] = loop.create_future()

    class Protocol(asyncio.Protocol):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            made.set_result(cast("asyncio.Transport", transport))

    server = await loop.create_server(Protocol, "127.0.0.1", 0)
    with socket.create_connection(server.sockets[0].getsockname()) as client:
        client.setblocking(False)
        transport = await made
        yield PairedWrites(transport, loop), client
        transport.close()
    server.close()


async def test_over_a_connection_everything_comes_once_and_in_order() -> None:
    loop = asyncio.get_running_loop()
    pieces = [b"%d," % number * (1 + number % 7 * 900) for number in range(200)]
    async with connected() as (writes, client):
        sent = loop.create_task(send_all(writes, pieces))
        received = b"".join([piece async for piece in pieces_of(client)])
        await sent

    assert received == b"".join(pieces)


async def send_all(writes: PairedWrites, pieces: list[bytes]) -> None:
    for number, piece in enumerate(pieces):
        writes.write(piece)
        if number % 3 == 0:
            await asyncio.sleep(0)
    writes.close()


async def pieces_of(client: socket.socket) -> AsyncIterator[bytes]:
    receive = partial(asyncio.get_running_loop().sock_recv, client, 64 * 1024)
    while piece := await receive():
        yield piece
