"""Whether an agent is there, and can be given a conversation."""

from handoff.domain.model import Agent, AgentStatus


def status_at(agent: Agent, now_ms: int) -> AgentStatus:
    """The agent's status at `now_ms`: OFFLINE from the millisecond on in which a status expires."""
    if agent.status_expires_at is not None and agent.status_expires_at <= now_ms:
        return AgentStatus.OFFLINE
    return agent.status


def has_free_slot(agent: Agent) -> bool:
    """Whether one more session fits. An agent with zero slots never has one."""
    return agent.active_sessions < agent.max_sessions


def shown_status(agent: Agent, now_ms: int) -> AgentStatus:
    """The status as others see it: an agent who is available and has no free slot is shown as BUSY."""
    status = status_at(agent, now_ms)
    return AgentStatus.BUSY if status is AgentStatus.AVAILABLE and not has_free_slot(agent) else status
