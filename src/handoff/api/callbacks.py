"""Callbacks: look, send again, cancel. All of this is an extension of ours."""

from collections.abc import Callable
from functools import partial
from typing import Annotated, Final

from fastapi import Body, Path, Query

from handoff.api.access import ROUTING
from handoff.api.callback_schemas import (
    CallbackDetails,
    CallbackResults,
    Host,
    RedeliveredMany,
    RedeliverMany,
    details_of,
    summary_of,
)
from handoff.api.cursors import read_cursor, write_cursor
from handoff.api.problems import Refuse
from handoff.api.resource import Caller, CurrentCaller, resource_router
from handoff.api.responses import BODY_REFUSALS, refusals
from handoff.api.schemas import WrittenCursor
from handoff.domain.refusals import Refusal
from handoff.service.callbacks import (
    CallbackEnded,
    CallbackFilter,
    CallbackInFlight,
    CallbackNotFound,
    CallbackRefusal,
    CallbackState,
    StoredCallback,
)
from handoff.service.worker import Worker

router: Final = resource_router(ROUTING, "callbacks (extension)")

_REFUSALS: Final[dict[type[CallbackRefusal], Refusal]] = {
    CallbackNotFound: Refusal.CALLBACK_NOT_FOUND,
    CallbackInFlight: Refusal.CALLBACK_IN_FLIGHT,
    CallbackEnded: Refusal.CALLBACK_ENDED,
}
CallbackId = Annotated[str, Path(alias="callbackId", description="The webhook-id.", max_length=160)]


@router.get("/callbacks", response_model=CallbackResults, responses=refusals(), summary="List callbacks")
async def list_callbacks(
    caller: CurrentCaller,
    state: Annotated[CallbackState | None, Query(description="Only those in this state.")] = None,
    host: Annotated[Host | None, Query(description="Only those for this host, `name` or `name:port`.")] = None,
    since: Annotated[int | None, Query(ge=0, description="Only those recorded at or after this, epoch ms.")] = None,
    limit: Annotated[int, Query(ge=1, le=200, description="Results on a page.")] = 50,
    cursor: Annotated[WrittenCursor | None, Query(description="The nextCursor of the page before.")] = None,
) -> CallbackResults:
    """The stream's callbacks, the newest first."""
    before = None if cursor is None else read_cursor(cursor)[0]
    wanted = CallbackFilter(state=state, host=host, since=since)
    find = partial(caller.services.callbacks.store.find, caller.scope, wanted, before=before, limit=limit)
    page = await caller.services.reader.run(find)
    return CallbackResults(
        results=[summary_of(one) for one in page.callbacks],
        next_cursor=None if page.next_before is None else write_cursor(page.next_before),
    )


@router.get(
    "/callbacks/{callbackId}",
    response_model=CallbackDetails,
    responses=refusals(Refusal.CALLBACK_NOT_FOUND),
    summary="One callback with its attempts",
)
async def show_callback(caller: CurrentCaller, callback_id: CallbackId) -> CallbackDetails:
    """The callback, its message and every attempt that was made."""
    callbacks = caller.services.callbacks
    return await _details(caller, caller.services.reader, partial(callbacks.get, caller.scope, callback_id))


@router.post(
    "/callbacks/{callbackId}/redeliver",
    response_model=CallbackDetails,
    responses=refusals(Refusal.CALLBACK_NOT_FOUND, Refusal.CALLBACK_IN_FLIGHT),
    summary="Send a callback again",
)
async def redeliver_callback(caller: CurrentCaller, callback_id: CallbackId) -> CallbackDetails:
    """Send it now, whatever became of it: under the same `webhook-id`, with a fresh budget of attempts."""
    callbacks = caller.services.callbacks
    return await _details(caller, caller.services.writer, partial(callbacks.redeliver, caller.scope, callback_id))


@router.post(
    "/callbacks/{callbackId}/cancel",
    response_model=CallbackDetails,
    responses=refusals(Refusal.CALLBACK_NOT_FOUND, Refusal.CALLBACK_IN_FLIGHT, Refusal.CALLBACK_ENDED),
    summary="Cancel a callback",
)
async def cancel_callback(caller: CurrentCaller, callback_id: CallbackId) -> CallbackDetails:
    """Never send it again. Only one that is pending can be cancelled; once more changes nothing."""
    callbacks = caller.services.callbacks
    return await _details(caller, caller.services.writer, partial(callbacks.cancel, caller.scope, callback_id))


@router.post(
    "/callbacks/redeliver",
    response_model=RedeliveredMany,
    responses=refusals(*BODY_REFUSALS),
    summary="Send many callbacks again",
)
async def redeliver_callbacks(
    caller: CurrentCaller, wanted: Annotated[RedeliverMany, Body(default_factory=RedeliverMany)]
) -> RedeliveredMany:
    """Send the callbacks that are asked for, up to 1,000 for each request, spread out so that no storm comes of it."""
    before, not_before = (None, 0) if wanted.cursor is None else read_cursor(wanted.cursor)
    step = partial(
        caller.services.callbacks.redeliver_page,
        caller.scope,
        CallbackFilter(state=CallbackState(wanted.state), host=wanted.host, since=wanted.since),
        per_second=wanted.per_second,
        before=before,
        not_before=not_before,
    )
    done = await caller.services.writer.run(step)
    return RedeliveredMany(
        redelivered=done.count,
        last_due_at=done.last_due_at if done.count else None,
        next_cursor=None if done.next_before is None else write_cursor(done.next_before, done.last_due_at),
    )


async def _details(caller: Caller, worker: Worker, work: Callable[[], StoredCallback]) -> CallbackDetails:
    """The callback that the work leaves behind, with its attempts. Raises Refuse."""

    def done() -> CallbackDetails:
        callback = work()
        return details_of(callback, caller.services.callbacks.store.attempts(callback.account_id, callback.callback_id))

    try:
        return await worker.run(done)
    except CallbackRefusal as refusal:
        raise Refuse(_REFUSALS[type(refusal)], refusal.sentence) from None
