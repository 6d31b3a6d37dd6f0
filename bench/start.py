"""From starting `handoff serve` to its first answer.

`python -m bench.start` starts it again and again, on a store that is new each time and on one that is there.
"""

import http.client
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory

from bench import machine, report, world
from bench.rounds import spread
from bench.sides import sides
from rigs import sample
from rigs.ports import free_port
from rigs.service import environment

_GIVE_UP_S = 30.0
_POLL_S = 0.002


def start_once(url: str, *, path: str = "/readyz", body: str | None = None) -> tuple[float, float]:
    """Seconds from the start of the process to a 200 of `/readyz` or of a call with this body; and its CPU seconds."""
    port = free_port()
    # As installed: with byte code.
    variables = environment(url, port=port, dispatcher="off") | {"PYTHONDONTWRITEBYTECODE": ""}
    headers = {"auth": world.signed(world.app_id(0), 0), "content-type": "application/json"}
    with TemporaryDirectory() as folder, machine.on(machine.BOTH):
        began = time.perf_counter()
        command = [sys.executable, "-m", "handoff", "serve"]
        with (
            (Path(folder) / "log").open("wb") as log,
            subprocess.Popen(command, cwd=folder, env=variables, stdout=log, stderr=log) as process,
        ):
            try:
                while time.perf_counter() < began + _GIVE_UP_S:
                    if _answers(port, path, body, headers):
                        return time.perf_counter() - began, machine.cpu_s([process.pid])
                    time.sleep(_POLL_S)
                raise RuntimeError("the service did not start")
            finally:
                process.terminate()


def _answers(port: int, path: str, body: str | None, headers: dict[str, str]) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port)
    try:
        connection.request("POST" if body else "GET", path, body, headers)
        return connection.getresponse().status == 200
    except OSError:
        return False
    finally:
        connection.close()


def rows(stack: ExitStack, rounds: int) -> Iterator[Sequence[str]]:
    """A row for each way to start."""
    start = stack.enter_context(sides(machine.BOTH, {1: 10}))
    stores = {f"{kind}, filled, first call answered": start.store(kind) for kind in ("SQLite", "PostgreSQL")}
    body = (
        f'{{"callbackUrl": "http://127.0.0.1:9/", "orgId": "{world.org_id(0)}", "aId": "{world.agent_id(0)}", '
        f'"botSessionId": "{world.session_id(0)}"}}'
    )
    path = sample.PATH.replace(sample.STREAM, world.stream_id(0))
    for name, url in stores.items():
        yield _row(name, [start_once(url, path=path, body=body) for _ in range(rounds)])
    folder = stack.enter_context(TemporaryDirectory())
    fresh = [start_once(f"sqlite:///{folder}/{number}.db") for number in range(rounds)]
    yield _row("SQLite, no store yet, ready", fresh)


def _row(name: str, starts: Sequence[tuple[float, float]]) -> Sequence[str]:
    return name, *(spread(figures) for figures in zip(*starts, strict=True))


def main() -> None:
    chosen = report.parser("start").parse_args()
    told = report.Report("start", "Start", "Seconds from starting the process to the first 200, asked every 2 ms.")
    with ExitStack() as stack:
        told.table(("store", "seconds", "of CPU"), rows(stack, chosen.rounds))
    if chosen.keep:
        told.keep()


if __name__ == "__main__":
    main()
