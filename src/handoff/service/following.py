"""Streams of events that go on: one pump for the whole process, and for each stream no more than its position.

The newest events of every account that somebody follows are kept in a ring that all its streams read from. A stream
that has fallen behind the ring reads pages from the store instead until it is back. How fast it goes is its reader's
affair: nothing is queued for it.
"""

import asyncio
import contextlib
import logging
from bisect import bisect_right
from collections.abc import AsyncGenerator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from typing import Final

from handoff.service.feed import After, EventPage, EventsGone, FeedStore, StoredEvent, TooManyStreams, View
from handoff.service.meter import UNMEASURED, Meter
from handoff.service.ports import StoreError
from handoff.service.worker import Worker

log = logging.getLogger(__name__)

# Events that a stream is handed at once.
_MOST: Final = 100
# Events that a ring keeps: many seconds of a busy account's. All rings together keep no more than some ten thousands,
# about 1 KB each, however many accounts are followed.
_RING_MOST: Final = 1_000
_RING_LEAST: Final = 20
_RINGS_IN_ALL: Final = 20_000
# Commits so close together are looked at as one.
_COALESCE_S: Final = 0.01


@dataclass(frozen=True, slots=True, kw_only=True)
class FollowLimits:
    """How many streams at one time, how long each lasts, how long one is silent, how often the store is asked anyway.

    All but the first in seconds.
    """

    streams: int
    longest_s: float = 600.0
    silence_s: float = 15.0
    poll_s: float = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Stretch:
    """What a stream shows of its account's events up to `position`: maybe nothing."""

    events: Sequence[StoredEvent]
    position: int


class Ring:
    """The newest events of one account, all of those behind a position. `changed` is set, and replaced, by news."""

    def __init__(self, head: int) -> None:
        self.head = head
        self.followers = 0
        self.changed = asyncio.Event()
        self._begins_behind = head
        self._events: list[StoredEvent] = []

    def extend(self, events: Sequence[StoredEvent], head: int, *, keep: int) -> None:
        """Take what has happened up to `head`. What does not join on to the rest takes its place."""
        if not events or events[0].position != self.head + 1:
            self._events.clear()
            self._begins_behind = events[0].position - 1 if events else head
        self._events.extend(events)
        surplus = len(self._events) - keep
        if surplus > 0:
            self._begins_behind = self._events[surplus - 1].position
            del self._events[:surplus]
        self.head = head
        self.ring()

    def ring(self) -> None:
        """Wake the streams."""
        self.changed.set()
        self.changed = asyncio.Event()

    def after(self, position: int) -> Stretch | None:
        """What follows the position, not all at once; None where it is no longer here."""
        if position < self._begins_behind:
            return None
        begin = bisect_right(self._events, position, key=_position_of)
        found = self._events[begin : begin + _MOST]
        is_all = begin + _MOST >= len(self._events)
        return Stretch(events=found, position=self.head if is_all else found[-1].position)


class Following:
    """One stream, from `position` on; to be closed."""

    def __init__(self, feed: "Feed", view: View, ring: Ring, position: int) -> None:
        self.position = position
        self._feed = feed
        self._view = view
        self._ring = ring

    @property
    def longest_s(self) -> float:
        """After so many seconds it has ended, or its reader is not reading."""
        return self._feed.limits.longest_s + self._feed.limits.silence_s

    async def stretches(self) -> AsyncGenerator[Stretch, None]:
        """What happens, with an empty stretch after every silence, until the stream's time is over."""
        loop = asyncio.get_running_loop()
        ends_at = loop.time() + self._feed.limits.longest_s
        speaks_at = loop.time() + self._feed.limits.silence_s
        with contextlib.suppress(EventsGone):  # it is so slow that it has to begin anew
            while self._feed.is_open and loop.time() < ends_at:
                changed = self._ring.changed
                events = await self._next()
                if events or loop.time() >= speaks_at:
                    speaks_at = loop.time() + self._feed.limits.silence_s
                    yield Stretch(events=events, position=self.position)
                elif self.position >= self._ring.head:
                    await _wait(changed, until=min(speaks_at, ends_at))

    async def _next(self) -> Sequence[StoredEvent]:
        if self.position >= self._ring.head:
            return ()
        found = self._ring.after(self.position)
        if found is None:
            return await self._catch_up()
        self.position = found.position
        return [event for event in found.events if self._view.shows(event)]

    async def _catch_up(self) -> Sequence[StoredEvent]:
        """A page from the store. Where that is away, nothing, after a moment."""
        changed = self._ring.changed
        try:
            page = await self._feed.read_behind(self._view, self.position, _MOST)
        except StoreError:
            await _wait(changed, until=asyncio.get_running_loop().time() + self._feed.limits.poll_s)
            return ()
        self.position = page.next
        return page.events

    def close(self) -> None:
        """Follow no more."""
        self._feed.leave(self._view.account_id, self._ring)


class Feed:
    """The streams of this process. All but `store` is for the event loop that it is started in.

    `worker` has two threads: one for the pump, one for the streams that have fallen behind.
    """

    def __init__(self, store: FeedStore, worker: Worker, limits: FollowLimits, meter: Meter = UNMEASURED) -> None:
        self.store = store
        self.limits = limits
        self._worker = worker
        self._meter = meter
        self._rings: dict[str, Ring] = {}
        self._streams = 0
        self._news = asyncio.Event()
        self._behind = asyncio.Lock()
        self._is_ending = False
        self._pump: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to look for events, in the running event loop."""
        self._pump = asyncio.get_running_loop().create_task(self._look_for_ever(), name="feed")

    async def stop(self) -> None:
        """End every stream and look no more."""
        self.end()
        if self._pump is not None:
            self._pump.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._pump

    def end(self) -> None:
        """End every stream, and take up no other."""
        self._is_ending = True
        for ring in self._rings.values():
            ring.ring()

    @property
    def is_open(self) -> bool:
        """Whether events are looked for, and streams taken up."""
        return self._pump is not None and not self._pump.done() and not self._is_ending

    def wake(self) -> None:
        """Look at once, if anybody follows: events were written, here or elsewhere."""
        if self._rings:
            self._news.set()

    async def follow(self, view: View, after: After) -> Following:
        """A stream from there on. Raises EventsGone, UnknownPosition, TooManyStreams and StoreError."""
        if not self.is_open:
            raise TooManyStreams("the service is shutting down")
        if self._streams >= self.limits.streams:
            raise TooManyStreams(f"{self._streams} streams are open already")
        with ExitStack() as stack:
            self._count(+1)
            stack.callback(self._count, -1)
            position = await self._worker.run(partial(self.store.locate, view.account_id, after))
            stack.pop_all()
        ring = self._rings.setdefault(view.account_id, Ring(position))
        ring.followers += 1
        self.wake()  # for what was written since the store was asked
        return Following(self, view, ring, position)

    def leave(self, account_id: str, ring: Ring) -> None:
        """One stream less."""
        self._count(-1)
        ring.followers -= 1
        if ring.followers == 0:
            del self._rings[account_id]

    async def read_behind(self, view: View, after: int, limit: int) -> EventPage:
        """A page for a stream that has fallen behind, one at a time. Raises EventsGone and StoreError."""
        async with self._behind:
            return await self._worker.run(partial(self.store.page, view, after=after, limit=limit))

    def _count(self, change: int) -> None:
        self._streams += change
        self._meter.streaming(self._streams)

    async def _look_for_ever(self) -> None:
        try:
            while True:
                await self._rest()
                try:
                    await self._look()
                except StoreError as error:
                    log.warning("feed not read", extra={"reason": str(error)})
                    self._meter.store_failed("feed")
                    await asyncio.sleep(self.limits.poll_s)
                await asyncio.sleep(_COALESCE_S)
        finally:
            self.end()

    async def _rest(self) -> None:
        """Until there is news, or it is time to look anyway; while nobody follows, until somebody does."""
        poll_s = self.limits.poll_s if self._rings else None
        await _wait(self._news, until=None if poll_s is None else asyncio.get_running_loop().time() + poll_s)
        self._news.clear()

    async def _look(self) -> None:
        followed = dict(self._rings)
        if not followed:
            return
        keep = max(_RING_LEAST, min(_RING_MOST, _RINGS_IN_ALL // len(followed)))
        heads = await self._worker.run(partial(self.store.heads, list(followed)))
        for account_id, ring in followed.items():
            head = heads.get(account_id, 0)
            if head > ring.head:
                after = max(ring.head, head - keep)
                events = await self._worker.run(partial(self.store.between, account_id, after, head))
                ring.extend(events, head, keep=keep)


def _position_of(event: StoredEvent) -> int:
    return event.position


async def _wait(event: asyncio.Event, *, until: float | None) -> None:
    """Until the event is set, but no longer than to that time of the event loop."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout_at(until):
            await event.wait()
