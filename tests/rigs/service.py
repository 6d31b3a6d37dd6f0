"""The service as its users run it: `handoff serve` and `handoff dispatch` as processes of their own."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.error import HTTPError
from urllib.request import urlopen

from rigs.ports import free_port

# Many starts at one time, on a machine that has much else to do.
_START_TIMEOUT_S = 90.0
# Where the programs of the tests are, and those of the measurements.
_PROGRAMS = (Path(__file__).parents[1], Path(__file__).parents[2])
_STOP_TIMEOUT_S = 30.0


def environment(database_url: str, **settings: object) -> dict[str, str]:
    """This process's environment without settings of ours, then those given; programs of tests and bench can be run."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("HANDOFF_")}
    path = [*map(str, _PROGRAMS), *filter(None, [inherited.get("PYTHONPATH")])]
    ours = {"HANDOFF_DATABASE_URL": database_url, "PYTHONPATH": os.pathsep.join(path)}
    ours |= {f"HANDOFF_{name.upper()}": str(value) for name, value in settings.items()}
    return inherited | ours


def _python(command: Sequence[str], port: int) -> list[str]:
    return [sys.executable, "-m", *(word.format(port=port) for word in command)]


class Service:
    """One process of ours while its `with` block lasts.

    `command` is what `python -m` is given; `{port}` in it stands for the port.
    """

    def __init__(
        self,
        database_url: str,
        *,
        folder: Path,
        command: Sequence[str] = ("handoff", "serve"),
        settings: Mapping[str, object] | None = None,
    ) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._folder = folder
        self._command = _python(command, self.port)
        self._environment = environment(database_url, port=self.port, **(settings or {}))
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process is not None:
            self.stop()

    @property
    def log(self) -> Path:
        """Everything the process said."""
        return self._folder / f"service-{self.port}.log"

    @property
    def pid(self) -> int:
        """The process's id."""
        return self._running.pid

    @property
    def _running(self) -> subprocess.Popen[bytes]:
        if self._process is None:
            raise RuntimeError("the service was not started")
        return self._process

    def start(self) -> None:
        """Start the process; a server is waited for until it is ready."""
        self.launch()
        if self._command[-1] != "dispatch":
            self._wait_until_ready()

    def launch(self, command: Sequence[str] | None = None) -> None:
        """Start the process, for this once with another command where one is given, and do not wait for it."""
        words = self._command if command is None else _python(command, self.port)
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(words, cwd=self._folder, env=self._environment, stdout=log, stderr=log)

    def _wait_until_ready(self) -> None:
        deadline = time.monotonic() + _START_TIMEOUT_S
        while time.monotonic() < deadline and self._running.poll() is None:
            try:
                with urlopen(f"{self.url}/readyz") as answer:
                    if answer.status == 200:
                        return
            except HTTPError as refused:
                refused.close()
            except OSError:
                pass
            time.sleep(0.02)
        self.kill()
        raise AssertionError(f"the service did not get ready:\n{self.log.read_text()}")

    def kill(self) -> None:
        """End the process with no chance to tidy up."""
        self._running.kill()
        self._running.wait()

    def wait(self, timeout_s: float = _STOP_TIMEOUT_S) -> int:
        """Wait for the process to end by itself; its exit code."""
        return self._running.wait(timeout_s)

    def stop(self) -> int:
        """SIGTERM, as an orchestrator stops it; the exit code."""
        if self._running.poll() is None:
            self._running.send_signal(signal.SIGTERM)
        try:
            return self.wait()
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError(f"the service did not stop:\n{self.log.read_text()}") from None
