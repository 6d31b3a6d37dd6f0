"""How an answer is taken off its connection: the head before anything else, and never more than a bound."""

from functools import partial
from typing import Any, Final

from aiohttp import ClientPayloadError, TCPConnector
from aiohttp.client_proto import ResponseHandler
from aiohttp.http import HttpProcessingError

# Interim answers, chunk extensions and the like are of any length and none of them is kept, but parsing them takes
# the time of all other attempts. Servers' heads are far smaller, and of a body only the beginning is wanted.
_ANSWER_BYTES: Final = 65_536
_END_OF_HEAD: Final = b"\r\n\r\n"


class BoundedAnswer(ResponseHandler):
    """aiohttp's reader of answers, which by itself reads on for as long as something comes.

    It also drops a head whose packet goes on with something that is no HTTP, such as a body after a 204. Here the
    head is parsed alone, so that how an answer is cut into packets does not decide what it says.
    """

    has_carried = False  # whether a request went over this connection before
    _taken = 0

    @property
    def has_begun(self) -> bool:
        """Whether anything came since the last request."""
        return self._taken > 0

    def set_response_params(self, **options: Any) -> None:  # noqa: ANN401 (aiohttp's own, passed on)
        """Get ready for the answer to the next request on this connection."""
        self._taken = 0
        super().set_response_params(**options)

    def data_received(self, data: bytes) -> None:
        """Parse what came, up to the bound."""
        room = max(0, _ANSWER_BYTES - self._taken)
        self._taken += len(data)
        head, end, rest = data[:room].partition(_END_OF_HEAD)
        super().data_received(head + end)
        if rest and self.exception() is None:
            super().data_received(rest)
        if self._taken > _ANSWER_BYTES and self.exception() is None:
            self.set_exception(HttpProcessingError(message="Too much of an answer"))
        if self.exception() is not None:
            self._end()

    def _end(self) -> None:
        """Let go of the connection, and of whoever reads a body that will not be complete."""
        if self._payload is not None and not self._payload.is_eof():
            self._payload.set_exception(ClientPayloadError("The answer broke off"))
        if self.transport is not None:
            self.transport.abort()


class BoundedConnector(TCPConnector):
    """A connector whose connections read bounded answers."""

    def __init__(self, **options: Any) -> None:  # noqa: ANN401 (aiohttp's own, passed on)
        super().__init__(**options)
        reader: type[ResponseHandler] = BoundedAnswer
        self._factory = partial(reader, loop=self._loop)
