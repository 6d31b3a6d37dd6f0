"""`handoff serve`: the API, and its dispatcher unless that is off."""

import logging
import signal
import socket
from collections.abc import Callable
from functools import partial
from types import FrameType
from typing import Final

import click
import uvicorn
from fastapi import FastAPI

from handoff.api.services import end_streams
from handoff.bootstrap import create_app
from handoff.cli.common import calm_collector, load_settings, told_in_a_sentence
from handoff.cli.protocol import BoundedHttpProtocol
from handoff.cli.room import Room
from handoff.metering import open_metrics_port
from handoff.migrating import prepare_store
from handoff.settings import Settings
from handoff.system import allow_files, listen

log = logging.getLogger("handoff")

_BACKLOG: Final = 2_048
# Files besides connections and callbacks: the store's, the log's, the loop's own.
_OTHER_FILES: Final = 128


@click.command()
@told_in_a_sentence
def serve() -> None:
    """Serve the API, and deliver callbacks unless HANDOFF_DISPATCHER=off."""
    settings = load_settings()
    with open_metrics_port(settings) as metrics_port:
        app = create_app(settings, metrics_port=metrics_port)
        prepare_store(settings)
        with listen(settings.host, settings.port, "HANDOFF_PORT") as listener:
            log.info("listening", extra={"url": f"http://{settings.host}:{settings.port}"})
            run_server(app, settings, listener)


class _Server(uvicorn.Server):
    """uvicorn, with a word when requests are being answered, and one before those under way are waited for."""

    def __init__(self, config: uvicorn.Config, on_ready: Callable[[], None], on_stop: Callable[[], None]) -> None:
        super().__init__(config)
        self._on_ready = on_ready
        self._on_stop = on_stop

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        calm_collector()
        self._on_ready()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._on_stop()
        await super().shutdown(sockets)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Stop in good order and end with 0, not by the signal as uvicorn would; a second Ctrl-C stops at once."""
        del frame
        self.force_exit = self.should_exit and sig == signal.SIGINT
        self.should_exit = True


def run_server(
    app: FastAPI,
    settings: Settings,
    listener: socket.socket,
    on_ready: Callable[[], None] = lambda: None,
    *,
    protocol: type[BoundedHttpProtocol] = BoundedHttpProtocol,
) -> None:
    """Serve until SIGTERM or SIGINT; then finish what was accepted, within the grace period."""

    class InRoom(protocol):  # type: ignore[valid-type,misc] # a class that is a parameter
        room = Room(connections_limit(settings))

    config = uvicorn.Config(
        app,
        loop="uvloop",
        http=InRoom,
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        backlog=_BACKLOG,
        timeout_graceful_shutdown=max(1, round(settings.grace_seconds / 2)),
    )
    server = _Server(config, on_ready, on_stop=partial(end_streams, app))
    server.run(sockets=[listener])
    if not server.started:
        raise click.ClickException("the service did not start; the log tells why")


def connections_limit(settings: Settings) -> int:
    """How many connections there may be: as many as are set, or as many as there may be files for."""
    others = settings.callback_in_flight + _OTHER_FILES
    limit = max(1, min(settings.connections_limit, allow_files(settings.connections_limit + others) - others))
    if limit < settings.connections_limit:
        log.warning("fewer connections than set: raise the limit of open files", extra={"connections_limit": limit})
    return limit
