"""How a stream of events ends, in messages of ASGI: its reader leaves or reads nothing, or its time is over."""

import asyncio
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import Any

import pytest
from starlette.types import Message

from handoff import Settings, load_directory
from handoff.api.events import EventStream
from handoff.api.request_log import RequestFacts
from handoff.service.feed import View
from handoff.service.following import Feed, FollowLimits
from handoff.service.worker import Worker
from rigs import feed, sample

pytestmark = pytest.mark.anyio
VIEW = View(account_id=sample.ACCOUNT, stream_id=sample.STREAM, org_id=sample.ORG)


@pytest.fixture
def loaded(sqlite_url: str) -> Settings:
    settings = Settings(database_url=sqlite_url)
    load_directory(settings, feed.directory())
    return settings


@asynccontextmanager
async def running(settings: Settings, **limits: Any) -> AsyncIterator[Feed]:
    """A feed that has room for one stream."""
    store = feed.open_store(settings)
    with ThreadPoolExecutor(2) as threads:
        hub = Feed(store, Worker(threads), FollowLimits(**{"streams": 1, "poll_s": 0.05} | limits))
        hub.start()
        yield hub
        await hub.stop()
    store.close()


class Reader:
    """The other end of an answer: what it was sent, and when it leaves."""

    def __init__(self) -> None:
        self.sent: list[Message] = []
        self.is_gone = asyncio.Event()

    async def receive(self) -> Message:
        await self.is_gone.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: Message) -> None:
        self.sent.append(message)

    async def fail(self, message: Message) -> None:
        """As servers of ASGI 2.4 do where the reader is gone."""
        await self.send(message)
        if message["type"] == "http.response.body":
            raise OSError

    async def hang(self, message: Message) -> None:
        """As servers do where the reader does not read."""
        await self.send(message)
        if message["type"] == "http.response.body":
            await asyncio.Event().wait()

    @property
    def text(self) -> str:
        return b"".join(message.get("body", b"") for message in self.sent).decode()


async def answer(hub: Feed, reader: Reader, send: Any) -> RequestFacts:
    """Serve a stream to its end, which leaves its place to another."""
    facts = RequestFacts()
    async with asyncio.timeout(60):
        await EventStream(await hub.follow(VIEW, "latest"), facts)({"type": "http"}, reader.receive, send)
        (await hub.follow(VIEW, "latest")).close()
    return facts


async def test_a_stream_whose_time_is_over_is_a_complete_answer_that_spoke_up(loaded: Settings) -> None:
    async with running(loaded, longest_s=1.0, silence_s=0.4) as hub:
        reader = Reader()
        facts = await answer(hub, reader, reader.send)

    head, ready, *_, end = reader.sent
    assert (head["status"], facts.code) == (200, None)
    assert ready["body"].startswith(b"retry: 1000\nid: 0\nevent: ready\n")
    assert 1 <= reader.text.count(": keep-alive\n\n") <= 2
    assert (end["body"], end["more_body"]) == (b"", False)


async def test_a_reader_that_leaves_ends_its_stream_at_once(loaded: Settings) -> None:
    async with running(loaded) as hub:
        reader = Reader()
        asyncio.get_running_loop().call_later(0.1, reader.is_gone.set)
        facts = await answer(hub, reader, reader.send)

    assert facts.outcome == "disconnected"
    assert reader.sent[-1]["more_body"]


async def test_a_reader_that_is_found_gone_by_sending_ends_its_stream(loaded: Settings) -> None:
    async with running(loaded) as hub:
        reader = Reader()
        facts = await answer(hub, reader, reader.fail)

    assert facts.outcome == "disconnected"
    assert len(reader.sent) == 2


async def test_a_reader_that_never_reads_is_not_waited_for_past_the_streams_time(loaded: Settings) -> None:
    async with running(loaded, longest_s=0.2, silence_s=0.1) as hub:
        reader = Reader()
        facts = await answer(hub, reader, reader.hang)

    assert facts.outcome == "disconnected"
    assert len(reader.sent) == 2


async def test_a_mistake_while_sending_is_told_to_the_server(loaded: Settings) -> None:
    async def stumble(_message: Message) -> None:
        raise ZeroDivisionError

    async with running(loaded) as hub:
        with pytest.raises(ZeroDivisionError):
            await answer(hub, Reader(), stumble)
        (await hub.follow(VIEW, "latest")).close()


async def test_ids_move_on_past_events_that_are_not_shown(loaded: Settings) -> None:
    async with running(loaded, longest_s=2.0, silence_s=0.3) as hub:
        reader = Reader()
        with feed.writer(loaded.database_url) as writer:
            serving = asyncio.create_task(answer(hub, reader, reader.send))
            await asyncio.sleep(0.1)
            writer.write(feed.event("shown"), feed.event("another stream's", stream_id="st-2"))
            await serving

    frames = [feed.parsed(block) for block in reader.text.strip("\n").split("\n\n")]
    assert [(one.id, one.kind) for one in frames[:3]] == [("0", "ready"), ("1", "session.transferred"), ("2", None)]
    assert {(one.id, one.comment) for one in frames[3:]} <= {(None, "keep-alive")}
