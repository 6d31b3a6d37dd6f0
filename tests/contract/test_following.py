"""Streams of events: what they show, how they catch up, when they end; on both databases."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import Any

import pytest
from sqlalchemy import delete, text

from handoff import Settings
from handoff.service.feed import EventsGone, StoredEvent, TooManyStreams, UnknownPosition, View
from handoff.service.following import Feed, Following, FollowLimits, Ring, Stretch
from handoff.service.worker import Worker
from handoff.store.tables import events
from rigs import feed, sample
from rigs.feed import FeedWriter
from rigs.metrics import Series, metrics, read

pytestmark = pytest.mark.anyio
VIEW = View(account_id=sample.ACCOUNT, stream_id=sample.STREAM, org_id=sample.ORG)
WAIT_S = 60


@pytest.fixture
def writer(stored: Settings) -> Iterator[FeedWriter]:
    with feed.writer(stored.database_url) as made:
        yield made


@asynccontextmanager
async def running(stored: Settings, **limits: Any) -> AsyncIterator[Feed]:
    """A feed of this process that nobody wakes."""
    store = feed.open_store(stored)
    with ThreadPoolExecutor(2) as threads:
        made = Feed(store, Worker(threads), FollowLimits(**{"streams": 10, "poll_s": 0.05} | limits))
        made.start()
        yield made
        await made.stop()
    store.close()


async def shown(following: Following, count: int) -> list[StoredEvent]:
    """The next so many events, in the order in which they are shown."""
    found: list[StoredEvent] = []
    async with asyncio.timeout(WAIT_S):
        async for stretch in following.stretches():
            found += stretch.events
            if len(found) >= count:
                break
    return found


async def stretches(following: Following) -> list[Stretch]:
    """All of them, to the stream's end."""
    async with asyncio.timeout(WAIT_S):
        return [stretch async for stretch in following.stretches()]


def many(count: int, begin: int = 0, **changes: Any) -> list[Any]:
    return [feed.event(number, **changes) for number in range(begin, begin + count)]


async def first_stretch(following: Following) -> Stretch:
    async with asyncio.timeout(WAIT_S):
        async for stretch in following.stretches():
            return stretch
    raise AssertionError("the stream has ended")


async def test_a_stream_shows_what_happens_after_it_began(writer: FeedWriter, stored: Settings) -> None:
    writer.write(feed.event("before"))
    async with running(stored) as hub:
        following = await hub.follow(VIEW, "latest")
        begins_at = following.position
        writer.write(feed.event("after"), feed.event("another stream's", stream_id="st-2"))
        writer.write(feed.event("later"))

        assert begins_at == 1
        assert feed.names(await shown(following, 2)) == ["after", "later"]
        following.close()


async def test_who_is_woken_does_not_wait_for_the_poll(writer: FeedWriter, stored: Settings) -> None:
    async with running(stored, poll_s=1_000.0) as hub:
        following = await hub.follow(VIEW, "latest")
        reading = asyncio.create_task(shown(following, 1))
        await asyncio.sleep(0.2)
        writer.write(feed.event("news"))
        hub.wake()

        assert feed.names(await reading) == ["news"]
        following.close()


async def test_a_stream_that_begins_in_the_past_catches_up_and_goes_on(writer: FeedWriter, stored: Settings) -> None:
    writer.write(*many(2_500))
    async with running(stored) as hub:
        ahead = await hub.follow(VIEW, "latest")
        following = await hub.follow(VIEW, 5)
        found = await shown(following, 2_495)
        writer.write(*many(10, begin=2_500))
        found += await shown(following, 10)

        assert [one.position for one in found] == list(range(6, 2_511))
        assert feed.names(await shown(ahead, 10)) == [str(number) for number in range(2_500, 2_510)]
        following.close()
        ahead.close()


async def test_a_stream_that_is_not_read_misses_nothing_and_keeps_nothing(writer: FeedWriter, stored: Settings) -> None:
    async with running(stored) as hub:
        slow, quick = await hub.follow(VIEW, "latest"), await hub.follow(VIEW, "latest")
        for begin in range(0, 3_000, 300):
            writer.write(*many(300, begin))
            await shown(quick, 300)
        (ring,) = hub._rings.values()  # noqa: SLF001 (what is kept, no caller sees)
        kept = len(ring._events)  # noqa: SLF001
        found = await shown(slow, 3_000)

        assert kept == 1_000
        assert [one.position for one in found] == list(range(1, 3_001))
        slow.close()
        quick.close()


async def test_a_silent_stream_speaks_up_and_moves_on_past_what_it_does_not_show(
    writer: FeedWriter, stored: Settings
) -> None:
    async with running(stored, silence_s=0.5) as hub:
        following = await hub.follow(VIEW, "latest")
        began = time.monotonic()
        found = [await first_stretch(following)]
        for _ in range(5):
            writer.write(feed.event("another stream's", stream_id="st-2"))
            await asyncio.sleep(0.01)
        async with asyncio.timeout(WAIT_S):
            async for stretch in following.stretches():
                found.append(stretch)
                if stretch.position == 5:
                    break
        silences = (time.monotonic() - began) / 0.5

        assert [event for stretch in found for event in stretch.events] == []
        assert found[0].position == 0
        assert 2 <= len(found) <= silences
        following.close()


async def test_a_stream_ends_when_its_time_is_over_however_much_happens(writer: FeedWriter, stored: Settings) -> None:
    writer.write(*many(500))
    async with running(stored, longest_s=1.0) as hub:
        quiet, busy = await hub.follow(VIEW, "latest"), await hub.follow(VIEW, "oldest")
        found = 0
        async for _ in busy.stretches():
            found += 1
            await asyncio.sleep(0.3)

        assert await stretches(quiet) == []
        assert 0 < found < 5


async def test_streams_are_counted_and_the_last_one_takes_its_accounts_events_with_it(
    writer: FeedWriter, stored: Settings
) -> None:
    async with running(stored, streams=2) as hub:
        one, two = await hub.follow(VIEW, "latest"), await hub.follow(VIEW, "latest")
        with pytest.raises(TooManyStreams, match="2 streams are open"):
            await hub.follow(VIEW, "latest")
        one.close()
        three = await hub.follow(VIEW, "latest")
        two.close()
        writer.write(feed.event("still"))
        still = await shown(three, 1)
        three.close()

        assert feed.names(still) == ["still"]
        assert hub._rings == {}  # noqa: SLF001


async def test_a_stream_that_is_refused_takes_no_place(writer: FeedWriter, stored: Settings) -> None:
    writer.write(*many(3))
    with writer.begin() as connection:
        connection.execute(delete(events).where(events.c.position <= 2))
    async with running(stored, streams=1) as hub:
        for _ in range(3):
            with pytest.raises(EventsGone):
                await hub.follow(VIEW, 1)
            with pytest.raises(UnknownPosition):
                await hub.follow(VIEW, 4)
        following = await hub.follow(VIEW, 2)

        assert feed.names(await shown(following, 1)) == ["2"]
        following.close()


async def test_when_the_feed_ends_so_do_its_streams_and_no_other_begins(stored: Settings) -> None:
    async with running(stored) as hub:
        following = await hub.follow(VIEW, "latest")
        reading = asyncio.create_task(stretches(following))
        await asyncio.sleep(0.1)
        hub.end()
        found = await reading

        assert found == []
        assert not hub.is_open
        with pytest.raises(TooManyStreams):
            await hub.follow(VIEW, "latest")
        following.close()


async def test_a_stream_whose_events_were_purged_under_it_ends(writer: FeedWriter, stored: Settings) -> None:
    writer.write(*many(1_500))
    async with running(stored) as hub:
        ahead = await hub.follow(VIEW, "latest")
        writer.write(*many(1))
        await shown(ahead, 1)
        following = await hub.follow(VIEW, "oldest")
        with writer.begin() as connection:
            connection.execute(delete(events).where(events.c.position <= 200))

        assert await stretches(following) == []
        following.close()
        ahead.close()


async def test_a_store_that_is_away_for_a_while_costs_no_event(writer: FeedWriter, stored: Settings) -> None:
    writer.write(*many(1_200))
    async with running(stored) as hub:
        ahead = await hub.follow(VIEW, "latest")
        behind = await hub.follow(VIEW, "oldest")
        reading = [asyncio.create_task(shown(one, count)) for one, count in ((ahead, 1), (behind, 1_201))]
        _rename(writer, "events", "elsewhere")
        await asyncio.sleep(0.3)
        _rename(writer, "elsewhere", "events")
        writer.write(feed.event("back"))
        last, everything = [await task for task in reading]

        assert feed.names(last) == ["back"]
        assert [one.position for one in everything] == list(range(1, 1_202))
        ahead.close()
        behind.close()


async def test_accounts_are_followed_apart(writer: FeedWriter, stored: Settings) -> None:
    other = View(account_id="acc-2", stream_id=sample.STREAM, org_id=sample.ORG)
    async with running(stored) as hub:
        here, there = await hub.follow(VIEW, "latest"), await hub.follow(other, "latest")
        writer.write(feed.event("here"), feed.event("there", account_id="acc-2"), feed.event("here too"))

        assert feed.names(await shown(here, 2)) == ["here", "here too"]
        assert [(one.position, *feed.names([one])) for one in await shown(there, 1)] == [(1, "there")]
        here.close()
        there.close()


async def test_the_meter_is_told_of_every_stream(stored: Settings) -> None:
    meter = metrics()
    series: list[Series] = []
    store = feed.open_store(stored)
    with ThreadPoolExecutor(2) as threads:
        hub = Feed(store, Worker(threads), FollowLimits(streams=10), meter)
        hub.start()
        one, two = await hub.follow(VIEW, "latest"), await hub.follow(VIEW, "latest")
        series.append(read(meter))
        one.close()
        two.close()
        series.append(read(meter))
        await hub.stop()
    store.close()

    assert [one["handoff_event_streams"] for one in series] == [2, 0]


async def test_a_ring_takes_what_does_not_join_on_in_place_of_the_rest() -> None:
    ring = Ring(0)
    ring.extend(_stored(1, 2, 3), 3, keep=10)
    ring.extend(_stored(7, 8), 8, keep=10)

    assert ring.after(5) is None
    assert _shown(ring, 6) == ([7, 8], 8)
    ring.extend([], 12, keep=10)
    assert ring.after(11) is None


async def test_a_ring_keeps_the_newest_and_hands_out_so_many() -> None:
    ring = Ring(10)
    changed = ring.changed
    ring.extend(_stored(*range(11, 311)), 310, keep=250)

    assert ring.after(59) is None
    assert _shown(ring, 60) == (list(range(61, 161)), 160)
    assert _shown(ring, 260) == (list(range(261, 311)), 310)
    assert _shown(ring, 310) == ([], 310)
    assert changed.is_set()
    assert not ring.changed.is_set()


async def test_a_gap_that_should_not_be_holds_no_stream_up() -> None:
    ring = Ring(0)
    ring.extend(_stored(1, 2, 5), 7, keep=10)

    assert _shown(ring, 1) == ([2, 5], 7)


def _shown(ring: Ring, after: int) -> tuple[list[int], int]:
    found = ring.after(after)
    assert found is not None
    return [event.position for event in found.events], found.position


def _stored(*positions: int) -> list[StoredEvent]:
    same: dict[str, Any] = {"kind": "", "at": 0, "org_id": "", "stream_id": None, "agent_id": None}
    return [StoredEvent(position=one, previous_agent_id=None, body=b"{}", **same) for one in positions]


def _rename(writer: FeedWriter, old: str, new: str) -> None:
    with writer.begin() as connection:
        connection.execute(text(f"ALTER TABLE {old} RENAME TO {new}"))
