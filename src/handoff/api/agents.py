"""Agents: the documented calls, and one of ours that tells whether an agent is there."""

from functools import partial
from typing import Annotated, Final

from fastapi import Body, Path, Query, Response

from handoff.api.access import CONFIGURATION
from handoff.api.agent_objects import AgentObject, AgentResults, Presence, agent_object, presence_of
from handoff.api.agent_schemas import AvailabilityQuery, NewAgent, ReplacedAgent, StatusChange
from handoff.api.availability import Availability, availability_of
from handoff.api.pages import CURSOR_HEADER, Cursor, PageNumber, after, announce, next_cursor, skip_to
from handoff.api.problems import Refuse
from handoff.api.resource import Caller, CurrentCaller, resource_router
from handoff.api.responses import BODY_REFUSALS, refusals
from handoff.domain.refusals import Refusal
from handoff.service.agent_store import AgentFilter, OrgScope, StoredAgent

router: Final = resource_router(CONFIGURATION, "agents")
extensions: Final = resource_router(CONFIGURATION, "agents (extension)")

# An answer this long is read and written in a fraction of a second.
_MOST_BRIEF: Final = 1_000
_LONGEST_CUSTOM_ID: Final = 255

AgentId = Annotated[str, Path(alias="agentId", description="The `a-…` id.", max_length=160)]


@router.post(
    "/agents",
    response_model=AgentObject,
    response_model_exclude_unset=True,
    responses=refusals(*BODY_REFUSALS, Refusal.ORG_NOT_FOUND, Refusal.QUEUE_NOT_FOUND, Refusal.AGENT_EXISTS),
    summary="Create an agent",
)
async def create_agent(caller: CurrentCaller, wanted: NewAgent) -> AgentObject:
    """Make an agent of the stream's org: OFFLINE, with 5 slots where the request names no number.

    The answer has both ids. What means nothing here is kept and given back as it was sent.
    """
    create = partial(
        caller.services.agents.create,
        caller.app.account_id,
        caller.stream.org_id,
        wanted.fields(),
        created_by=caller.app.app_id,
    )
    return _shown(caller, await caller.services.writer.run(create))


@router.get(
    "/agents/{agentId}",
    response_model=AgentObject,
    response_model_exclude_unset=True,
    responses=refusals(Refusal.AGENT_NOT_FOUND),
    summary="One agent",
)
async def show_agent(caller: CurrentCaller, agent_id: AgentId) -> AgentObject:
    """The agent with its status, load, skills and queues."""
    return _shown(
        caller, await caller.services.reader.run(partial(caller.services.agents.get, scope_of(caller), agent_id))
    )


@router.put(
    "/agents/{agentId}",
    response_model=AgentObject,
    response_model_exclude_unset=True,
    responses=refusals(*BODY_REFUSALS, Refusal.AGENT_NOT_FOUND, Refusal.QUEUE_NOT_FOUND, Refusal.AGENT_EXISTS),
    summary="Update an agent",
)
async def replace_agent(caller: CurrentCaller, agent_id: AgentId, wanted: ReplacedAgent) -> AgentObject:
    """Replace the agent's profile, and change names, slots, skills and queues where they are sent.

    Status and sessions stay as they are: with fewer slots than sessions the agent just gets no more of them.
    """
    replace = partial(caller.services.agents.replace, scope_of(caller), agent_id, wanted.fields())
    return _shown(caller, await caller.services.writer.run(replace))


@router.delete(
    "/agents/{agentId}",
    response_model=AgentObject,
    response_model_exclude_unset=True,
    responses=refusals(Refusal.AGENT_NOT_FOUND, Refusal.AGENT_HOLDS_SESSIONS),
    summary="Delete an agent",
)
async def delete_agent(caller: CurrentCaller, agent_id: AgentId) -> AgentObject:
    """Delete the agent, unless it holds sessions; the answer is the agent as it was."""
    delete = partial(caller.services.agents.delete, scope_of(caller), agent_id)
    return _shown(caller, await caller.services.writer.run(delete))


@router.get(
    "/organizations/{orgId}/agents",
    response_model=AgentResults,
    response_model_exclude_unset=True,
    responses=refusals(Refusal.ORG_NOT_FOUND),
    summary="List the agents of an org",
)
async def list_agents(
    caller: CurrentCaller,
    org_id: Annotated[str, Path(alias="orgId", description="The stream's org.", max_length=160)],
    *,
    page: PageNumber = 1,
    include_queues: Annotated[bool, Query(alias="includeQueues", description="With the queues of each.")] = False,
    limit: Annotated[int, Query(ge=1, le=200, description="Results on a page.")] = 50,
    cursor: Cursor = None,
) -> AgentResults:
    """The org's agents in the order of their ids."""
    if org_id != caller.stream.org_id:
        raise Refuse(Refusal.ORG_NOT_FOUND, "The stream does not belong to this org.")
    find = partial(
        caller.services.agents.store.find,
        scope_of(caller),
        AgentFilter(),
        after=after(cursor),
        skip=skip_to(page, limit, cursor),
        limit=limit,
        with_queues=include_queues,
    )
    found = await caller.services.reader.run(find)
    results = [_shown(caller, agent, names_agents=True) for agent in found.agents]
    return AgentResults(results=results, next_cursor=next_cursor(found.next_after))


@router.get(
    "/agents/customId/{customId:path}",
    response_model=list[AgentObject],
    response_model_exclude_unset=True,
    responses={**CURSOR_HEADER, **refusals()},
    summary="Agents by customId",
)
async def find_by_custom_id(
    caller: CurrentCaller,
    response: Response,
    custom_id: Annotated[
        str, Path(alias="customId", description="Percent-encoded.", max_length=_LONGEST_CUSTOM_ID, min_length=1)
    ],
    limit: Annotated[int, Query(ge=1, le=200, description="Extension: results on a page.")] = 200,
    cursor: Cursor = None,
) -> list[AgentObject]:
    """All agents of the org who have this customId, which several may have; an empty array where none has."""
    if "\x00" in custom_id:  # which no store can look for
        return []
    wanted = AgentFilter(custom_id=custom_id)
    store = caller.services.agents.store
    find = partial(store.find, scope_of(caller), wanted, after=after(cursor), limit=limit, with_queues=True)
    found = await caller.services.reader.run(find)
    announce(found.next_after, response)
    return [_shown(caller, agent) for agent in found.agents]


@router.post(
    "/agents/availability",
    response_model=Availability,
    responses={**CURSOR_HEADER, **refusals(*BODY_REFUSALS)},
    summary="Who is available, and for how much",
)
async def check_availability(
    caller: CurrentCaller,
    response: Response,
    wanted: Annotated[AvailabilityQuery, Body(default_factory=AvailabilityQuery)],
    limit: Annotated[int, Query(ge=1, le=_MOST_BRIEF, description="Extension: agents on a page.")] = _MOST_BRIEF,
    cursor: Cursor = None,
) -> Availability:
    """The org's agents who match every list that is given, grouped by the status that is shown of them.

    An id that nobody has matches nobody. liveChat and messaging share one pool of slots; email, voice and voiceMail
    are not served here and so not enabled.
    """
    chosen = AgentFilter(agent_ids=wanted.agent_ids, queue_ids=wanted.queue_ids, skill_ids=wanted.skill_ids)
    store = caller.services.agents.store
    find = partial(store.find_brief, scope_of(caller), chosen, after=after(cursor), limit=limit)
    found = await caller.services.reader.run(find)
    announce(found.next_after, response)
    return availability_of(found.agents, caller.services.agents.clock.now_ms())


@extensions.put(
    "/agents/{agentId}/status",
    response_model=Presence,
    responses=refusals(*BODY_REFUSALS, Refusal.AGENT_NOT_FOUND),
    summary="Tell whether an agent is there",
)
async def set_status(caller: CurrentCaller, agent_id: AgentId, wanted: StatusChange) -> Presence:
    """Set the agent's status; the same again renews how long it holds, and is no event of the feed.

    Only an agent who is AVAILABLE and has a free slot receives sessions. Sessions that it holds stay with it.
    """
    agents = caller.services.agents
    change = partial(agents.set_status, scope_of(caller), agent_id, wanted.status, expires_in_s=wanted.expires_in_s)
    return presence_of(await caller.services.writer.run(change), agents.clock.now_ms())


def scope_of(caller: Caller) -> OrgScope:
    """The org that the caller's stream belongs to: what it can see."""
    return OrgScope(account_id=caller.app.account_id, org_id=caller.stream.org_id)


def _shown(caller: Caller, agent: StoredAgent, *, names_agents: bool = False) -> AgentObject:
    now_ms = caller.services.agents.clock.now_ms()
    return agent_object(agent, now_ms, stream_id=caller.stream.stream_id, names_agents=names_agents)
