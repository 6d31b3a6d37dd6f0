"""Recorded transfers, won and refused. All of this is an extension of ours."""

from functools import partial
from typing import Annotated, Final

from fastapi import Path, Query

from handoff.api.access import ANALYTICS
from handoff.api.cursors import read_cursor, write_cursor
from handoff.api.lists import Cursor, Limit, Since
from handoff.api.lookup import looked_up
from handoff.api.resource import CurrentCaller, resource_router
from handoff.api.responses import refusals
from handoff.api.schemas import Id
from handoff.api.transfer_schemas import TransferDetails, TransferResults, details_of, recorded_of
from handoff.domain.refusals import Refusal
from handoff.service.history import Outcome, TransferFilter

router: Final = resource_router(ANALYTICS, "transfers (extension)")

# One for each callbackUrl that repeats of the call named.
_MOST_CALLBACKS: Final = 200

TransferId = Annotated[str, Path(alias="transferId", description="The X-Transfer-Id.", max_length=192)]


@router.get("/transfers", response_model=TransferResults, responses=refusals(), summary="List transfers")
async def list_transfers(
    caller: CurrentCaller,
    session_id: Annotated[Id | None, Query(alias="sessionId", description="Only those of this session.")] = None,
    agent_id: Annotated[Id | None, Query(alias="agentId", description="Only those to this agent, or from it.")] = None,
    outcome: Annotated[Outcome | None, Query(description="Only those with this outcome.")] = None,
    code: Annotated[Id | None, Query(description="Only those refused with this code.")] = None,
    since: Since = None,
    limit: Limit = 50,
    cursor: Cursor = None,
) -> TransferResults:
    """The stream's transfers, the newest first, releases and closes among them."""
    before = None if cursor is None else read_cursor(cursor)[0]
    wanted = TransferFilter(session_id=session_id, agent_id=agent_id, outcome=outcome, code=code, since=since)
    find = partial(caller.services.history.store.find, caller.scope, wanted, before=before, limit=limit)
    page = await caller.services.reader.run(find)
    return TransferResults(
        results=[recorded_of(one) for one in page.transfers],
        next_cursor=None if page.next_from is None else write_cursor(page.next_from),
    )


@router.get(
    "/transfers/{transferId}",
    response_model=TransferDetails,
    responses=refusals(Refusal.TRANSFER_NOT_FOUND),
    summary="One transfer with its callbacks",
)
async def show_transfer(caller: CurrentCaller, transfer_id: TransferId) -> TransferDetails:
    """The transfer, and what became of telling its outcome."""

    def find() -> TransferDetails:
        transfer = caller.services.history.get(caller.scope, transfer_id)
        told = caller.services.callbacks.store.of_transfer(caller.scope, transfer_id, limit=_MOST_CALLBACKS)
        return details_of(transfer, told)

    return await looked_up(caller, find)
