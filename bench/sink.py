"""A receiver that costs next to nothing: answers every request with an empty 200 and keeps the connection.

`python -m bench.sink N` listens on N ports of loopback, prints them as one line of JSON, and goes on until it is ended.
"""

import asyncio
import json
import re
import sys
from collections.abc import Callable
from typing import cast

import uvloop

_ANSWER = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"
_END_OF_HEAD = b"\r\n\r\n"
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)


class Sink(asyncio.Protocol):
    """One connection; `on_request` is called for each request before it is answered."""

    def __init__(self, on_request: Callable[[], object] = lambda: None) -> None:
        self._on_request = on_request
        self._came = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep it open for good."""
        self._transport = cast("asyncio.WriteTransport", transport)  # uvloop's is one, though it does not say so

    def data_received(self, data: bytes) -> None:
        """Answer every request that is complete."""
        self._came += data
        while (end := self._end_of_request()) is not None:
            self._came = self._came[end:]
            self._on_request()
            self._transport.write(_ANSWER)

    def _end_of_request(self) -> int | None:
        end_of_head = self._came.find(_END_OF_HEAD)
        if end_of_head < 0:
            return None
        length = _LENGTH.search(self._came, 0, end_of_head)
        end = end_of_head + len(_END_OF_HEAD) + (int(length[1]) if length else 0)
        return end if len(self._came) >= end else None


async def _serve(count: int) -> None:
    loop = asyncio.get_running_loop()
    servers = [await loop.create_server(Sink, "127.0.0.1", 0, backlog=256) for _ in range(count)]
    print(json.dumps([server.sockets[0].getsockname()[1] for server in servers]), flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    uvloop.run(_serve(int(sys.argv[1])))
