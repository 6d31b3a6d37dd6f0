"""Fixtures that every folder of tests shares: a fresh store of each kind, and the service on it."""

import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from handoff import Settings, load_directory
from handoff.migrating import migrate_store
from rigs import sample
from rigs.postgres import PostgresServer
from rigs.service import Service

StartService = Callable[..., Service]


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """One server for all tests that are not about durability."""
    with PostgresServer() as server:
        yield server


@pytest.fixture(scope="session")
def migrated_postgres_url(postgres: PostgresServer) -> str:
    """A migrated database that tests get copies of."""
    url = postgres.create_database()
    migrate_store(Settings(database_url=url))
    return url


@pytest.fixture
def sqlite_url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/handoff.db"


@pytest.fixture
def postgres_url(postgres: PostgresServer, migrated_postgres_url: str) -> Iterator[str]:
    """A fresh, migrated database."""
    url = postgres.create_database(like=migrated_postgres_url)
    yield url
    postgres.drop_database(url)


@pytest.fixture(params=["sqlite", "postgres"])
def database_url(request: pytest.FixtureRequest) -> str:
    """A fresh store: the test runs once on SQLite and once on PostgreSQL."""
    url: str = request.getfixturevalue(f"{request.param}_url")
    return url


@pytest.fixture(scope="session")
def loaded_postgres_url(postgres: PostgresServer, migrated_postgres_url: str) -> str:
    """A database with the sample's directory, that tests get copies of."""
    url = postgres.create_database(like=migrated_postgres_url)
    load_directory(Settings(database_url=url), sample.directory())
    return url


@pytest.fixture(scope="session")
def loaded_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same in SQLite."""
    file = tmp_path_factory.mktemp("loaded") / "handoff.db"
    load_directory(Settings(database_url=f"sqlite:///{file}"), sample.directory())
    return file


@pytest.fixture(params=["sqlite", "postgres"])
def loaded_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """A fresh store with the sample's directory: the test runs once on SQLite and once on PostgreSQL."""
    if request.param == "sqlite":
        yield f"sqlite:///{shutil.copy(request.getfixturevalue('loaded_file'), tmp_path)}"
        return
    server: PostgresServer = request.getfixturevalue("postgres")
    url = server.create_database(like=request.getfixturevalue("loaded_postgres_url"))
    yield url
    server.drop_database(url)


@pytest.fixture
def settings(loaded_url: str) -> Settings:
    """Settings for a service in the test's own process, with the sample's directory, delivering nothing."""
    return Settings(database_url=loaded_url, dispatcher="off")


@pytest.fixture
def start_service(tmp_path: Path) -> Iterator[StartService]:
    """Start processes that end with the test: `start_service(url, command=…, settings=…)`."""
    with ExitStack() as stack:

        def start(database_url: str, **options: Any) -> Service:
            return stack.enter_context(Service(database_url, folder=tmp_path, **options))

        yield start
