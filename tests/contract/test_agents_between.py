"""What two transactions on one agent do to each other, on both databases: one is held open while the other begins."""

import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pytest

from handoff.domain.model import Agent
from handoff.domain.refusals import Refusal
from handoff.service.agent_store import DirectoryRefused, OrgScope
from handoff.service.agents import AgentFields, Agents
from handoff.service.ports import Changes, TransferStore
from handoff.service.queues import QueueFields, Queues, WantedMember
from handoff.store import tables as t
from rigs import sample
from rigs.tables import Tables

HERE = OrgScope(account_id=sample.ACCOUNT, org_id=sample.ORG)
KEY = (sample.ACCOUNT, sample.AGENT)
MEMBER = WantedMember(agent_id=sample.AGENT, user_id=None, is_preferred=False)
# Long enough for the other transaction to get as far as it can.
A_WHILE_S = 0.4
WAIT_S = 60


@pytest.fixture
def meanwhile() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(1) as executor:
        yield executor


def waits(work: Future[Any]) -> bool:
    """Whether the other transaction is still not through."""
    time.sleep(A_WHILE_S)
    return not work.done()


def locked_agents(transfers: TransferStore) -> dict[Any, Agent]:
    with transfers.begin() as tx:
        return dict(tx.agents({KEY}))


def test_a_deletion_waits_for_an_assignment_under_way_and_then_is_refused(
    agents: Agents, transfers: TransferStore, tables: Tables, meanwhile: ThreadPoolExecutor
) -> None:
    with transfers.begin() as tx:
        agent = tx.agents({KEY})[KEY]
        tx.write(Changes(agents=[replace(agent, active_sessions=1)]))
        deletion = meanwhile.submit(agents.delete, HERE, sample.AGENT)
        assert waits(deletion)

    with pytest.raises(DirectoryRefused) as error:
        deletion.result(WAIT_S)
    assert error.value.refusal is Refusal.AGENT_HOLDS_SESSIONS
    assert "holds 1 session:" in error.value.detail
    assert len(tables.rows(t.agents, agent_id=sample.AGENT)) == 1


def test_an_assignment_waits_for_a_deletion_under_way_and_finds_no_agent(
    agents: Agents, transfers: TransferStore, meanwhile: ThreadPoolExecutor
) -> None:
    with agents.store.begin() as tx:
        found = tx.lock(HERE, sample.AGENT)
        assert found is not None
        assert tx.delete_idle(found)
        assignment = meanwhile.submit(locked_agents, transfers)
        assert waits(assignment)

    assert assignment.result(WAIT_S) == {}


def test_a_replacement_leaves_the_load_to_an_assignment_under_way(
    agents: Agents, transfers: TransferStore, meanwhile: ThreadPoolExecutor
) -> None:
    with transfers.begin() as tx:
        agent = tx.agents({KEY})[KEY]
        replacement = meanwhile.submit(
            agents.replace, HERE, sample.AGENT, AgentFields(slots=frozenset({1}), profile={})
        )
        assert waits(replacement)
        tx.write(Changes(agents=[replace(agent, active_sessions=2)]))

    assert replacement.result(WAIT_S).agent == replace(agent, active_sessions=2, max_sessions=1)
    assert agents.get(HERE, sample.AGENT).agent == replace(agent, active_sessions=2, max_sessions=1)


def test_a_deletion_takes_along_a_membership_that_was_being_made(
    agents: Agents, queues: Queues, tables: Tables, meanwhile: ThreadPoolExecutor
) -> None:
    new = queues.create(sample.ACCOUNT, sample.ORG, QueueFields(name="q", profile={}), created_by="x")
    with queues.store.begin() as tx:
        assert tx.agents(sample.ACCOUNT, sample.ORG, [sample.AGENT])
        tx.add_members(new, {sample.AGENT: False})
        deletion = meanwhile.submit(agents.delete, HERE, sample.AGENT)
        assert waits(deletion)

    deletion.result(WAIT_S)
    assert tables.rows(t.queue_agents) == tables.rows(t.agents, agent_id=sample.AGENT) == []


def test_a_queue_waits_for_a_deletion_under_way_and_finds_no_agent(
    agents: Agents, queues: Queues, tables: Tables, meanwhile: ThreadPoolExecutor
) -> None:
    said = QueueFields(name="q", members=[MEMBER], profile={})
    with agents.store.begin() as tx:
        found = tx.lock(HERE, sample.AGENT)
        assert found is not None
        assert tx.delete_idle(found)
        creation = meanwhile.submit(queues.create, sample.ACCOUNT, sample.ORG, said, created_by="x")
        assert waits(creation)

    with pytest.raises(DirectoryRefused) as error:
        creation.result(WAIT_S)
    assert error.value.refusal is Refusal.AGENT_NOT_FOUND
    assert tables.rows(t.queue_agents) == []


@pytest.mark.parametrize("loaded_url", ["postgres"], indirect=True)  # SQLite has one lock for all
def test_making_a_queue_holds_up_no_assignment_to_its_agents(
    queues: Queues, transfers: TransferStore, meanwhile: ThreadPoolExecutor
) -> None:
    with queues.store.begin() as tx:
        assert tx.agents(sample.ACCOUNT, sample.ORG, [sample.AGENT])
        assert meanwhile.submit(locked_agents, transfers).result(WAIT_S).keys() == {KEY}


def test_the_second_of_two_agents_with_one_email_waits_for_the_first_and_is_refused(
    agents: Agents, tables: Tables, meanwhile: ThreadPoolExecutor
) -> None:
    said = AgentFields(email_id="jane@example.com", profile={})
    first = agents.create(sample.ACCOUNT, sample.ORG, said, created_by="x")
    agents.delete(HERE, first.agent.agent_id)
    with agents.store.begin() as tx:
        assert tx.insert(first)
        second = meanwhile.submit(agents.create, sample.ACCOUNT, sample.ORG, said, created_by="x")
        assert waits(second)

    with pytest.raises(DirectoryRefused) as error:
        second.result(WAIT_S)
    assert error.value.refusal is Refusal.AGENT_EXISTS
    assert len(tables.rows(t.agents, email_id="jane@example.com")) == 1
