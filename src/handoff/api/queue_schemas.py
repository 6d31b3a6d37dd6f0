"""Queues on the wire, in the vendor's spelling. What means nothing here is kept as it was sent."""

from collections.abc import Mapping
from typing import Annotated, Any, Final, Self

from pydantic import BaseModel, ConfigDict, Field, StrictBool, StringConstraints, model_validator

from handoff.api.agent_schemas import NamedIds
from handoff.api.kept_json import KeptBody
from handoff.api.schemas import Id, any_of
from handoff.service.agent_store import Member, StoredAgent, StoredQueue
from handoff.service.agents import CREATED_BY
from handoff.service.queues import MAX_AGENTS, QueueFields, WantedMember

# Documented members that mean nothing here, as they read where nobody sent them.
_NEUTRAL: Final[Mapping[str, Any]] = {
    "isActive": True,
    "isDefault": False,
    "isAdvancedRoutingEnabled": False,
    "createdBy": None,
    "hoursOfOperation": {"id": "", "name": ""},
    "skills": [],
    "agentGroups": [],
    "sourceAgentGroups": [],
    "advancedSettings": {"preferredAgentTimeout": {}, "isSkillMatchEnabled": False, "isAffinityMatchEnabled": False},
}
_OURS: Final = frozenset({CREATED_BY, "agentCount"})


class NewMember(BaseModel):
    """An agent to belong to the queue, named by either id; by both where they are the same agent's."""

    model_config = ConfigDict(json_schema_extra=any_of("aId", "userId"))

    agent_id: Id | None = Field(None, alias="aId")
    user_id: Id | None = Field(None, alias="userId")
    is_preferred: StrictBool = Field(False, alias="isPreferredAgent")

    @model_validator(mode="after")
    def _has_an_id(self) -> Self:
        if self.agent_id is None and self.user_id is None:
            raise ValueError("aId: required")
        return self


class NewQueue(KeptBody):
    """The documented request. Hours of operation, skills and settings are kept and given back."""

    model_config = ConfigDict(extra="allow")

    queue_id: Id | None = Field(None, alias="id", description="Extension: an id of the caller's own.")
    account_id: Id | None = Field(None, alias="accountId", description="Must be the token's.")
    org_id: Id | None = Field(None, alias="orgId", description="Must be the stream's.")
    name: Annotated[str, StringConstraints(min_length=1, max_length=255)] = Field(examples=["Default Queue"])
    description: Annotated[str, StringConstraints(max_length=1_000)] = ""
    agents: list[NewMember] = Field([], max_length=MAX_AGENTS)

    def fields(self) -> QueueFields:
        """The request as the use case takes it."""
        return QueueFields(
            account_id=self.account_id,
            org_id=self.org_id,
            queue_id=self.queue_id,
            name=self.name,
            members=[
                WantedMember(agent_id=one.agent_id, user_id=one.user_id, is_preferred=one.is_preferred)
                for one in self.agents
            ],
            profile={
                "description": self.description,
                **{name: value for name, value in (self.model_extra or {}).items() if name not in _OURS},
            },
        )


class HoursOfMember(BaseModel):
    """Hours of operation, which are not kept here."""

    id: str = Field("", serialization_alias="hoursOfOperationId")
    name: str = ""


class SkillOfMember(BaseModel):
    """A skill of an agent; its name stands with the agent."""

    id: str
    name: str = ""


class QueueAgent(BaseModel):
    """An agent who belongs to a queue."""

    user_id: str = Field(alias="userId")
    agent_id: str = Field(alias="aId")
    name: str
    is_preferred: bool = Field(alias="isPreferredAgent")
    hours: HoursOfMember = Field(serialization_alias="hoursOfOperation")
    skills: list[SkillOfMember]


class QueueObject(BaseModel):
    """The documented object.

    Besides the members that are listed here it has every other documented one, as it was sent or with a neutral
    value, and whatever else was sent.
    """

    model_config = ConfigDict(extra="allow")

    id: str = Field(examples=["qu-268eda9-ba47-4b03-ab29-d1909c38xxxx"])
    org_id: str = Field(alias="orgId")
    name: str
    description: str
    agents: list[QueueAgent] = Field(description="The first hundred, by their ids.")
    agent_count: int = Field(alias="agentCount", description="Extension: how many agents belong to the queue.")


class QueueResults(BaseModel):
    """A page of queues in the order of their ids."""

    results: list[QueueObject]
    page: int
    limit: int
    has_more: bool = Field(serialization_alias="hasMore")
    total_pages: int = Field(serialization_alias="totalPages")
    total_results: int = Field(serialization_alias="totalResults")
    next_cursor: str | None = Field(
        serialization_alias="nextCursor", description="Extension: send it as `cursor` for the next page; null: none."
    )


def _names(some: str) -> dict[str, Any]:
    return {"required": [some], "properties": {some: {"type": "array", "minItems": 1}}}


class MembershipQuery(BaseModel):
    """Whose agents, or whose queues: one of the two."""

    model_config = ConfigDict(json_schema_extra={"oneOf": [_names("queueIds"), _names("agentIds")]})

    queue_ids: NamedIds = Field([], alias="queueIds", description="The agents of any of these queues.")
    agent_ids: NamedIds = Field(
        [], alias="agentIds", description="The queues of any of these agents, by their `a-…` ids or their `u-…` ids."
    )

    @model_validator(mode="after")
    def _asks_for_one(self) -> Self:
        if bool(self.queue_ids) == bool(self.agent_ids):
            raise ValueError("send queueIds or agentIds, one of them")
        return self


class BriefAgent(BaseModel):
    """An agent of a queue, as the documented list names it."""

    user_id: str = Field(serialization_alias="userId")
    agent_id: str = Field(serialization_alias="aId")
    name: str
    profile_image: Any = Field(serialization_alias="profImage")


def queue_object(queue: StoredQueue) -> QueueObject:
    """The queue as its readers see it."""
    return QueueObject.model_validate(
        {
            **_NEUTRAL,
            **queue.profile,
            "id": queue.queue_id,
            "orgId": queue.org_id,
            "name": queue.name,
            "description": str(queue.profile.get("description") or ""),
            "agents": [_member(one) for one in queue.members],
            "agentCount": queue.member_count,
        }
    )


def brief_agent(agent: StoredAgent) -> BriefAgent:
    """The agent as the documented list names it."""
    return BriefAgent(
        user_id=agent.user_id,
        agent_id=agent.agent.agent_id,
        name=_name(agent),
        profile_image=agent.profile.get("profImage", "no-avatar"),
    )


def _name(agent: StoredAgent | Member) -> str:
    return f"{agent.first_name} {agent.last_name}".strip()


def _member(member: Member) -> dict[str, Any]:
    return {
        "userId": member.user_id,
        "aId": member.agent_id,
        "name": _name(member),
        "isPreferredAgent": member.is_preferred,
        "hours": {},
        "skills": [{"id": skill_id} for skill_id in member.skill_ids],
    }
