"""The feed over HTTP: pages of JSON, streams of Server-Sent Events, and who may see what."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Iterator
from typing import Any

import httpx
import jwt
import pytest
from httpx2 import Response
from sqlalchemy import delete

from conftest import StartService
from handoff import Settings, load_directory
from handoff.api.event_schemas import EXAMPLE
from handoff.domain.event import EventKind
from handoff.store.tables import events
from rigs import api, feed, sample
from rigs.feed import FeedWriter, Frame
from rigs.service import Service

OTHER_STREAM = "st-2"
OTHER_APP = "cs-2"


@pytest.fixture
def loaded(database_url: str) -> Settings:
    """A store with two streams of one account, and another account with a stream of the same id."""
    settings = Settings(database_url=database_url, dispatcher="off")
    directory = feed.directory(sample.app(appId=OTHER_APP, accountId="acc-2", scopes=[feed.ANALYTICS]))
    directory["apps"][0]["streams"] = "*"
    streams = [(sample.ACCOUNT, OTHER_STREAM), ("acc-2", sample.STREAM)]
    directory["streams"] += [{"streamId": stream, "orgId": sample.ORG, "accountId": one} for one, stream in streams]
    load_directory(settings, directory)
    return settings


@pytest.fixture
def writer(loaded: Settings) -> Iterator[FeedWriter]:
    with feed.writer(loaded.database_url) as made:
        yield made


@pytest.fixture
def served(loaded: Settings) -> Iterator[api.Api]:
    with api.serving(loaded) as running:
        yield running


@pytest.fixture
def service(loaded: Settings, start_service: StartService) -> Service:
    return start_service(loaded.database_url, settings={"dispatcher": "off", "event_streams_limit": 3})


def get(served: api.Api, *, headers: dict[str, str] | None = None, path: str = feed.PATH, **params: Any) -> Response:
    return served.client.get(path, headers=headers or sample.headers(), params=params)


def ids(answer: Response) -> list[str]:
    assert answer.status_code == 200, answer.text
    return [one["id"] for one in answer.json()["results"]]


async def take(frames: AsyncIterator[Frame], count: int) -> list[Frame]:
    async with asyncio.timeout(20):
        return [await anext(frames) for _ in range(count)]


def test_a_page_begins_with_the_oldest_event_and_tells_where_to_go_on(served: api.Api, writer: FeedWriter) -> None:
    writer.write(feed.event("a"), feed.event("b"), feed.event("c", kind=EventKind.SESSION_CLOSED))

    answer = get(served, limit=2)
    page = answer.json()

    assert answer.status_code == 200
    assert page == {
        "results": [
            {
                "id": str(position),
                "type": "session.transferred",
                "at": 1_700_000_000_000,
                "data": {"name": name, "agentId": sample.AGENT},
            }
            for position, name in ((1, "a"), (2, "b"))
        ],
        "next": "2",
    }
    assert answer.headers["x-request-id"]
    assert [one["type"] for one in get(served, after=2).json()["results"]] == ["session.closed"]
    assert get(served, after=3).json() == {"results": [], "next": "3"}


def test_the_latest_page_is_empty_and_goes_on_behind_what_there_is(served: api.Api, writer: FeedWriter) -> None:
    writer.write(feed.event(1), feed.event(2))

    assert get(served, after="latest").json() == {"results": [], "next": "2"}


@pytest.mark.parametrize(
    ("params", "name"),
    [
        ({"after": "soon"}, "after"),
        ({"after": "-1"}, "after"),
        ({"after": "²"}, "after"),
        ({"after": "9" * 19}, "after"),
        ({"after": ""}, "after"),
        ({"limit": 0}, "limit"),
        ({"limit": 1_001}, "limit"),
        ({"agentId": "a b"}, "agentId"),
    ],
)
def test_a_parameter_that_is_wrong_is_named(served: api.Api, params: dict[str, Any], name: str) -> None:
    answer = get(served, **params)

    assert api.refusal(answer) == (422, "invalid_request")
    assert answer.json()["detail"].startswith(f"{name}: ")


@pytest.mark.parametrize("accept", ["application/json", "text/event-stream"])
def test_what_is_gone_and_what_has_not_come_are_refused(served: api.Api, writer: FeedWriter, accept: str) -> None:
    writer.write(*(feed.event(number) for number in range(1, 5)))
    with writer.begin() as connection:
        connection.execute(delete(events).where(events.c.position <= 2))
    headers = sample.headers(accept=accept)

    gone, early = get(served, headers=headers, after=1), get(served, headers=headers, after=5)

    assert api.refusal(gone) == (410, "events_gone")
    assert "after=latest" in gone.json()["detail"]
    assert api.refusal(early) == (422, "invalid_request")
    assert ids(get(served)) == ["3", "4"]


def test_a_position_in_the_header_is_checked_like_any_other(served: api.Api) -> None:
    for said in ("x", "latest", "1"):
        headers = sample.headers(accept="text/event-stream", **{"Last-Event-ID": said})

        assert api.refusal(get(served, headers=headers, after="latest")) == (422, "invalid_request")


def test_the_header_means_nothing_to_a_page(served: api.Api, writer: FeedWriter) -> None:
    writer.write(feed.event(1))

    assert ids(get(served, headers=sample.headers(**{"Last-Event-ID": "77"}))) == ["1"]


def test_the_scope_is_needed(served: api.Api, loaded: Settings) -> None:
    load_directory(loaded, {"apps": [sample.app(appId="cs-3", scopes=["Routing", "Configuration"])]})
    token = jwt.encode({"appId": "cs-3"}, sample.SECRET, "HS256")

    assert api.refusal(get(served, headers={"auth": token})) == (403, "scope_missing")


def test_each_stream_each_org_and_each_account_sees_its_own(served: api.Api, writer: FeedWriter) -> None:
    writer.write(
        feed.event("one"),
        feed.event("two", stream_id=OTHER_STREAM),
        feed.event("agent", stream_id=None, kind=EventKind.AGENT_STATUS),
        feed.event("foreign", account_id="acc-2"),
    )
    foreign = {"auth": jwt.encode({"appId": OTHER_APP}, sample.SECRET, "HS256")}

    seen = [
        feed.names(get(served, **asked).json()["results"])
        for asked in ({}, {"path": feed.PATH.replace(sample.STREAM, OTHER_STREAM)}, {"headers": foreign})
    ]

    assert seen == [["one", "agent"], ["two", "agent"], ["foreign"]]
    assert api.refusal(get(served, headers=foreign, after=2)) == (422, "invalid_request")


def test_one_agent_is_followed_and_the_rest_is_skipped(served: api.Api, writer: FeedWriter) -> None:
    writer.write(
        feed.event("got"),
        feed.event("others", agent_id="a-2"),
        feed.event("gave", agent_id="a-2", previous_agent_id=sample.AGENT),
        feed.event("others", agent_id=None),
    )

    page = get(served, agentId=sample.AGENT).json()

    assert feed.names(page["results"]) == ["got", "gave"]
    assert page["next"] == "4"
    assert get(served, agentId="a-unknown").json() == {"results": [], "next": "4"}


@pytest.mark.anyio
async def test_a_stream_shows_what_the_pages_show(service: Service, writer: FeedWriter) -> None:
    writer.write(
        *(feed.event(number, stream_id=OTHER_STREAM if number % 3 else sample.STREAM) for number in range(300)),
        feed.event("Zoë \u2028 \u0085\r\n", kind=EventKind.AGENT_CREATED, stream_id=None),
    )
    async with httpx.AsyncClient(base_url=service.url, timeout=60) as client:
        answer = await client.get(feed.PATH, headers=sample.headers(), params={"limit": 1_000})
    paged = answer.json()["results"]

    async with feed.stream(service.url, after=0) as frames:
        ready, *told = await take(frames, 1 + len(paged))

    assert (ready.kind, ready.id, ready.data, ready.retry) == ("ready", "0", {"id": "0"}, "1000")
    assert [{"id": one.id, "type": one.kind, "at": one.data.pop("at"), "data": one.data} for one in told] == paged
    assert len(paged) == 101


@pytest.mark.anyio
async def test_a_stream_begins_now_or_where_it_is_told_to(service: Service, writer: FeedWriter) -> None:
    writer.write(feed.event("a"), feed.event("b"))
    begun: list[tuple[str | None, list[str]]] = []
    for asked in (
        {},
        {"after": "latest"},
        {"after": "1"},
        {"headers": {"Last-Event-ID": "1"}, "after": "0"},
        {"headers": {"Last-Event-ID": ""}},
    ):
        async with feed.stream(service.url, **asked) as frames:
            (ready,) = await take(frames, 1)
            writer.write(feed.event("next"))
            begun.append((ready.id, feed.names(await take(frames, 1))))

    assert begun == [("2", ["next"]), ("3", ["next"]), ("1", ["b"]), ("1", ["b"]), ("6", ["next"])]


@pytest.mark.anyio
async def test_streams_past_the_limit_are_refused_until_one_is_left(service: Service) -> None:
    async with (
        feed.stream(service.url) as one,
        feed.stream(service.url) as two,
    ):
        await take(one, 1)
        await take(two, 1)
        async with feed.stream(service.url) as three:
            await take(three, 1)
            with pytest.raises(httpx.HTTPStatusError) as caught:
                async with feed.stream(service.url):
                    raise AssertionError
        problem = caught.value.response.json()

        # A client that leaves is noticed at once, though nothing is sent to it.
        async with asyncio.timeout(2):
            while not await _is_taken_up(service):
                pass

    assert (problem["status"], problem["code"]) == (503, "overloaded")
    assert caught.value.response.headers["retry-after"] == "1"


async def _is_taken_up(service: Service) -> bool:
    try:
        async with feed.stream(service.url) as frames:
            await take(frames, 1)
    except httpx.HTTPStatusError:
        return False
    return True


@pytest.mark.anyio
async def test_a_server_that_stops_ends_its_streams_at_once(service: Service, writer: FeedWriter) -> None:
    async with feed.stream(service.url) as frames:
        await take(frames, 1)
        writer.write(feed.event("last"))
        await take(frames, 1)
        began = time.monotonic()
        code = await asyncio.to_thread(service.stop)
        took_s = time.monotonic() - began
        rest = [frame async for frame in frames]

    log = service.log.read_text()
    assert (code, rest) == (0, [])
    assert took_s < 5
    assert "Traceback" not in log
    assert "[error" not in log


def test_a_server_that_stops_waits_for_no_reader_that_does_not_read(service: Service, writer: FeedWriter) -> None:
    for _ in range(20):
        writer.write(*(feed.event(body=b'{"x":"%s"}' % (b"x" * 10_000)) for _ in range(100)))
    with (
        httpx.Client(trust_env=False, timeout=60) as client,
        client.stream(
            "GET",
            service.url + feed.PATH,
            params={"after": 0},
            headers=sample.headers(accept="text/event-stream"),
        ) as response,
    ):
        assert response.status_code == 200
        time.sleep(0.5)
        began = time.monotonic()
        code = service.stop()
        took_s = time.monotonic() - began

    assert code == 0
    assert took_s < 6
    assert "[error" not in service.log.read_text()


def test_a_stream_is_in_the_log_once_it_is_over(service: Service, writer: FeedWriter) -> None:
    del writer
    with httpx.stream(
        "GET", service.url + feed.PATH, headers=sample.headers(accept="text/event-stream, */*;q=0.1"), timeout=60
    ) as response:
        assert response.status_code == 200
        request_id = response.headers["x-request-id"]
        assert response.headers["cache-control"] == "no-store"

    api.until(lambda: request_id in service.log.read_text())
    (line,) = [line for line in service.log.read_text().splitlines() if request_id in line]
    assert "disconnected" in line


def test_the_document_shows_both_media_types(served: api.Api) -> None:
    document = served.client.get("/openapi.json").json()
    operation = document["paths"]["/agentassist/api/v1/public/{streamId}/events"]["get"]

    content = operation["responses"]["200"]["content"]
    shown = [feed.parsed(block) for block in EXAMPLE.strip("\n").split("\n\n")]
    assert content.keys() == {"application/json", "text/event-stream"}
    assert operation["tags"] == ["events (extension)"]
    assert content["text/event-stream"]["example"] == EXAMPLE
    assert [(one.kind, one.id) for one in shown] == [("ready", "16"), ("session.transferred", "17"), (None, None)]
    assert json.dumps(shown[1].data)
