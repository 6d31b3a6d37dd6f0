"""The feed of events: written past the service, and read as its clients read it."""

import json
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, replace
from typing import Any

import httpx
from sqlalchemy import Connection

from handoff import Settings
from handoff.domain.event import Event, EventKind
from handoff.service.feed import After, FeedStore, View
from handoff.store.batch_postgres import PostgresBatch
from handoff.store.batch_sqlite import SqliteBatch
from handoff.store.engine import is_sqlite, open_reader, open_writer
from handoff.store.events import SqlFeed
from handoff.store.feed import to_feed
from rigs import sample

PATH = f"/agentassist/api/v1/public/{sample.STREAM}/events"
ANALYTICS = "SmartAssist Analytics"
_EVENT = Event(
    account_id=sample.ACCOUNT,
    kind=EventKind.SESSION_TRANSFERRED,
    at=1_700_000_000_000,
    org_id=sample.ORG,
    stream_id=sample.STREAM,
    agent_id=sample.AGENT,
    previous_agent_id=None,
    body=b"{}",
)


def directory(*more_apps: dict[str, Any]) -> sample.Directory:
    """The sample's directory with an app that may read the feed."""
    return sample.directory() | {"apps": [sample.app(scopes=["Routing", ANALYTICS]), *more_apps]}


def event(name: object = "", **changes: Any) -> Event:
    """An event that its `name` tells apart, with some fields as given."""
    made = replace(_EVENT, **changes)
    told = {"name": str(name), "agentId": made.agent_id}
    return replace(made, body=changes.get("body", json.dumps(told, separators=(",", ":")).encode()))


class FeedWriter:
    """Writes events to a store in transactions of its own; `between` is what happens before each commit."""

    def __init__(self, database_url: str) -> None:
        self._engine = open_writer(database_url)
        self._batch = SqliteBatch() if is_sqlite(database_url) else PostgresBatch()

    def write(self, *events: Event, between: Callable[[Connection], object] = lambda _connection: None) -> None:
        with self._engine.begin() as connection:
            self._batch.write(connection, [to_feed(events)])
            between(connection)

    def begin(self) -> Any:
        """A transaction, for the test to end."""
        return self._engine.begin()

    def append(self, connection: Connection, *events: Event) -> None:
        self._batch.write(connection, [to_feed(events)])

    def close(self) -> None:
        self._engine.dispose()


@contextmanager
def writer(database_url: str) -> Iterator[FeedWriter]:
    made = FeedWriter(database_url)
    yield made
    made.close()


def open_store(settings: Settings, **options: int) -> SqlFeed:
    """The feed as it is read."""
    batch = SqliteBatch() if is_sqlite(settings.database_url) else PostgresBatch()
    return SqlFeed(open_reader(settings.database_url), batch, **options)


def walked(store: FeedStore, view: View, after: After = "oldest", limit: int = 3) -> list[int]:
    """The positions of every page up to the end, whose last one names nothing that follows."""
    found: list[int] = []
    while True:
        page = store.page(view, after=after, limit=limit)
        found += [event.position for event in page.events]
        if page.next == after:
            return found
        after = page.next


def names(events: Sequence[Any]) -> list[str]:
    """What tells events apart: stored ones, those of a page or those of a stream."""
    return [_data(one)["name"] for one in events]


def _data(one: Any) -> Any:
    if isinstance(one, Frame):
        return one.data
    return one["data"] if isinstance(one, dict) else json.loads(one.body)


@dataclass(frozen=True, kw_only=True)
class Frame:
    """One block of a stream of Server-Sent Events."""

    kind: str | None = None
    id: str | None = None
    data: Any = None
    comment: str | None = None
    retry: str | None = None


def client(base_url: str) -> httpx.AsyncClient:
    """A client of the service at that URL."""
    return httpx.AsyncClient(base_url=base_url, timeout=30, verify=False, trust_env=False)


@asynccontextmanager
async def stream(
    base_url: str, *, headers: dict[str, str] | None = None, **params: Any
) -> AsyncIterator[AsyncIterator[Frame]]:
    """A stream of the service at that URL. Raises httpx.HTTPStatusError where it is refused."""
    async with client(base_url) as made, stream_of(made, headers=headers, **params) as frames:
        yield frames


@asynccontextmanager
async def stream_of(
    client: httpx.AsyncClient, *, headers: dict[str, str] | None = None, **params: Any
) -> AsyncIterator[AsyncIterator[Frame]]:
    """A stream of this client's, on a connection that ends with it."""
    sent = sample.headers(accept="text/event-stream", **(headers or {}))
    async with client.stream("GET", PATH, headers=sent, params=params) as response:
        if response.status_code != httpx.codes.OK:
            await response.aread()
            response.raise_for_status()
        assert response.headers["content-type"].startswith("text/event-stream")
        yield _frames(response)


async def _frames(response: httpx.Response) -> AsyncIterator[Frame]:
    rest = b""
    async for piece in response.aiter_raw():
        *blocks, rest = (rest + piece).split(b"\n\n")
        for block in blocks:
            yield parsed(block.decode())


def parsed(block: str) -> Frame:
    """The block's fields, by the rules of the specification as far as they are used."""
    fields: dict[str, str] = {}
    for line in block.split("\n"):
        name, _, value = line.partition(":")
        fields[name] = value.removeprefix(" ")
    return Frame(
        kind=fields.get("event"),
        id=fields.get("id"),
        data=json.loads(fields["data"]) if "data" in fields else None,
        comment=fields.get(""),
        retry=fields.get("retry"),
    )
