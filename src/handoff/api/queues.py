"""Queues: the documented calls."""

from functools import partial
from typing import Annotated, Final

from fastapi import Query, Response

from handoff.api.access import CONFIGURATION
from handoff.api.agents import scope_of
from handoff.api.pages import CURSOR_HEADER, Cursor, PageNumber, after, announce, next_cursor, skip_to
from handoff.api.queue_schemas import (
    BriefAgent,
    MembershipQuery,
    NewQueue,
    QueueObject,
    QueueResults,
    brief_agent,
    queue_object,
)
from handoff.api.resource import CurrentCaller, resource_router
from handoff.api.responses import BODY_REFUSALS, refusals
from handoff.domain.refusals import Refusal
from handoff.service.agent_store import AgentFilter

router: Final = resource_router(CONFIGURATION, "queues")

_MOST_NAMES: Final = 1_000


@router.post(
    "/queues",
    response_model=QueueObject,
    responses=refusals(*BODY_REFUSALS, Refusal.ORG_NOT_FOUND, Refusal.AGENT_NOT_FOUND, Refusal.QUEUE_EXISTS),
    summary="Create a queue",
)
async def create_queue(caller: CurrentCaller, wanted: NewQueue) -> QueueObject:
    """Make a queue of the stream's org, with these agents."""
    create = partial(
        caller.services.queues.create,
        caller.app.account_id,
        caller.stream.org_id,
        wanted.fields(),
        created_by=caller.app.app_id,
    )
    return queue_object(await caller.services.writer.run(create))


@router.get("/queues", response_model=QueueResults, responses=refusals(), summary="List queues")
async def list_queues(
    caller: CurrentCaller,
    page: PageNumber = 1,
    limit: Annotated[int, Query(ge=1, le=50, description="Results on a page.")] = 10,
    cursor: Cursor = None,
) -> QueueResults:
    """The queues of the stream's org in the order of their ids."""
    skip = skip_to(page, limit, cursor)
    find = partial(caller.services.queues.store.find, scope_of(caller), after=after(cursor), skip=skip, limit=limit)
    found = await caller.services.reader.run(find)
    return QueueResults(
        results=[queue_object(queue) for queue in found.queues],
        page=page,
        limit=limit,
        has_more=found.next_after is not None,
        total_pages=-(-found.total // limit),
        total_results=found.total,
        next_cursor=next_cursor(found.next_after),
    )


@router.post(
    "/queues/agents",
    response_model=list[BriefAgent] | list[str],
    responses={**CURSOR_HEADER, **refusals(*BODY_REFUSALS)},
    summary="The agents of queues, or the queues of agents",
)
async def list_memberships(
    caller: CurrentCaller,
    response: Response,
    wanted: MembershipQuery,
    limit: Annotated[int, Query(ge=1, le=_MOST_NAMES, description="Extension: results on a page.")] = _MOST_NAMES,
    cursor: Cursor = None,
) -> list[BriefAgent] | list[str]:
    """With `queueIds` the agents who belong to any of these queues; with `agentIds` the queues of any of the agents.

    An id that there is not adds nothing.
    """
    scope, services = scope_of(caller), caller.services
    if wanted.queue_ids:
        chosen = AgentFilter(queue_ids=wanted.queue_ids)
        find = partial(services.agents.store.find_brief, scope, chosen, after=after(cursor), limit=limit)
        agents = await services.reader.run(find)
        announce(agents.next_after, response)
        return [brief_agent(agent) for agent in agents.agents]
    find_queues = partial(services.queues.store.queues_of, scope, wanted.agent_ids, after=after(cursor), limit=limit)
    queues = await services.reader.run(find_queues)
    announce(queues.next_after, response)
    return list(queues.ids)
