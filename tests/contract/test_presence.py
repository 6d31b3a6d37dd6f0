"""Whether agents are there: told, renewed and lapsed, on both databases and a clock that is told the time."""

import pytest

from fakes import FakeClock
from handoff.domain.model import AgentStatus
from handoff.domain.presence import shown_status
from handoff.service.agent_store import OrgScope
from handoff.service.agents import Agents
from handoff.store import tables as t
from rigs import sample
from rigs.tables import Tables

HERE = OrgScope(account_id=sample.ACCOUNT, org_id=sample.ORG)


def shown(agents: Agents, clock: FakeClock) -> AgentStatus:
    return shown_status(agents.get(HERE, sample.AGENT).agent, clock.now_ms())


def set_status(agents: Agents, status: AgentStatus, expires_in_s: int | None = None) -> None:
    agents.set_status(HERE, sample.AGENT, status, expires_in_s=expires_in_s)


def test_a_status_without_an_end_holds_for_ever(agents: Agents, clock: FakeClock) -> None:
    set_status(agents, AgentStatus.AWAY)
    clock.advance(1 << 40)

    assert shown(agents, clock) is AgentStatus.AWAY


def test_a_status_lapses_when_its_time_is_over(agents: Agents, clock: FakeClock) -> None:
    set_status(agents, AgentStatus.AVAILABLE, 60)

    clock.advance(59_999)
    before = shown(agents, clock)
    clock.advance(1)

    assert (before, shown(agents, clock)) == (AgentStatus.AVAILABLE, AgentStatus.OFFLINE)


def test_the_same_status_again_renews_its_time_and_is_no_event(
    agents: Agents, clock: FakeClock, tables: Tables
) -> None:
    set_status(agents, AgentStatus.AWAY, 60)
    for _ in range(10):
        clock.advance(30_000)
        set_status(agents, AgentStatus.AWAY, 60)

    assert shown(agents, clock) is AgentStatus.AWAY
    assert [kind for kind, _ in tables.events()] == ["agent.status"]


def test_a_status_told_after_it_had_lapsed_is_an_event_with_its_end(
    agents: Agents, clock: FakeClock, tables: Tables
) -> None:
    set_status(agents, AgentStatus.AWAY, 60)
    clock.advance(60_000)
    set_status(agents, AgentStatus.AWAY, 60)

    assert [body["expiresAt"] for _, body in tables.events()] == [clock.now_ms(), clock.now_ms() + 60_000]


def test_telling_offline_of_one_whose_status_lapsed_is_no_event(
    agents: Agents, clock: FakeClock, tables: Tables
) -> None:
    set_status(agents, AgentStatus.AWAY, 1)
    clock.advance(1_000)
    set_status(agents, AgentStatus.OFFLINE)

    assert len(tables.events()) == 1


def test_full_slots_do_not_hide_that_an_agent_says_to_be_busy(agents: Agents, clock: FakeClock, tables: Tables) -> None:
    tables.change(t.agents, {"agent_id": sample.AGENT}, active_sessions=5)
    full = shown(agents, clock)
    set_status(agents, AgentStatus.BUSY)
    tables.change(t.agents, {"agent_id": sample.AGENT}, active_sessions=0)

    assert (full, shown(agents, clock)) == (AgentStatus.BUSY, AgentStatus.BUSY)
    assert [body["onlineStatusType"] for _, body in tables.events()] == ["BUSY"]


@pytest.mark.parametrize("status", [AgentStatus.AVAILABLE, AgentStatus.AWAY, AgentStatus.BUSY])
def test_when_an_agent_came_online_is_kept_until_it_comes_again(
    agents: Agents, clock: FakeClock, status: AgentStatus
) -> None:
    set_status(agents, AgentStatus.OFFLINE)
    came: list[int | None] = []
    for said in (status, AgentStatus.AWAY, AgentStatus.OFFLINE, status):
        clock.advance(1_000)
        set_status(agents, said)
        came.append(agents.get(HERE, sample.AGENT).last_online_at)

    now = clock.now_ms()
    assert came == [now - 3_000, now - 3_000, now - 3_000, now]


def test_sessions_and_slots_are_untouched_by_a_status(agents: Agents, tables: Tables) -> None:
    tables.change(t.agents, {"agent_id": sample.AGENT}, active_sessions=2)
    set_status(agents, AgentStatus.OFFLINE)

    found = agents.get(HERE, sample.AGENT).agent
    assert (found.active_sessions, found.max_sessions) == (2, 5)
