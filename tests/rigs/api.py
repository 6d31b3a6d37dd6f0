"""The service in the test's own process, the store seen from beside it, and the whole shape of a refusal."""

import re
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import pytest
from httpx2 import Response
from sqlalchemy import Engine, Table, delete, func, insert, select, update
from starlette.testclient import TestClient

from handoff import Settings, create_app, load_directory
from handoff.domain.refusals import Refusal
from handoff.migrating import migrate_store
from handoff.store import tables
from handoff.store.engine import open_reader
from rigs import sample

_MEMBERS = {"type", "title", "status", "detail", "code", "errors"}
_HOLDER_MEMBERS = {"agentId", "queueId", "version"}


class Api:
    """The running service and its store; `counts` tells how much is recorded, table by table."""

    def __init__(self, settings: Settings, client: TestClient, store: Engine) -> None:
        self.settings = settings
        self.client = client
        self._store = store

    def post(self, *, headers: Mapping[str, str] | None = None, path: str = sample.PATH, **request: Any) -> Response:
        """The documented call with any body; by default with the documented headers."""
        return self.client.post(path, headers=sample.headers() if headers is None else headers, **request)

    def assign(self, *, headers: Mapping[str, str] | None = None, **changes: Any) -> Response:
        """The documented call, with some fields of its body as given; None leaves one out."""
        return self.post(headers=headers, json=sample.body(**changes))

    def reset(self) -> None:
        """Forget everything but the sample's directory."""
        with self._store.begin() as connection:
            for table in tables.metadata.sorted_tables:
                connection.execute(delete(table))
        load_directory(self.settings, sample.directory())

    def rows(self, table: Table, **where: Any) -> list[dict[str, Any]]:
        """The rows of a table whose columns are as given, in the order of their keys."""
        wanted = select(table).filter_by(**where).order_by(*table.primary_key)
        with self._store.begin() as connection:
            return [dict(row) for row in connection.execute(wanted).mappings()]

    def counts(self) -> dict[str, int]:
        counted = (tables.transfers, tables.callbacks, tables.idempotency_keys)
        with self._store.begin() as connection:
            return {t.name: connection.execute(select(func.count()).select_from(t)).scalar_one() for t in counted}

    def change(self, table: Table, where: Mapping[str, Any], **values: Any) -> None:
        """Write to the one row whose columns are as `where` says, past the service."""
        with self._store.begin() as connection:
            changed = connection.execute(update(table).filter_by(**where).values(**values))
            assert changed.rowcount == 1

    def insert(self, table: Table, *rows: Mapping[str, Any]) -> None:
        """Add rows past the service; of columns that only some of them have the others get none."""
        names = {name for row in rows for name in row}
        with self._store.begin() as connection:
            connection.execute(insert(table), [dict.fromkeys(names) | dict(row) for row in rows])

    def load(self, agent_id: str = sample.AGENT) -> int:
        """The sessions that an agent has, as the store counts them."""
        load: int = self.rows(tables.agents, agent_id=agent_id)[0]["active_sessions"]
        return load


def new_store(request: pytest.FixtureRequest, folders: pytest.TempPathFactory) -> Settings:
    """Settings for a store of the kind that is the fixture's parameter, where one store serves many tests."""
    url = f"sqlite:///{folders.mktemp('store')}/handoff.db"
    if request.param == "postgres":
        url = request.getfixturevalue("postgres").create_database()
    settings = Settings(database_url=url, dispatcher="off")
    migrate_store(settings)
    return settings


def routes(api: Api) -> list[tuple[str, str]]:
    """Every call that needs a token, from the OpenAPI document: its method and its path, of the sample's stream."""
    paths = api.client.get("/openapi.json").json()["paths"]
    return [
        (method.upper(), re.sub(r"{\w+}", "x", path.replace("{streamId}", sample.STREAM)))
        for path, item in paths.items()
        if "{streamId}" in path
        for method in item
    ]


@contextmanager
def serving(settings: Settings, **parts: Any) -> Iterator[Api]:
    """The whole service, from its start to its end; `parts` as for `create_app`."""
    store = open_reader(settings.database_url)
    with TestClient(create_app(settings, **parts)) as client:
        yield Api(settings, client, store)
    store.dispose()


def until(holds: Callable[[], object], timeout_s: float = 20) -> None:
    """Wait until something holds."""
    deadline = time.monotonic() + timeout_s
    while not holds():
        assert time.monotonic() < deadline, "it did not come to hold"
        time.sleep(0.02)


def to_agent(agent_id: str, **changes: Any) -> dict[str, Any]:
    """What changes in the sample's body to name this agent."""
    return {"aId": agent_id, **changes}


def to_queue(queue_id: str, **changes: Any) -> dict[str, Any]:
    """What changes in the sample's body to name this queue."""
    return {"aId": None, "transferredType": "QUEUE", "queueId": queue_id, **changes}


def refusal(response: Response, *, is_recorded: bool | None = None) -> tuple[int, str]:
    """Status and code of a refusal, whose whole shape is looked at on the way.

    Where it is not said whether it is recorded, those of assignments are that can be, and no others.
    """
    assert response.headers["content-type"] == "application/problem+json", response.text
    problem = response.json()
    known = next(one for one in Refusal if one.code == problem["code"])
    assert problem["type"] == f"urn:handoff:problem:{known.code}"
    assert problem["title"] == known.title
    assert problem["status"] == known.status == response.status_code
    assert problem["errors"] == [{"msg": problem["detail"], "code": response.status_code}]
    assert problem["detail"]
    assert problem.keys() - _HOLDER_MEMBERS == _MEMBERS
    assert response.headers["x-request-id"]
    if is_recorded is None:
        is_recorded = known.is_recorded and response.request.url.path.endswith("/assign-conversation")
    assert ("x-transfer-id" in response.headers) == is_recorded
    return response.status_code, known.code
