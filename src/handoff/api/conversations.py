"""Conversations: the documented reads, with some filters of ours."""

from collections.abc import Sequence
from functools import partial
from typing import Annotated, Final

from fastapi import Path, Query, Response

from handoff.api.access import ANALYTICS
from handoff.api.conversation_objects import conversation_of
from handoff.api.conversation_schemas import STATUS_OF, Conversation, ConversationResults, ConversationStatus
from handoff.api.cursors import read_cursor, write_cursor
from handoff.api.lists import MOST_SKIPPED, Cursor, IdOrEmpty, Limit, Since, Skip, Words
from handoff.api.lookup import looked_up
from handoff.api.problems import Refuse
from handoff.api.resource import CurrentCaller, resource_router
from handoff.api.responses import refusals
from handoff.api.schemas import Id
from handoff.domain.model import SessionState, Target, TargetKind
from handoff.domain.refusals import Refusal
from handoff.service.conversations import ConversationFilter

router: Final = resource_router(ANALYTICS, "conversations")

SessionId = Annotated[str, Path(alias="botSessionId", max_length=128, examples=["6538f8a3c9cf425ee5cfxxxx"])]
ConversationId = Annotated[
    str, Path(alias="conversationId", max_length=192, examples=["c-3c04346-e522-4c53-9e03-c9566d85xxxx"])
]
_NAME_OF: Final = {field.alias or name: name for name, field in Conversation.model_fields.items()}


@router.get("/conversations", response_model=ConversationResults, responses=refusals(), summary="List conversations")
async def list_conversations(
    caller: CurrentCaller,
    skip: Skip = 0,
    limit: Limit = 50,
    fields: Annotated[str | None, Query(description="The members to show, with commas between them.")] = None,
    status: Annotated[list[ConversationStatus], Words, Query(description="Only those with one of these.")] = [],  # noqa: B006 (FastAPI copies it)
    source: Annotated[IdOrEmpty, Query(description="Only those of this channel.")] = None,
    language: Annotated[IdOrEmpty, Query(description="Only those in this language.")] = None,
    state: Annotated[SessionState | None, Query(description="Extension: only those in this state.")] = None,
    agent_id: Annotated[Id | None, Query(alias="agentId", description="Extension: only those with this agent.")] = None,
    queue_id: Annotated[Id | None, Query(alias="queueId", description="Extension: only those in this queue.")] = None,
    since: Since = None,
    cursor: Cursor = None,
) -> Response:
    """The stream's conversations, the newest first; `since` is about when they were opened."""
    wanted = ConversationFilter(
        states=_states(status, state),
        source=source,
        language=language,
        holder=_holder(agent_id, queue_id),
        since=since,
    )
    before, left_out = (None, skip) if cursor is None else read_cursor(cursor)
    find = partial(
        caller.services.conversations.store.find,
        caller.scope,
        wanted,
        before=before,
        limit=limit,
        skip=min(left_out, MOST_SKIPPED),
    )
    page = await caller.services.reader.run(find)
    results = ConversationResults(
        results=[conversation_of(one) for one in page.conversations],
        next_cursor=None if page.next_before is None else write_cursor(page.next_before, page.left_to_skip),
    )
    return _told(results, fields)


@router.get(
    "/conversations/sessions/{botSessionId}",
    response_model=Conversation,
    responses=refusals(Refusal.SESSION_NOT_FOUND),
    summary="One conversation by its bot session",
)
async def show_session(caller: CurrentCaller, session_id: SessionId) -> Conversation:
    """The conversation with everyone who had it. The documented body, which names a time, makes no difference."""
    find = partial(caller.services.conversations.of_session, caller.scope, session_id)
    return conversation_of(await looked_up(caller, find))


@router.get(
    "/conversations/{conversationId}",
    response_model=Conversation,
    responses=refusals(Refusal.CONVERSATION_NOT_FOUND),
    summary="One conversation by its id",
)
async def show_conversation(caller: CurrentCaller, conversation_id: ConversationId) -> Conversation:
    """The conversation with everyone who had it."""
    find = partial(caller.services.conversations.get, caller.scope, conversation_id)
    return conversation_of(await looked_up(caller, find))


def _states(status: Sequence[ConversationStatus], state: SessionState | None) -> frozenset[SessionState] | None:
    """The states that both filters leave; None: any."""
    if not status and state is None:
        return None
    named = [one for one in SessionState if not status or STATUS_OF[one] in status]
    return frozenset(one for one in named if state in {None, one})


def _holder(agent_id: str | None, queue_id: str | None) -> Target | None:
    if agent_id is not None and queue_id is not None:
        raise Refuse(Refusal.INVALID_REQUEST, "agentId, queueId: send one of them.")
    if agent_id is not None:
        return Target(TargetKind.AGENT, agent_id)
    return None if queue_id is None else Target(TargetKind.QUEUE, queue_id)


def _told(results: ConversationResults, fields: str | None) -> Response:
    """The page, of each conversation the fields that are asked for; names of none are passed over."""
    named = None if not fields else {name.strip() for name in fields.split(",")}
    kept = None if named is None else {name for alias, name in _NAME_OF.items() if alias in named}
    shown = True if kept is None else {"__all__": kept}
    body = results.model_dump_json(by_alias=True, include={"results": shown, "next_cursor": True})
    return Response(body, media_type="application/json")
