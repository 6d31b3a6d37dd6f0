"""The part of the composition root that every long-running process shares: the meter, and the port it is read on."""

import logging
import socket
from collections.abc import AsyncIterator
from contextlib import AbstractContextManager, AsyncExitStack, asynccontextmanager, nullcontext
from importlib import import_module
from typing import TYPE_CHECKING, Final

from handoff.service.meter import UNMEASURED, Meter
from handoff.settings import Settings
from handoff.store.depth import SqlOutboxDepth
from handoff.store.engine import open_reader
from handoff.system import SystemClock, listen
from handoff.telemetry.depth import DepthWatch
from handoff.telemetry.server import serving

if TYPE_CHECKING:
    from handoff.telemetry.metrics import Metrics

log = logging.getLogger("handoff")

_SETTING: Final = "HANDOFF_METRICS_PORT"


def open_metrics_port(settings: Settings) -> AbstractContextManager[socket.socket | None]:
    """A socket on HANDOFF_METRICS_PORT, where that is set. Raises CannotListen."""
    if settings.metrics_port is None:
        return nullcontext()
    return listen(settings.metrics_host, settings.metrics_port, _SETTING)


@asynccontextmanager
async def metering(settings: Settings, port: socket.socket | None = None) -> AsyncIterator[Meter]:
    """A meter whose metrics are served on `port`, or on one opened here; where none is set, nobody measures.

    Raises CannotListen.
    """
    if settings.metrics_port is None:
        yield UNMEASURED
        return
    async with AsyncExitStack() as stack:
        listener = port or stack.enter_context(listen(settings.metrics_host, settings.metrics_port, _SETTING))
        store = SqlOutboxDepth(open_reader(settings.database_url, prepare=settings.database_prepare))
        stack.callback(store.close)
        watch = DepthWatch(store)
        stack.callback(watch.close)
        # With its library, which who is not measured has no use for.
        metrics: Metrics = import_module("handoff.telemetry.metrics").Metrics(watch, SystemClock())
        await stack.enter_async_context(serving(metrics.render, listener))
        log.info("metrics", extra={"url": f"http://{settings.metrics_host}:{settings.metrics_port}/metrics"})
        yield metrics
