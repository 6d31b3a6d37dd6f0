"""GET /events: what changed, as Server-Sent Events that go on or as pages of JSON. An extension of ours."""

import asyncio
import re
from collections.abc import AsyncGenerator
from contextlib import aclosing
from functools import partial
from typing import Annotated, Final

from fastapi import Header, Query, Request, Response
from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from handoff.api.access import ANALYTICS
from handoff.api.event_schemas import (
    EXAMPLE,
    STREAM_TYPE,
    EventResults,
    event_frames,
    page_of,
    ready_frame,
    silence_frame,
)
from handoff.api.problems import Refuse
from handoff.api.request_log import RequestFacts, facts_of
from handoff.api.resource import Caller, CurrentCaller, resource_router
from handoff.api.responses import refusals
from handoff.api.schemas import Id
from handoff.domain.refusals import Refusal
from handoff.service.feed import After, EventsGone, FeedRefusal, TooManyStreams, UnknownPosition, View
from handoff.service.following import Following

router: Final = resource_router(ANALYTICS, "events (extension)")

_HEADERS: Final = {"cache-control": "no-store", "x-accel-buffering": "no"}
_STREAM: Final = {STREAM_TYPE: {"schema": {"type": "string"}, "example": EXAMPLE}}
_REFUSALS: Final[dict[type[FeedRefusal], Refusal]] = {
    EventsGone: Refusal.EVENTS_GONE,
    UnknownPosition: Refusal.INVALID_REQUEST,
    TooManyStreams: Refusal.OVERLOADED,
}
_LATEST: Final = "latest"
_POSITION: Final = "[0-9]{1,18}"
_is_position = re.compile(_POSITION).fullmatch


@router.get(
    "/events",
    operation_id="followEvents",
    response_model=EventResults,
    response_description="A page, or a stream where `Accept` names `text/event-stream`.",
    responses={200: {"content": _STREAM}, **refusals(Refusal.EVENTS_GONE, Refusal.OVERLOADED)},
    summary="Follow what changes",
)
async def follow_events(
    request: Request,
    caller: CurrentCaller,
    after: Annotated[
        str | None,
        Query(
            description="The id to go on behind, or `latest`: with what happens from now on. Without it a page begins "
            "with the oldest event that is kept, a stream with the next one.",
            examples=["17"],
            json_schema_extra={"pattern": f"^(latest|{_POSITION})$"},
        ),
    ] = None,
    agent_id: Annotated[
        Id | None,
        Query(alias="agentId", description="Only what concerns this agent, who has the session or had it before."),
    ] = None,
    limit: Annotated[int, Query(ge=1, le=1_000, description="Events on a page; a stream has no such limit.")] = 100,
    last_event_id: Annotated[
        str | None, Header(alias="Last-Event-ID", description="On a stream it goes before `after`.")
    ] = None,
) -> Response | EventResults:
    """What became of the stream's sessions and of its org's agents, in the order of commits, without gaps.

    A stream begins with an event `ready` whose id is where it goes on, is silent for 15 seconds at most, and ends
    after 10 minutes or when the server stops: connect again with `Last-Event-ID`. The data of its events are those of
    a page with `at` among them. Ids that events were not shown for are skipped, not missing.
    """
    view = _view(caller, agent_id)
    try:
        if _wants_stream(request):
            start = _start("Last-Event-ID", last_event_id) if last_event_id else _start("after", after or _LATEST)
            return EventStream(await caller.services.feed.follow(view, start), facts_of(request))
        start = "oldest" if after is None else _start("after", after)
        find = partial(caller.services.feed.store.page, view, after=start, limit=limit)
        return page_of(await caller.services.reader.run(find))
    except FeedRefusal as refusal:
        raise Refuse(_REFUSALS[type(refusal)], str(refusal)) from None


def _view(caller: Caller, agent_id: str | None) -> View:
    return View(
        account_id=caller.app.account_id,
        stream_id=caller.stream.stream_id,
        org_id=caller.stream.org_id,
        agent_id=agent_id,
    )


def _wants_stream(request: Request) -> bool:
    ranges = ",".join(request.headers.getlist("accept")).lower().split(",")
    return any(one.partition(";")[0].strip() == STREAM_TYPE for one in ranges)


def _start(name: str, said: str) -> After:
    if said == _LATEST and name == "after":
        return _LATEST
    if not _is_position(said):
        raise Refuse(Refusal.INVALID_REQUEST, f"{name}: send an id of this feed as it came.")
    return int(said)


async def _frames(following: Following) -> AsyncGenerator[bytes, None]:
    told = following.position
    yield ready_frame(told)
    async with aclosing(following.stretches()) as stretches:
        async for stretch in stretches:
            if stretch.events:
                told = stretch.events[-1].position
                yield event_frames(stretch.events)
            else:
                yield silence_frame(stretch.position, told)
                told = stretch.position


class EventStream(StreamingResponse):
    """Sends what happens until the stream's time is over, the server stops, or the reader is gone.

    Under newer versions of ASGI starlette learns that a reader is gone only when it sends the next time, which may be
    long in coming. And a reader that reads nothing may keep it from sending for ever.
    """

    def __init__(self, following: Following, facts: RequestFacts) -> None:
        self._pieces = _frames(following)
        super().__init__(self._pieces, headers=_HEADERS, media_type=STREAM_TYPE)
        self._following = following
        self._facts = facts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer the request."""
        del scope
        sending = asyncio.create_task(self._send_all(send))
        leaving = asyncio.create_task(self.listen_for_disconnect(receive))
        try:
            await asyncio.wait(
                {sending, leaving}, timeout=self._following.longest_s, return_when=asyncio.FIRST_COMPLETED
            )
        finally:
            sending.cancel()
            leaving.cancel()
            await asyncio.wait({sending, leaving})
            self._following.close()
        if sending.cancelled():
            self._facts.code = "disconnected"
        else:
            sending.result()

    async def _send_all(self, send: Send) -> None:
        async with aclosing(self._pieces):
            try:
                await self.stream_response(send)
            except OSError:  # how newer versions of ASGI say that the reader is gone
                self._facts.code = "disconnected"
