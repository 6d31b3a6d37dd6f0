"""Offers of another protocol, such as `Upgrade: h2c`: not taken up, as RFC 9110 (7.8) lets a server do."""

from typing import Any, Final

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

_CONNECT: Final = b"CONNECT"
_NO_HTTP: Final = "Invalid HTTP request received."


class OneProtocol(HttpToolsProtocol):
    """Answers a request that offers another protocol as if it did not.

    Java's own client makes that offer with every request over plain HTTP. httptools takes it for the end of HTTP and
    what follows, the body, for no part of the request. So such a head is read once more, without the offer.
    """

    _head_without_offer = b""

    def data_received(self, data: bytes) -> None:
        """Take what came."""
        self._unset_keepalive_if_required()
        try:
            while data:
                data = self._feed(data)
        except httptools.HttpParserError:
            self.logger.warning(_NO_HTTP)
            self.send_400_response(_NO_HTTP)

    def on_headers_complete(self) -> Any:  # noqa: ANN401 (as in uvicorn)
        """The head is complete; nothing comes of one that offers another protocol."""
        if not self.parser.should_upgrade() or (method := self.parser.get_method()) == _CONNECT:
            return super().on_headers_complete()
        lines = [b"%s %s HTTP/%s" % (method, self.url, self.parser.get_http_version().encode())]
        lines += [b"%s: %s" % header for header in self.headers if header[0] != b"upgrade"]
        self._head_without_offer = b"\r\n".join([*lines, b"\r\n"])
        return None

    def on_message_complete(self) -> None:
        """The body is complete; that of a head that comes again has not begun."""
        if not self._head_without_offer:
            super().on_message_complete()

    def _feed(self, data: bytes) -> bytes:
        """Parse the data; what is to be parsed next. Raises HttpParserError for what is no HTTP."""
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            head, self._head_without_offer = self._head_without_offer, b""
            if head:
                (end_of_head,) = upgrade.args
                self.parser = httptools.HttpRequestParser(self)
                self.parser.set_dangerous_leniencies(lenient_data_after_close=True)  # as in uvicorn
                return head + data[end_of_head:]
        return b""
