"""`handoff dispatch`: a dispatcher of its own, without the API."""

import asyncio
import logging
import signal
import socket

import click
import uvloop

from handoff.cli.common import calm_collector, load_settings, told_in_a_sentence
from handoff.dispatching import dispatching
from handoff.metering import metering, open_metrics_port
from handoff.outboxes import require_store
from handoff.settings import Settings

log = logging.getLogger("handoff")


@click.command()
@told_in_a_sentence
def dispatch() -> None:
    """Deliver callbacks only: any number of these may run beside `serve`."""
    settings = load_settings()
    with open_metrics_port(settings) as metrics_port:
        require_store(settings)
        uvloop.run(_dispatch(settings, metrics_port))


async def _dispatch(settings: Settings, metrics_port: socket.socket | None) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    async with metering(settings, metrics_port) as meter, dispatching(settings, meter=meter):
        calm_collector()
        log.info("dispatching")
        await stop.wait()
