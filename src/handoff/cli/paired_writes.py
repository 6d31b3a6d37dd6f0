"""Writes in pairs: the head of an answer waits for its body, and both are sent together."""

import asyncio
from collections.abc import Callable
from typing import Any, Final

# What is longer is no head, and nothing is gained by keeping it.
_LONGEST: Final = 4 * 1024


class PairedWrites:
    """A transport that keeps a write until the next one, or until the next turn of the event loop.

    uvicorn writes head and body of an answer apart. Each would be a system call, a packet, and a client that is woken.
    `on_close` is called when the connection is being closed from here, with some of an answer perhaps not yet sent.
    """

    def __init__(
        self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop, on_close: Callable[[], None] = lambda: None
    ) -> None:
        self._transport = transport
        self._loop = loop
        self._on_close = on_close
        self._kept: bytes | None = None

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 (of the transport)
        return getattr(self._transport, name)

    def write(self, data: bytes) -> None:
        """Send the data with what was kept, or keep it."""
        kept = self._kept
        if kept is not None:
            self._kept = None
            self._transport.write(kept + data)
        elif len(data) > _LONGEST:
            self._transport.write(data)
        else:
            self._kept = data
            self._loop.call_soon(self._send_kept)

    def close(self) -> None:
        """Close the connection once all is sent."""
        self._send_kept()
        if not self._transport.is_closing():
            self._transport.close()
            self._on_close()

    def _send_kept(self) -> None:
        kept, self._kept = self._kept, None
        if kept is not None and not self._transport.is_closing():
            self._transport.write(kept)
