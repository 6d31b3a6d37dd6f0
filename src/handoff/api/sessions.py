"""Opening, closing and releasing sessions, and what was tried with them. All of this is an extension of ours."""

from functools import partial
from typing import Annotated, Any, Final, Literal

from fastapi import Body, Response

from handoff.api.access import ANALYTICS, CONFIGURATION
from handoff.api.conversation_objects import conversation_of
from handoff.api.conversation_schemas import Conversation, MoveSession, OpenSession
from handoff.api.conversations import SessionId
from handoff.api.cursors import read_cursor, write_cursor
from handoff.api.lists import Cursor, Limit
from handoff.api.lookup import looked_up
from handoff.api.problems import Refuse
from handoff.api.resource import Caller, CurrentCaller, resource_router
from handoff.api.responses import BODY_REFUSALS, OUTCOME_HEADERS, refusals
from handoff.api.transfer_schemas import TransferResults, recorded_of
from handoff.domain import message
from handoff.domain.ids import is_id
from handoff.domain.model import MoveRequest, OpenRequest, TargetKind
from handoff.domain.refusals import Refusal
from handoff.service.outcomes import SessionRefused

_TAG: Final = "sessions (extension)"

router: Final = resource_router(CONFIGURATION, _TAG)
history_router: Final = resource_router(ANALYTICS, _TAG)

_CREATED: Final = 201
_ETAG: Final = {name: header for name, header in OUTCOME_HEADERS.items() if name != "X-Transfer-Id"}
_MOVED: Final[dict[int | str, dict[str, Any]]] = {
    200: {"headers": OUTCOME_HEADERS, "description": "As it is now. X-Transfer-Id only where this call changed it."}
}
_NOT_MOVED: Final = (*BODY_REFUSALS, Refusal.SESSION_NOT_FOUND, Refusal.HOLDER_CHANGED, Refusal.OVERLOADED)


@router.post(
    "/conversations",
    response_model=Conversation,
    responses={
        200: {"headers": _ETAG, "description": "It was open already, and is as it was."},
        _CREATED: {"headers": _ETAG, "description": "It is open now, and with the bot.", "model": Conversation},
        **refusals(*BODY_REFUSALS, Refusal.ORG_NOT_FOUND, Refusal.SESSION_ID_TAKEN, Refusal.OVERLOADED),
    },
    summary="Open a session",
)
async def open_session(caller: CurrentCaller, opening: OpenSession, response: Response) -> Conversation:
    """Let a bot session be known, so that it can be assigned. Again, it changes nothing, whatever else is said."""
    if opening.org_id not in {None, caller.stream.org_id}:
        detail = f"Stream {caller.stream.stream_id} does not belong to org {opening.org_id}."
        raise Refuse(Refusal.ORG_NOT_FOUND, detail)
    request = OpenRequest(
        account_id=caller.app.account_id,
        app_id=caller.app.app_id,
        stream_id=caller.stream.stream_id,
        org_id=caller.stream.org_id,
        session_id=opening.session_id,
        source=opening.source,
        language=opening.language,
        profile=opening.profile(),
        request_id=caller.facts.request_id,
    )
    try:
        opened = await caller.services.open_session(request)
    except SessionRefused as refused:
        raise _refuse(refused) from None
    caller.facts.note_repeat(is_repeat=not opened.is_new)
    if opened.is_new:
        response.status_code = _CREATED
    return await _as_it_is(caller, opening.session_id, response)


@router.post(
    "/conversations/sessions/{botSessionId}/close",
    response_model=Conversation,
    responses={**_MOVED, **refusals(*_NOT_MOVED)},
    summary="Close a session",
)
async def close_session(
    caller: CurrentCaller,
    session_id: SessionId,
    response: Response,
    condition: Annotated[MoveSession, Body(default_factory=MoveSession)],
) -> Conversation:
    """End the session for good, whoever has it; an agent's slot is free at once. Again, it changes nothing."""
    return await _move(caller, session_id, TargetKind.CLOSED, condition, response)


@router.post(
    "/conversations/sessions/{botSessionId}/release",
    response_model=Conversation,
    responses={**_MOVED, **refusals(*_NOT_MOVED, Refusal.SESSION_CLOSED)},
    summary="Give a session back to the bot",
)
async def release_session(
    caller: CurrentCaller,
    session_id: SessionId,
    response: Response,
    condition: Annotated[MoveSession, Body(default_factory=MoveSession)],
) -> Conversation:
    """Take the session from its agent or queue, back to the bot; an agent's slot is free at once."""
    return await _move(caller, session_id, TargetKind.BOT, condition, response)


@history_router.get(
    "/conversations/sessions/{botSessionId}/history",
    response_model=TransferResults,
    responses=refusals(Refusal.SESSION_NOT_FOUND),
    summary="Everything that was tried with a session",
)
async def show_history(
    caller: CurrentCaller, session_id: SessionId, limit: Limit = 50, cursor: Cursor = None
) -> TransferResults:
    """Every recorded attempt, won or refused, with releases and the close, the oldest first."""
    after = None if cursor is None else read_cursor(cursor)[0]
    find = partial(caller.services.history.of_session, caller.scope, session_id, after=after, limit=limit)
    page = await looked_up(caller, find)
    return TransferResults(
        results=[recorded_of(one) for one in page.transfers],
        next_cursor=None if page.next_from is None else write_cursor(page.next_from),
    )


async def _move(
    caller: Caller,
    session_id: str,
    kind: Literal[TargetKind.BOT, TargetKind.CLOSED],
    condition: MoveSession,
    response: Response,
) -> Conversation:
    if not is_id(session_id):
        raise Refuse(Refusal.SESSION_NOT_FOUND, f"There is no session {session_id}.")
    request = MoveRequest(
        account_id=caller.app.account_id,
        app_id=caller.app.app_id,
        stream_id=caller.stream.stream_id,
        session_id=session_id,
        kind=kind,
        expected_agent_id=condition.expected_agent_id,
        request_id=caller.facts.request_id,
    )
    try:
        moved = await caller.services.move_session(request)
    except SessionRefused as refused:
        raise _refuse(refused) from None
    caller.facts.note_repeat(is_repeat=moved.transfer_id is None)
    if moved.transfer_id is not None:
        caller.facts.transfer_id = moved.transfer_id
        response.headers["x-transfer-id"] = moved.transfer_id
    return await _as_it_is(caller, session_id, response)


async def _as_it_is(caller: Caller, session_id: str, response: Response) -> Conversation:
    """The conversation after the change, with its version in the ETag."""
    find = partial(caller.services.conversations.of_session, caller.scope, session_id)
    found = conversation_of(await looked_up(caller, find))
    response.headers["etag"] = f'"{found.version}"'
    return found


def _refuse(refused: SessionRefused) -> Refuse:
    """The same as a refusal of the API; who has the session is named to those who expected another."""
    session = refused.session
    members = None
    if session is not None and refused.refusal is Refusal.HOLDER_CHANGED:
        members = message.holder_members(session.state, session.holder_id, session.version)
    return Refuse(refused.refusal, refused.detail, members)
