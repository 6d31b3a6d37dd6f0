"""A real HTTP receiver for callbacks, in a thread of its own, that remembers all it was sent."""

import asyncio
import socket
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Self, TypeAlias

from aiohttp import web
from multidict import CIMultiDictProxy

from rigs.listening import accept_no_more
from rigs.ports import free_port

# Opening and closing a loopback socket takes milliseconds; longer means a broken test run.
_HOUSEKEEPING_TIMEOUT_S = 30.0

# Requests still being answered when a test ends are of no interest to it.
_SHUTDOWN_TIMEOUT_S = 0.1

# More answers that wait at once than a test asks for.
_WORKERS = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Received:
    """One whole request; `path` is as sent, with the query, and `received_at` is in monotonic seconds."""

    method: str
    path: str
    headers: CIMultiDictProxy[str]
    body: bytes
    received_at: float


# A status, or what decides status and headers for each request. A callable runs in a worker thread, so it may
# wait (for a `threading.Event`, say) while other requests are answered; it must end before the test run does.
Answer: TypeAlias = int | Callable[[Received], tuple[int, Mapping[str, str]]]


class Receiver:
    """Listens on loopback while its `with` block lasts; `answer` may change at any time.

    A request is recorded when its body is complete, before it is answered. With `port` a receiver comes back
    where an earlier one was. One object serves one `with` block.
    """

    def __init__(self, *, port: int | None = None, answer: Answer = 200) -> None:
        self.port = free_port() if port is None else port
        self.answer = answer
        self._received: list[Received] = []
        self._arrival = threading.Condition()
        self._opened: Future[Callable[[], object]] = Future()
        self._workers = ThreadPoolExecutor(_WORKERS, thread_name_prefix="receiver-answer")
        self._thread = threading.Thread(target=self._run, name="receiver", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        self._opened.result(_HOUSEKEEPING_TIMEOUT_S)
        return self

    def __exit__(self, *_exc: object) -> None:
        close = self._opened.result()
        close()
        self._thread.join(_HOUSEKEEPING_TIMEOUT_S)
        self._workers.shutdown(wait=False)

    @property
    def received(self) -> list[Received]:
        """All requests so far, in the order in which they were complete."""
        with self._arrival:
            return list(self._received)

    def url(self, path: str = "/") -> str:
        return f"http://127.0.0.1:{self.port}{path}"

    def wait_for(self, n: int, timeout_s: float = 60) -> list[Received]:
        """All requests so far, once there are at least `n`; AssertionError with what came when they stay out."""
        with self._arrival:
            enough = self._arrival.wait_for(lambda: len(self._received) >= n, timeout_s)
            came = list(self._received)
        if not enough:
            told = "\n".join(f"  {one.method} {one.path} {one.body!r}" for one in came) or "  nothing"
            raise AssertionError(f"waited {timeout_s} s for {n} requests, {len(came)} came:\n{told}")
        return came

    def _run(self) -> None:
        asyncio.run(self._serve())

    async def _serve(self) -> None:
        closing = asyncio.Event()
        # The body is kept as sent: a signature covers its bytes.
        server = web.Server(self._handle, access_log=None, auto_decompress=False)
        runner = web.ServerRunner(server, shutdown_timeout=_SHUTDOWN_TIMEOUT_S)
        await runner.setup()
        try:
            listener = socket.create_server(("127.0.0.1", self.port))
            await web.SockSite(runner, listener).start()
            self._opened.set_result(partial(asyncio.get_running_loop().call_soon_threadsafe, closing.set))
            await closing.wait()
            await accept_no_more([listener])
        except OSError as problem:
            self._opened.set_exception(problem)
        finally:
            await runner.cleanup()

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        received = Received(
            method=request.method,
            path=request.raw_path,
            headers=request.headers,
            body=await request.content.read(),  # unlike `request.read()`, without a limit of size
            received_at=time.monotonic(),
        )
        with self._arrival:
            self._received.append(received)
            self._arrival.notify_all()
        status, headers = await self._decide(received)
        return web.Response(status=status, headers=headers)

    async def _decide(self, received: Received) -> tuple[int, Mapping[str, str]]:
        answer = self.answer
        if isinstance(answer, int):
            return answer, {}
        return await asyncio.get_running_loop().run_in_executor(self._workers, answer, received)
