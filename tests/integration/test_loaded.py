"""What a server holds in memory: what it works with, and nothing that only another would need."""

import json
import subprocess
import sys

from handoff import Settings, load_directory
from rigs import sample
from rigs.service import environment

# Of the other database, of the dispatcher, of what is measured, and of what a store that is ready has no need of.
SQLITE = {"sqlite3", "handoff.store.engine_sqlite"}
POSTGRES = {"psycopg", "handoff.store.engine_postgres"}
DISPATCHER = {"aiohttp", "handoff.delivery.sender"}
METRICS = {"prometheus_client"}
OTHERS = {"alembic", "structlog", "redis"}

PROGRAM = """
import json, sys
before = set(sys.modules)
import handoff.cli.serve
from handoff import Settings, create_app
from handoff.telemetry.logs import configure_logs
from rigs import sample
from starlette.testclient import TestClient
configure_logs("json", "INFO")
with TestClient(create_app(Settings(**json.loads(sys.argv[1])))) as client:
    status = client.post(sample.PATH, headers=sample.headers(), json=sample.body()).status_code
print(json.dumps([status, sorted(set(sys.modules) - before)]))
"""


def loaded(database_url: str, **settings: object) -> set[str]:
    """The modules of a server that has answered a call."""
    load_directory(Settings(database_url=database_url), sample.directory())
    command = [sys.executable, "-c", PROGRAM, json.dumps({"database_url": database_url, **settings})]
    told = subprocess.run(command, env=environment(database_url), check=True, stdout=subprocess.PIPE).stdout
    status, modules = json.loads(told)
    assert status == 200
    return set(modules)


def test_on_sqlite_a_server_holds_nothing_of_postgresql_nor_the_client_if_it_does_not_deliver(
    sqlite_url: str,
) -> None:
    found = loaded(sqlite_url, dispatcher="off")

    assert found & (POSTGRES | DISPATCHER | METRICS | OTHERS) == set()
    assert "handoff.store.engine_sqlite" in found  # the driver itself is there already where coverage is measured


def test_on_postgresql_a_server_holds_nothing_of_sqlite_nor_the_client_if_it_does_not_deliver(
    postgres_url: str,
) -> None:
    found = loaded(postgres_url, dispatcher="off")

    assert found & (SQLITE | DISPATCHER | METRICS | OTHERS) == set()
    assert found >= POSTGRES


def test_a_server_that_delivers_holds_the_client_of_callbacks(sqlite_url: str) -> None:
    found = loaded(sqlite_url, dispatcher="inline")

    assert found >= DISPATCHER
    assert found & (POSTGRES | METRICS | OTHERS) == set()
