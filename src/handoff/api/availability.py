"""Who can take how much: the documented answer of `POST /agents/availability`.

There is one pool of slots for conversations by text. It is shown as liveChat and as messaging, which share it; the
other channels are not served here.
"""

from collections.abc import Sequence
from typing import Any, Final, Literal

from pydantic import BaseModel, Field

from handoff.domain.model import Agent, AgentStatus
from handoff.domain.presence import shown_status
from handoff.service.agent_store import StoredAgent


class Capacity(BaseModel):
    """What an agent can take of one channel."""

    is_enabled: bool = Field(serialization_alias="isEnabled")
    total: int = Field(serialization_alias="totalCapacity")
    used: int = Field(serialization_alias="usedCapacity", description="Sessions held.")
    available: int = Field(serialization_alias="availableCapacity")


class ChannelCapacity(BaseModel):
    """liveChat and messaging share one pool of slots: whatever one of them uses, both do. The others are not served."""

    live_chat: Capacity = Field(serialization_alias="liveChat")
    messaging: Capacity
    email: Capacity
    voice: Capacity
    voice_mail: Capacity = Field(serialization_alias="voiceMail")


class AvailableAgent(BaseModel):
    """An agent and what it can take."""

    id: str = Field(serialization_alias="_id")
    user_id: str = Field(serialization_alias="userId")
    first_name: str = Field(serialization_alias="firstName")
    last_name: str = Field(serialization_alias="lastName")
    email_id: str = Field(serialization_alias="emailId")
    custom_id: str = Field(serialization_alias="customId")
    phone_number: Any = Field(serialization_alias="phoneNumber")
    is_digital_enabled: bool = Field(
        serialization_alias="isDigitalEnabled", description="Whether the agent has slots at all."
    )
    channel_capacity: ChannelCapacity = Field(serialization_alias="channelCapacity")


class Availability(BaseModel):
    """The agents by the status that is shown of them."""

    available: list[AvailableAgent] = Field(serialization_alias="AVAILABLE")
    busy: list[AvailableAgent] = Field(
        serialization_alias="BUSY", description="Also those who are available and have no free slot."
    )
    offline: list[AvailableAgent] = Field(serialization_alias="OFFLINE")
    away: list[AvailableAgent] = Field(serialization_alias="AWAY")


_Group = Literal["available", "busy", "offline", "away"]
_GROUP_OF: Final[dict[AgentStatus, _Group]] = {
    AgentStatus.AVAILABLE: "available",
    AgentStatus.BUSY: "busy",
    AgentStatus.OFFLINE: "offline",
    AgentStatus.AWAY: "away",
}
_NOT_SERVED: Final = Capacity(is_enabled=False, total=0, used=0, available=0)


def availability_of(agents: Sequence[StoredAgent], now_ms: int) -> Availability:
    """The agents, grouped."""
    groups: dict[_Group, list[AvailableAgent]] = {group: [] for group in _GROUP_OF.values()}
    for agent in agents:
        groups[_GROUP_OF[shown_status(agent.agent, now_ms)]].append(_available(agent))
    return Availability(**groups)


def _available(agent: StoredAgent) -> AvailableAgent:
    pool = _pool(agent.agent)
    return AvailableAgent(
        id=agent.agent.agent_id,
        user_id=agent.user_id,
        first_name=agent.first_name,
        last_name=agent.last_name,
        email_id=agent.email_id,
        custom_id=agent.custom_id or "",
        phone_number=agent.profile.get("phoneNumber", ""),
        is_digital_enabled=pool.is_enabled,
        channel_capacity=ChannelCapacity(
            live_chat=pool, messaging=pool, email=_NOT_SERVED, voice=_NOT_SERVED, voice_mail=_NOT_SERVED
        ),
    )


def _pool(agent: Agent) -> Capacity:
    """The slots. An agent whose slots were made fewer may hold more sessions than it has slots now."""
    return Capacity(
        is_enabled=agent.max_sessions > 0,
        total=agent.max_sessions,
        used=agent.active_sessions,
        available=max(0, agent.max_sessions - agent.active_sessions),
    )
