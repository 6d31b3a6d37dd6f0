"""Whether an agent is there, and how that is shown."""

from dataclasses import replace

import pytest

from handoff.domain.model import Agent, AgentStatus
from handoff.domain.presence import shown_status, status_at

AGENT = Agent(
    account_id="acc-1",
    agent_id="a-1",
    org_id="o-1",
    status=AgentStatus.AVAILABLE,
    status_expires_at=2_000,
    max_sessions=2,
    active_sessions=1,
)


@pytest.mark.parametrize(
    ("now_ms", "status"),
    [(0, AgentStatus.AVAILABLE), (1_999, AgentStatus.AVAILABLE), (2_000, AgentStatus.OFFLINE)],
)
def test_a_status_lapses_to_offline_in_the_millisecond_it_expires(now_ms: int, status: AgentStatus) -> None:
    assert status_at(AGENT, now_ms) is status
    assert shown_status(AGENT, now_ms) is status


@pytest.mark.parametrize(("held", "slots"), [(2, 2), (3, 2), (0, 0)])
def test_an_available_agent_without_a_free_slot_is_shown_as_busy(held: int, slots: int) -> None:
    agent = replace(AGENT, active_sessions=held, max_sessions=slots)

    assert shown_status(agent, 0) is AgentStatus.BUSY
    assert status_at(agent, 0) is AgentStatus.AVAILABLE


@pytest.mark.parametrize("status", [AgentStatus.AWAY, AgentStatus.BUSY, AgentStatus.OFFLINE])
def test_full_slots_change_nothing_about_an_agent_who_is_not_available(status: AgentStatus) -> None:
    assert shown_status(replace(AGENT, status=status, active_sessions=2), 0) is status


def test_a_full_agent_whose_status_lapsed_is_offline_not_busy() -> None:
    assert shown_status(replace(AGENT, active_sessions=2), 2_000) is AgentStatus.OFFLINE
