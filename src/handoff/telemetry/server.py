"""A port on which metrics are read, answered by threads of its own so that a scrape holds up no request."""

import asyncio
import logging
import socket
import sys
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final

log = logging.getLogger(__name__)

_PATH: Final = "/metrics"
_TEXT_FORMAT: Final = "text/plain; version=0.0.4; charset=utf-8"


@asynccontextmanager
async def serving(render: Callable[[], bytes], listener: socket.socket) -> AsyncIterator[None]:
    """Answer `GET /metrics` on the socket with what `render` gives at that moment."""
    server = _Server(render, listener)
    thread = threading.Thread(target=server.serve_forever, name="metrics", daemon=True)
    thread.start()
    try:
        yield
    finally:
        await asyncio.to_thread(server.shutdown)
        thread.join()
        server.server_close()


class _Server(ThreadingHTTPServer):
    def __init__(self, render: Callable[[], bytes], listener: socket.socket) -> None:
        super().__init__(listener.getsockname()[:2], _Handler, bind_and_activate=False)
        self.socket.close()  # the one it made by itself
        self.socket = listener
        self.render = render

    def handle_error(self, _request: Any, _client_address: Any) -> None:  # noqa: ANN401 (as in socketserver)
        """A scraper that goes away is no news; a mistake of ours is."""
        error = sys.exception()
        if not isinstance(error, OSError):
            log.error("scrape failed", exc_info=error)


class _Handler(BaseHTTPRequestHandler):
    server: _Server

    server_version = "Handoff"
    sys_version = ""
    timeout = 5  # seconds that a scraper may be silent

    def do_GET(self) -> None:
        """The metrics; nothing else is here."""
        if self.path.partition("?")[0] != _PATH:
            self.send_error(404)
            return
        body = self.server.render()
        self.send_response(200)
        self.send_header("Content-Type", _TEXT_FORMAT)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Scrapes are not worth a line."""
