"""Agents made, read, replaced, deleted and told about, on both databases."""

from dataclasses import replace
from functools import partial
from typing import Any

import pytest

from fakes import FakeClock
from handoff import Settings, load_directory
from handoff.domain.model import AgentStatus
from handoff.domain.refusals import Refusal
from handoff.service.agent_store import DirectoryRefused, OrgScope, StoredAgent
from handoff.service.agents import AgentFields, Agents
from handoff.store import tables as t
from rigs import sample
from rigs.tables import Tables

HERE = OrgScope(account_id=sample.ACCOUNT, org_id=sample.ORG)
ELSEWHERE = [
    OrgScope(account_id=sample.ACCOUNT, org_id="o-2"),
    OrgScope(account_id="acc-2", org_id=sample.ORG),
    OrgScope(account_id="acc-2"),
]
JANE = AgentFields(
    first_name="Jane",
    last_name="Doe",
    email_id="jane@example.com",
    custom_id="1111",
    slots=frozenset({3}),
    skills={"s-1": {"skillId": "s-1", "name": "Zoë's"}},
    queues={sample.QUEUE: True, sample.OTHER_QUEUE: False},
    profile={"nickName": "J", "phoneNumber": 13456782345, "chatLanguageSupport": [{"language": "en"}]},
)
NOBODY = AgentFields(first_name="", last_name="", email_id="", profile={})


def create(agents: Agents, said: AgentFields = JANE, **changes: Any) -> StoredAgent:
    return agents.create(sample.ACCOUNT, sample.ORG, replace(said, **changes), created_by=sample.APP)


def refused(error: pytest.ExceptionInfo[DirectoryRefused]) -> tuple[Refusal, str]:
    return error.value.refusal, error.value.detail


def test_a_new_agent_is_offline_and_reads_as_it_was_made(agents: Agents, clock: FakeClock) -> None:
    made = create(agents)

    found = agents.get(HERE, made.agent.agent_id)
    assert found == made
    assert (found.agent.status, found.agent.active_sessions, found.agent.max_sessions) == (AgentStatus.OFFLINE, 0, 3)
    assert (found.first_name, found.last_name, found.email_id, found.custom_id) == (
        "Jane",
        "Doe",
        "jane@example.com",
        "1111",
    )
    assert found.profile == {**JANE.profile, "createdBy": sample.APP}
    assert found.skills == JANE.skills
    assert {(one.queue_id, one.is_preferred) for one in found.queues or ()} == {
        (sample.QUEUE, True),
        (sample.OTHER_QUEUE, False),
    }
    assert (found.created_at, found.updated_at, found.last_online_at) == (clock.now_ms(), clock.now_ms(), None)


def test_ids_and_slots_are_ours_where_none_are_given(agents: Agents) -> None:
    ours = create(agents, NOBODY)
    theirs = create(agents, NOBODY, agent_id="a-own", user_id="u-own", slots=frozenset({0}))

    assert (ours.agent.agent_id, ours.user_id) == (
        "a-190a1b2-c3d4-7000-8000-000000000001",
        "u-0190a1b2-c3d4-7000-8000-000000000002",
    )
    assert ours.agent.max_sessions == 5
    assert (theirs.agent.agent_id, theirs.user_id, theirs.agent.max_sessions) == ("a-own", "u-own", 0)


@pytest.mark.parametrize("same", [{"agent_id": "a-1"}, {"user_id": "u-1"}, {"email_id": "one@example.com"}])
def test_no_two_agents_of_an_org_share_what_is_ones_own(agents: Agents, tables: Tables, same: dict[str, Any]) -> None:
    create(agents, agent_id="a-1", user_id="u-1", email_id="one@example.com")
    other: dict[str, Any] = {"agent_id": "a-2", "user_id": "u-2", "email_id": "two@example.com"}

    with pytest.raises(DirectoryRefused) as error:
        create(agents, **(other | same))

    assert refused(error)[0] is Refusal.AGENT_EXISTS
    assert len(tables.rows(t.agents)) == 3
    assert len(tables.rows(t.queue_agents)) == 2
    assert len(tables.events()) == 1


def test_agents_without_an_email_do_not_share_it_and_other_orgs_may_have_it(agents: Agents) -> None:
    create(agents, email_id="", queues={})
    create(agents, email_id="", queues={})
    create(agents, user_id="u-1", queues={})

    there = agents.create(sample.ACCOUNT, "o-2", replace(JANE, user_id="u-1", queues={}), created_by="x")
    other = agents.create("acc-2", sample.ORG, replace(JANE, user_id="u-1", queues={}), created_by="x")

    assert there.email_id == other.email_id == JANE.email_id


@pytest.mark.parametrize(
    ("changes", "refusal"),
    [
        ({"account_id": "acc-2"}, Refusal.INVALID_REQUEST),
        ({"org_id": "o-2"}, Refusal.ORG_NOT_FOUND),
        ({"queues": {sample.QUEUE: True, "qu-none": True}}, Refusal.QUEUE_NOT_FOUND),
        ({"slots": frozenset({5, 3})}, Refusal.INVALID_REQUEST),
    ],
)
def test_an_agent_that_cannot_be_made_leaves_nothing(
    agents: Agents, tables: Tables, changes: dict[str, Any], refusal: Refusal
) -> None:
    with pytest.raises(DirectoryRefused) as error:
        create(agents, **changes)

    assert refused(error)[0] is refusal
    assert len(tables.rows(t.agents)) == 2
    assert tables.events() == []


def test_a_queue_of_another_org_is_none(agents: Agents, stored: Settings) -> None:
    load_directory(stored, {"queues": [{"id": "qu-2", "orgId": "o-2", "accountId": sample.ACCOUNT}]})

    with pytest.raises(DirectoryRefused) as error:
        create(agents, queues={"qu-2": False})

    assert refused(error) == (Refusal.QUEUE_NOT_FOUND, f"Queue qu-2 is not known in org {sample.ORG}.")


def test_what_is_left_out_of_a_replacement_stays_and_the_rest_is_replaced(agents: Agents, clock: FakeClock) -> None:
    made = create(agents)
    clock.advance(5)

    replaced = agents.replace(HERE, made.agent.agent_id, AgentFields(profile={"roleId": "r", "createdBy": "me"}))

    assert replaced == agents.get(HERE, made.agent.agent_id)
    assert replaced == replace(made, profile={"roleId": "r", "createdBy": sample.APP}, updated_at=made.created_at + 5)


def test_what_is_said_in_a_replacement_takes_its_place(agents: Agents) -> None:
    made = create(agents)
    said = AgentFields(
        agent_id=made.agent.agent_id,
        user_id=made.user_id,
        account_id=sample.ACCOUNT,
        org_id=sample.ORG,
        first_name="Joan",
        last_name="",
        email_id="",
        custom_id="",
        slots=frozenset({3, 7}),
        skills={"s-2": {"skillId": "s-2"}},
        queues={sample.QUEUE: False},
        profile={},
    )

    replaced = agents.replace(HERE, made.agent.agent_id, said)

    assert replaced == agents.get(HERE, made.agent.agent_id)
    assert (replaced.first_name, replaced.last_name, replaced.email_id, replaced.custom_id) == ("Joan", "", "", None)
    assert replaced.agent == replace(made.agent, max_sessions=7)
    assert replaced.skills == {"s-2": {"skillId": "s-2"}}
    assert [(one.queue_id, one.is_preferred) for one in replaced.queues or ()] == [(sample.QUEUE, False)]


@pytest.mark.parametrize(
    ("said", "refusal"),
    [
        ({"agent_id": "a-2"}, Refusal.INVALID_REQUEST),
        ({"user_id": "u-2"}, Refusal.INVALID_REQUEST),
        ({"account_id": "acc-2"}, Refusal.INVALID_REQUEST),
        ({"org_id": "o-2"}, Refusal.INVALID_REQUEST),
        ({"slots": frozenset({4, 7})}, Refusal.INVALID_REQUEST),
        ({"email_id": "taken@example.com"}, Refusal.AGENT_EXISTS),
        ({"queues": {"qu-none": True}}, Refusal.QUEUE_NOT_FOUND),
    ],
)
def test_a_replacement_that_cannot_be_changes_nothing(
    agents: Agents, tables: Tables, said: dict[str, Any], refusal: Refusal
) -> None:
    create(agents, NOBODY, email_id="taken@example.com")
    made = create(agents)
    events = tables.events()

    with pytest.raises(DirectoryRefused) as error:
        agents.replace(HERE, made.agent.agent_id, AgentFields(**{"profile": {}, "first_name": "Joan", **said}))

    assert refused(error)[0] is refusal
    assert agents.get(HERE, made.agent.agent_id) == made
    assert tables.events() == events


def test_with_fewer_slots_than_sessions_an_agent_keeps_its_sessions(agents: Agents, tables: Tables) -> None:
    made = create(agents)
    tables.change(t.agents, {"agent_id": made.agent.agent_id}, active_sessions=3)

    replaced = agents.replace(HERE, made.agent.agent_id, AgentFields(slots=frozenset({1}), profile={}))

    assert (replaced.agent.max_sessions, replaced.agent.active_sessions) == (1, 3)


def test_an_agent_who_holds_sessions_is_not_deleted_and_is_told_how_many(agents: Agents, tables: Tables) -> None:
    made = create(agents)
    tables.change(t.agents, {"agent_id": made.agent.agent_id}, active_sessions=2)

    with pytest.raises(DirectoryRefused) as error:
        agents.delete(HERE, made.agent.agent_id)

    assert refused(error)[0] is Refusal.AGENT_HOLDS_SESSIONS
    assert f"{made.agent.agent_id} holds 2 sessions" in refused(error)[1]
    assert len(tables.rows(t.queue_agents)) == 2


def test_a_deleted_agent_is_told_once_more_and_leaves_nothing(agents: Agents, tables: Tables) -> None:
    made = create(agents)

    gone = agents.delete(HERE, made.agent.agent_id)

    assert gone == made
    assert tables.rows(t.agents, agent_id=made.agent.agent_id) == []
    assert tables.rows(t.queue_agents) == tables.rows(t.agent_skills) == []
    with pytest.raises(DirectoryRefused) as error:
        agents.delete(HERE, made.agent.agent_id)
    assert refused(error)[0] is Refusal.AGENT_NOT_FOUND


@pytest.mark.parametrize("scope", ELSEWHERE)
def test_an_agent_of_another_org_or_account_is_not_there(agents: Agents, tables: Tables, scope: OrgScope) -> None:
    made = create(agents)
    before = tables.rows(t.agents)

    for attempt in (
        partial(agents.get, scope, made.agent.agent_id),
        partial(agents.replace, scope, made.agent.agent_id, AgentFields(profile={})),
        partial(agents.set_status, scope, made.agent.agent_id, AgentStatus.AWAY),
        partial(agents.delete, scope, made.agent.agent_id),
    ):
        with pytest.raises(DirectoryRefused) as error:
            attempt()
        assert refused(error) == (Refusal.AGENT_NOT_FOUND, f"There is no agent {made.agent.agent_id}.")
    assert tables.rows(t.agents) == before


@pytest.mark.parametrize("agent_id", ["", "a\x00", "a/b", "\ud800", "x" * 200])
def test_what_is_no_id_is_nobodys(agents: Agents, agent_id: str) -> None:
    with pytest.raises(DirectoryRefused) as error:
        agents.get(HERE, agent_id)

    assert refused(error) == (Refusal.AGENT_NOT_FOUND, "There is no such agent.")


def test_every_change_is_an_event_and_a_refusal_is_none(agents: Agents, tables: Tables) -> None:
    made = create(agents)
    agent_id = made.agent.agent_id
    agents.replace(HERE, agent_id, AgentFields(slots=frozenset({4}), profile={}))
    agents.set_status(HERE, agent_id, AgentStatus.AWAY)
    with pytest.raises(DirectoryRefused):
        create(agents)
    agents.delete(HERE, agent_id)

    who = {"agentId": agent_id, "orgId": sample.ORG, "userId": made.user_id}
    assert tables.events() == [
        ("agent.created", {**who, "onlineStatusType": "OFFLINE", "maxChatSupport": 3}),
        ("agent.updated", {**who, "maxChatSupport": 4}),
        ("agent.status", {**who, "onlineStatusType": "AWAY", "expiresAt": None}),
        ("agent.deleted", who),
    ]
    row = tables.rows(t.events)[0]
    assert (row["org_id"], row["stream_id"], row["agent_id"]) == (sample.ORG, None, agent_id)
