"""HTTP/1.1 as uvicorn speaks it, with bounds on what a client may send before it is anybody's request."""

import asyncio
from typing import Any, Final, cast

from uvicorn._types import ASGI3Application
from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

from handoff.api.parameters import IS_WHOLE
from handoff.cli.paired_writes import PairedWrites
from handoff.cli.room import Room
from handoff.cli.upgrades import OneProtocol

_TOO_LARGE: Final = b"HTTP/1.1 431 Request Header Fields Too Large\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"


class BoundedHttpProtocol(OneProtocol):
    """Closes a connection whose request line and headers are too long, or do not come; or whose client reads nothing.

    `longest_head` is in bytes: a long callbackUrl in the query fits many times over. `head_timeout_s` is in seconds,
    and also for the rest of a body that was answered before it had come. So is `stall_s`: how long some 64 KiB of an
    answer may wait to be read on, and the rest of one whose connection is closed then. A server that stops waits for
    `last_stall_s` only; a connection that has to leave is waited for no longer than `leaving_s`, in which the network
    takes what it will take at once. `most_waiting` requests may be sent before the first is answered. `room` is that
    of all connections of a server; None: any number.
    """

    room: Room | None = None
    most_waiting = 16
    longest_head = 64 * 1024
    head_timeout_s = 20.0
    stall_s = 60.0
    last_stall_s = 2.0
    leaving_s = 0.1

    _served: RequestResponseCycle | None = None
    _head_bytes = 0
    _is_in_head = False
    _is_head_alone = True
    _deadline: asyncio.TimerHandle | None = None
    _stalled: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override] # as in uvicorn
        """Begin to wait for the first request."""
        super().connection_made(cast("asyncio.Transport", PairedWrites(transport, self.loop, self._wait_for_reader)))
        self._arm()
        if self.room is not None:
            self.room.enter(self)

    @property
    def is_idle(self) -> bool:
        """Whether no request is being served."""
        return self.cycle is None or self.cycle.response_complete  # type: ignore[redundant-expr] # None at first

    def leave(self, words: bytes = b"") -> None:
        """Close the connection, with these as its last words."""
        self.transport.write(words)
        self.transport.close()
        self._wait_for_reader(self.leaving_s)

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait for nothing more, and tell so the request that is being served; uvicorn tells the last one that came."""
        self._disarm()
        self._unstall()
        if self.room is not None:
            self.room.forget(self)
        super().connection_lost(exc)
        if self._served is not None:
            self._served.disconnected = True
            self._served.message_event.set()

    def data_received(self, data: bytes) -> None:
        """Take what came, and count it as long as it is of a head alone."""
        self._is_head_alone = True
        super().data_received(data)
        # Most heads come in one piece, and need no clock. What belongs to no request that is served does.
        if self._deadline is None and (self._is_in_head or self.is_idle):
            self._arm()
        if self._is_in_head and self._is_head_alone:
            self._head_bytes += len(data)
            if self._head_bytes > self.longest_head and not self.transport.is_closing():
                self.leave(_TOO_LARGE)

    def send_400_response(self, msg: str) -> None:
        """Tell that this is no HTTP, unless the connection is being closed already."""
        if not self.transport.is_closing():
            super().send_400_response(msg)

    def on_message_begin(self) -> None:
        """A head begins. Raises BufferError, which ends the connection, where too many requests wait already."""
        if len(self.pipeline) >= self.most_waiting:
            self.transport.close()
            raise BufferError
        self._is_in_head = True
        self._head_bytes = 0
        super().on_message_begin()

    def on_headers_complete(self) -> Any:  # noqa: ANN401 (as in uvicorn)
        """The head is complete: from here on the application sets the bounds."""
        self._is_in_head = False
        self._disarm()
        if self.room is not None:
            self.room.note(self)
        return super().on_headers_complete()

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: ASGI3Application) -> None:
        self._served = cycle
        super()._start_asgi_task(cycle, app)

    def pause_writing(self) -> None:
        """The client reads more slowly than it is answered."""
        super().pause_writing()
        self._wait_for_reader()

    def resume_writing(self) -> None:
        """It has read on."""
        self._unstall()
        if self.transport.is_closing():  # and is to read the rest as well
            self._wait_for_reader()
        super().resume_writing()

    def shutdown(self) -> None:
        """The server stops: nobody waits for long for a client that reads nothing."""
        super().shutdown()
        self.stall_s = self.last_stall_s
        if self._stalled is not None:
            self._wait_for_reader()

    def _wait_for_reader(self, longest_s: float | None = None) -> None:
        self._unstall()
        self._stalled = self.loop.call_later(longest_s or self.stall_s, self.transport.abort)

    def _unstall(self) -> None:
        if self._stalled is not None:
            self._stalled.cancel()
            self._stalled = None

    def on_message_complete(self) -> None:
        """The body is complete: if that comes before the application's turn, it need not wait for it."""
        super().on_message_complete()
        self._is_head_alone = False
        cast("dict[str, Any]", self.scope)[IS_WHOLE] = True

    def _arm(self) -> None:
        self._deadline = self.loop.call_later(self.head_timeout_s, self.transport.close)

    def _disarm(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None
