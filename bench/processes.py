"""The processes that a measurement needs, each ended with its block, and a fresh store of each kind."""

import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from handoff import Settings
from handoff.migrating import migrate_store
from rigs.postgres import PostgresServer
from rigs.service import environment

STORES = ("SQLite", "PostgreSQL")


@contextmanager
def sinks(count: int) -> Iterator[list[str]]:
    """The URLs of so many receivers, all in one process."""
    command = [sys.executable, "-m", "bench.sink", str(count)]
    with subprocess.Popen(command, env=environment(""), stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        try:
            yield [f"http://127.0.0.1:{port}/" for port in json.loads(process.stdout.readline())]
        finally:
            process.terminate()


def bare_cpu_s(urls: Sequence[str], messages: int) -> float:
    """CPU seconds of the bare loop for so many messages."""
    command = [sys.executable, "-m", "bench.bare", str(messages), *urls]
    told = subprocess.run(command, env=environment(""), stdout=subprocess.PIPE, check=True).stdout
    return float(json.loads(told)["cpu_s"])


@contextmanager
def fresh_store(kind: str) -> Iterator[tuple[Settings, Path]]:
    """Settings for a migrated store of its own, and a folder that lasts as long; PostgreSQL with fsync, as it comes."""
    with TemporaryDirectory(prefix="handoff-bench-") as folder:
        if kind == "SQLite":
            yield _migrated(f"sqlite:///{folder}/handoff.db"), Path(folder)
            return
        with PostgresServer(durable=True) as server:
            yield _migrated(server.create_database()), Path(folder)


def _migrated(url: str) -> Settings:
    settings = Settings(database_url=url)
    migrate_store(settings)
    return settings
