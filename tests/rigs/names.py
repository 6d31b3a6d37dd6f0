"""A name server of the test's own, over UDP on loopback, whose answers change while it is asked."""

import asyncio
import struct
from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from ipaddress import ip_address
from typing import cast

_HEAD = struct.Struct("!6H")
_A, _AAAA, _IN = 1, 28, 1
_NO_SUCH_NAME, _SERVER_FAILED = 3, 2

# What a name answers at one time: addresses, one of the words below, or nothing at all.
Answer = Sequence[str] | None
NO_SUCH_NAME = ("no such name",)
SERVER_FAILED = ("server failed",)
_CODES: Mapping[tuple[str, ...], int] = {NO_SUCH_NAME: _NO_SUCH_NAME, SERVER_FAILED: _SERVER_FAILED}


class NameServer(asyncio.DatagramProtocol):
    """Gives each name its prepared answers in turn, and the last one again and again; none may be kept (TTL 0)."""

    def __init__(self, answers: Mapping[str, Sequence[Answer]]) -> None:
        self._answers = answers
        self._transport: asyncio.DatagramTransport | None = None
        self.asked: Counter[tuple[str, int]] = Counter()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.DatagramTransport", transport)  # before Python 3.12 it is one in all but name

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        name, kind, question = _question(data)
        prepared = self._answers.get(name, [NO_SUCH_NAME])
        answer = prepared[min(self.asked[name, kind], len(prepared) - 1)]
        self.asked[name, kind] += 1
        assert self._transport is not None
        if answer is not None:
            self._transport.sendto(_reply(data[:2], question, kind, answer), addr)


@asynccontextmanager
async def name_server(answers: Mapping[str, Sequence[Answer]]) -> AsyncIterator[tuple[int, NameServer]]:
    """A running name server and its port."""
    loop = asyncio.get_running_loop()
    transport, server = await loop.create_datagram_endpoint(lambda: NameServer(answers), ("127.0.0.1", 0))
    yield transport.get_extra_info("sockname")[1], server
    transport.close()


def _question(data: bytes) -> tuple[str, int, bytes]:
    """The name that is asked for, the kind of record, and the question as it was put."""
    labels, place = [], _HEAD.size
    while data[place]:
        labels.append(data[place + 1 : place + 1 + data[place]].decode())
        place += 1 + data[place]
    return ".".join(labels).lower(), int.from_bytes(data[place + 1 : place + 3]), data[_HEAD.size : place + 5]


def _reply(number: bytes, question: bytes, kind: int, answer: Sequence[str]) -> bytes:
    code = _CODES.get(tuple(answer), 0)
    packed = [ip_address(one).packed for one in answer] if not code else []
    records = [one for one in packed if len(one) == {_A: 4, _AAAA: 16}.get(kind)]
    head = number + struct.pack("!5H", 0x8180 | code, 1, len(records), 0, 0)
    return head + question + b"".join(struct.pack("!3HIH", 0xC00C, kind, _IN, 0, len(one)) + one for one in records)
