"""Metrics as Prometheus reads them."""

from collections.abc import Callable
from typing import TypeAlias
from urllib.request import urlopen

from handoff.service.meter import OutboxDepth
from handoff.service.ports import StoreUnavailable
from handoff.system import SystemClock
from handoff.telemetry.depth import DepthWatch
from handoff.telemetry.metrics import Metrics

# A series as it stands in the text, with its labels, and its value.
Series: TypeAlias = dict[str, float]


def parsed(text: str) -> Series:
    pairs = (line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#"))
    return {name: float(value) for name, value in pairs}


def read(metrics: Metrics) -> Series:
    return parsed(metrics.render().decode())


def scraped(port: int) -> Series:
    with urlopen(f"http://127.0.0.1:{port}/metrics") as answer:
        assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
        return parsed(answer.read().decode())


class Depths:
    """A store that says what a test wants it to say, or is away."""

    def __init__(self, depth: OutboxDepth | None = None, before: Callable[[], object] = lambda: None) -> None:
        self.depth = depth
        self.asked = 0
        self._before = before

    def read(self) -> OutboxDepth:
        self.asked += 1
        self._before()
        if self.depth is None:
            raise StoreUnavailable("away")
        return self.depth


def metrics(depths: Depths | None = None) -> Metrics:
    """Metrics of their own, on a store that is away unless another is given."""
    return Metrics(DepthWatch(depths or Depths()), SystemClock())
