"""Agents on the wire: the documented object, with neutral values where nobody ever said anything."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from pydantic import BaseModel, ConfigDict, Field

from handoff.api.times import iso_time
from handoff.domain.model import AgentStatus
from handoff.domain.presence import shown_status
from handoff.service.agent_store import Membership, StoredAgent

# Documented members that mean nothing here, as they read where nobody sent them. What they tell of, there is not.
_NEUTRAL: Final[Mapping[str, Any]] = {
    "nickName": "",
    "profImage": "no-avatar",
    "profImageUrl": "no-avatar",
    "phoneNumber": "",
    "isAccountOwner": False,
    "agentGroupId": "",
    "agentGroups": [],
    "canSupportChat": True,
    "canSupportCase": False,
    "maxCaseSupport": 0,
    "maxTaskSupport": 0,
    "canSupportVoiceMail": False,
    "maxVoiceMailSupport": 0,
    "canSupportVoice": False,
    "chatLanguageSupport": [],
    "caseLanguageSupport": [],
    "voiceLanguageSupport": [],
    "voiceSupport": [],
    "maxEmailChatSupport": 0,
    "attachmentsEnabled": False,
    "emojisEnabled": False,
    "agentAffinity": False,
    "createdBy": None,
    "status": "ACTIVE",
    "roleId": "",
    "role": "Agent",
    "hoursOfOperationId": "",
    "desktopLayouts": [],
    "cmLayouts": [],
    "createDefaultLayoutAndAssign": False,
    "markedAutoAway": False,
    "dAgentGroups": [],
    "sipURI": "",
    "addresses": [],
    "iceServers": [],
    "domain": "",
    "callRegion": "",
    "isChannelUpdatedByAgent": False,
    "internalChatPermission": False,
    "preferences": {},
}


# The names of the one number of slots.
_SLOTS: Final = ("maxChatSupport", "maxDigitalChatSupport", "maxMessagingChatSupport", "maxDigitalConvoLimit")


class QueueMember(BaseModel):
    """An agent of a queue, as lists with `includeQueues` name it: the one whose object this is in."""

    user_id: str = Field(serialization_alias="userId")
    is_preferred: bool = Field(serialization_alias="isPreferredAgent")


class AgentQueue(BaseModel):
    """A queue that the agent belongs to."""

    id: str
    name: str
    description: str
    is_preferred: bool = Field(serialization_alias="isPreferredAgent")
    agents: list[QueueMember] = Field([], description="In lists only: this agent.")


class AgentObject(BaseModel):
    """The documented object.

    Besides the members that are listed here it has every other documented one, as it was sent or with a neutral
    value, and whatever else was sent.
    """

    model_config = ConfigDict(extra="allow")

    id: str = Field(examples=["a-3aeb689-a8b4-4dca-8954-9705ea04xxxx"])
    user_id: str = Field(alias="userId", examples=["u-a1a49996-1817-5ce8-bf7b-e9a75d47xxxx"])
    account_id: str = Field(alias="accountId")
    org_id: str = Field(alias="orgId")
    first_name: str = Field(alias="firstName")
    last_name: str = Field(alias="lastName")
    full_name: str = Field(alias="fullName")
    lower_full_name: str = Field(alias="lFullName")
    name: str
    email_id: str = Field(alias="emailId")
    custom_id: str = Field(alias="customId")
    max_chats: int = Field(alias="maxChatSupport", description="Slots: how many sessions the agent can hold.")
    max_digital_chats: int = Field(alias="maxDigitalChatSupport", description="The same slots.")
    max_messaging_chats: int = Field(alias="maxMessagingChatSupport", description="The same slots.")
    max_conversations: int = Field(alias="maxDigitalConvoLimit", description="The same slots.")
    status_text: str = Field(alias="onlineStatus", examples=["Available"])
    status_type: AgentStatus = Field(
        alias="onlineStatusType", description="BUSY also while an agent who is available has no free slot."
    )
    last_online_at: str | None = Field(alias="lastOnlineAt", description="When the agent last came online.")
    created_at: str | None = Field(alias="createdAt")
    updated_at: str | None = Field(alias="updatedAt")
    skills: list[dict[str, Any]]
    queues: list[AgentQueue] = Field([], description="Left out in a list that was not asked for them.")
    active_sessions: int = Field(alias="activeSessions", description="Extension: how many sessions the agent holds.")
    status_expires_at: int | None = Field(
        alias="statusExpiresAt", description="Extension: when the status lapses to OFFLINE, epoch ms; null: never."
    )


class AgentResults(BaseModel):
    """A page of agents in the order of their ids."""

    results: list[AgentObject]
    next_cursor: str | None = Field(
        serialization_alias="nextCursor", description="Extension: send it as `cursor` for the next page; null: none."
    )


class Presence(BaseModel):
    """Whether an agent is there, and what it can take."""

    id: str
    user_id: str = Field(alias="userId")
    status_text: str = Field(alias="onlineStatus")
    status_type: AgentStatus = Field(
        alias="onlineStatusType", description="BUSY also while an available agent has no free slot."
    )
    status_expires_at: int | None = Field(alias="statusExpiresAt", description="Epoch ms; null: never.")
    last_online_at: str | None = Field(alias="lastOnlineAt")
    active_sessions: int = Field(alias="activeSessions")
    max_chats: int = Field(alias="maxChatSupport")


def agent_object(agent: StoredAgent, now_ms: int, *, stream_id: str = "", names_agents: bool = False) -> AgentObject:
    """The agent as its readers see it. With `names_agents` each of its queues names it, as lists do."""
    skills = [{"id": skill_id, "userId": agent.user_id, **entry} for skill_id, entry in agent.skills.items()]
    kept = {**_NEUTRAL, "iId": stream_id, **_groups(agent.profile), **agent.profile}
    shown = {**kept, **_names(agent), **_presence(agent, now_ms), "skills": skills}
    shown.pop("queues", None)
    if agent.queues is not None:
        shown["queues"] = _queues(agent.queues, agent.user_id if names_agents else None)
    return AgentObject.model_validate(shown)


def presence_of(agent: StoredAgent, now_ms: int) -> Presence:
    """The agent's presence alone."""
    return Presence.model_validate(_presence(agent, now_ms))


def _names(agent: StoredAgent) -> dict[str, Any]:
    name = f"{agent.first_name} {agent.last_name}".strip()
    return {
        "accountId": agent.agent.account_id,
        "orgId": agent.agent.org_id,
        "firstName": agent.first_name,
        "lastName": agent.last_name,
        "fullName": name,
        "lFullName": name.lower(),
        "name": name,
        "emailId": agent.email_id,
        "customId": agent.custom_id or "",
        "createdAt": _time(agent.created_at),
        "updatedAt": _time(agent.updated_at),
    }


def _presence(agent: StoredAgent, now_ms: int) -> dict[str, Any]:
    facts = agent.agent
    status = shown_status(facts, now_ms)
    has_lapsed = facts.status_expires_at is not None and facts.status_expires_at <= now_ms
    return {
        "id": facts.agent_id,
        "userId": agent.user_id,
        "onlineStatus": status.capitalize(),
        "onlineStatusType": status,
        "statusExpiresAt": None if has_lapsed else facts.status_expires_at,
        "lastOnlineAt": _time(agent.last_online_at),
        "activeSessions": facts.active_sessions,
        **dict.fromkeys(_SLOTS, facts.max_sessions),
    }


def _time(at_ms: int | None) -> str | None:
    return iso_time(at_ms) if at_ms else None


def _groups(profile: Mapping[str, Any]) -> dict[str, Any]:
    """The agent's groups where it was only said which one it is made in."""
    group_id = profile.get("agentGroupId")
    return {"agentGroups": [{"groupId": group_id, "role": "agent", "name": "", "groupName": ""}]} if group_id else {}


def _queues(memberships: Sequence[Membership], user_id: str | None) -> list[dict[str, Any]]:
    return [
        {
            "id": one.queue_id,
            "name": one.name,
            "description": one.description,
            "is_preferred": one.is_preferred,
            **({"agents": [{"user_id": user_id, "is_preferred": one.is_preferred}]} if user_id is not None else {}),
        }
        for one in memberships
    ]
