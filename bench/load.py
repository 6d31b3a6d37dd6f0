"""The load generator: connections that each send the next request as soon as the last one is answered.

`python -m bench.load` reads loads as lines of JSON and answers each with a line: `Load` and `Outcome`. It receives the
callbacks too, on the port that its first line tells.
"""

import asyncio
import json
import subprocess
import sys
from array import array
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from time import perf_counter
from typing import Any, cast

import uvloop

from bench import machine
from bench.sink import Sink
from bench.world import Calls
from rigs.service import environment

_END_OF_HEAD = b"\r\n\r\n"
_LENGTH = b"\r\ncontent-length: "
# Longer than any side takes for what it was asked; then something is broken.
_PATIENCE_S = 120.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """`calls` over so many connections, in turn to each port, for `seconds` at most.

    With `has_callbacks` it lasts until a callback has come for each call that was accepted.
    """

    ports: tuple[int, ...]
    connections: int
    calls: Calls
    seconds: float
    has_callbacks: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What came of a load: answers by status, seconds to the last answer, latencies in ms, and its own CPU seconds.

    `delivered_s` is when the last callback came, counted from the first request as well.
    """

    statuses: dict[str, int]
    seconds: float
    p50_ms: float
    p99_ms: float
    cpu_s: float
    delivered_s: float | None = None

    @property
    def count(self) -> int:
        """Answers of any status."""
        return sum(self.statuses.values())

    @property
    def rate(self) -> float:
        """Answers a second."""
        return self.count / self.seconds


class _Run:
    """The requests that are left, and what came of the others."""

    def __init__(self, requests: list[bytes], seconds: float) -> None:
        self.requests = iter(requests)
        self.statuses: Counter[bytes] = Counter()
        self.latencies = array("d")
        self.ended_at = 0.0
        self._left = 0
        self._is_over = asyncio.get_running_loop().create_future()
        self.began_at = perf_counter()
        self.until = self.began_at + seconds

    async def ask(self, callers: "list[_Caller]") -> None:
        """Have all connections send until requests or time run out."""
        self._left = len(callers)
        for caller in callers:
            caller.begin(self)
        await asyncio.wait_for(self._is_over, _PATIENCE_S)

    def leave(self, now: float) -> None:
        """A connection has nothing more to send."""
        self._left -= 1
        if not self._left:
            self.ended_at = now
            self._is_over.set_result(None)

    def fail(self) -> None:
        """A connection broke before its answer."""
        if not self._is_over.done():
            self._is_over.set_exception(ConnectionError("the server closed a connection"))


class _Caller(asyncio.Protocol):
    """One connection."""

    def __init__(self) -> None:
        self._came = b""
        self._run: _Run | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.WriteTransport", transport)  # uvloop's is one, though it does not say so

    def connection_lost(self, _error: Exception | None) -> None:
        if self._run is not None:
            self._run.fail()

    def begin(self, run: _Run) -> None:
        """Send the first request of a run."""
        self._run = run
        self._send(run, perf_counter())

    def data_received(self, data: bytes) -> None:
        now = perf_counter()
        if self._came:
            data = self._came + data
        end_of_head = data.find(_END_OF_HEAD)
        if end_of_head < 0 or len(data) < end_of_head + len(_END_OF_HEAD) + _length_of(data, end_of_head):
            self._came = data
            return
        self._came = b""
        run = self._run
        assert run is not None
        run.statuses[data[9:12]] += 1
        run.latencies.append(now - self._sent_at)
        self._send(run, now)

    def _send(self, run: _Run, now: float) -> None:
        request = next(run.requests, None) if now < run.until else None
        if request is None:
            self._run = None
            run.leave(now)
            return
        self._sent_at = perf_counter()
        self.transport.write(request)


def _length_of(data: bytes, end_of_head: int) -> int:
    start = data.find(_LENGTH, 0, end_of_head)
    if start < 0:
        raise ValueError("an answer without content-length")
    start += len(_LENGTH)
    return int(data[start : data.find(b"\r", start)])


class _Receiver:
    """Counts what is posted, and knows when the last one came."""

    def __init__(self) -> None:
        self._count = 0
        self._wanted = 0
        self._has_all = asyncio.Event()

    def note(self) -> None:
        self._count += 1
        if self._count == self._wanted:
            self._has_all.set()

    async def wait_for(self, more: int) -> float:
        """When so many more than those of earlier loads have come."""
        self._has_all.clear()
        self._wanted += more
        if self._count < self._wanted:
            await asyncio.wait_for(self._has_all.wait(), _PATIENCE_S)
        return perf_counter()


async def _run(load: Load, receiver: _Receiver) -> Outcome:
    loop = asyncio.get_running_loop()
    requests = load.calls.requests()
    callers: list[_Caller] = []
    for place in range(load.connections):
        port = load.ports[place % len(load.ports)]
        callers.append((await loop.create_connection(_Caller, "127.0.0.1", port))[1])
    cpu_before = machine.own_cpu_s()
    run = _Run(requests, load.seconds)
    await run.ask(callers)
    cpu_s = machine.own_cpu_s() - cpu_before
    for caller in callers:
        caller.transport.close()
    delivered_s = None
    if load.has_callbacks:
        delivered_s = await receiver.wait_for(run.statuses[b"200"]) - run.began_at
    latencies = sorted(run.latencies)
    return Outcome(
        statuses={status.decode(): count for status, count in run.statuses.items()},
        seconds=run.ended_at - run.began_at,
        p50_ms=latencies[len(latencies) // 2] * 1_000,
        p99_ms=latencies[len(latencies) * 99 // 100] * 1_000,
        cpu_s=cpu_s,
        delivered_s=delivered_s,
    )


async def _serve() -> None:
    loop = asyncio.get_running_loop()
    receiver = _Receiver()
    server = await loop.create_server(partial(Sink, receiver.note), "127.0.0.1", 0, backlog=256)
    print(server.sockets[0].getsockname()[1], flush=True)
    while line := await loop.run_in_executor(None, sys.stdin.readline):
        told = json.loads(line)
        outcome = await _run(Load(**{**told, "calls": Calls(**told["calls"])}), receiver)
        print(json.dumps(asdict(outcome)), flush=True)


class Generator:
    """The generator's process, as the one who measures sees it."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self._process = process
        self.port = int(self._read())

    @property
    def callback_url(self) -> str:
        """Where it receives callbacks."""
        return f"http://127.0.0.1:{self.port}/"

    def run(self, load: Load) -> Outcome:
        """Have the load run. Raises RuntimeError where the generator fails, which tells why on standard error."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(asdict(load)) + "\n")
        self._process.stdin.flush()
        told: dict[str, Any] = json.loads(self._read())
        return Outcome(**told)

    def _read(self) -> str:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError("the load generator ended")
        return line


@contextmanager
def generator(cores: machine.Cores = machine.OTHERS) -> Iterator[Generator]:
    """A generator that lasts as long as the block."""
    command = [sys.executable, "-m", "bench.load"]
    with machine.on(cores):
        process = subprocess.Popen(
            command, env=environment(""), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
    with process:
        try:
            yield Generator(process)
        finally:
            process.terminate()


if __name__ == "__main__":
    uvloop.run(_serve())
