"""Agents looked for: pages, and whom each filter finds, on both databases."""

from dataclasses import replace
from typing import Any

import pytest

from handoff import Settings, load_directory
from handoff.service.agent_store import AgentFilter, OrgScope
from handoff.service.agents import AgentFields, Agents
from handoff.store import tables as t
from rigs import sample
from rigs.tables import Tables

HERE = OrgScope(account_id=sample.ACCOUNT, org_id=sample.ORG)
ANY = AgentFilter()
SAID = AgentFields(first_name="Jane", last_name="Doe", email_id="", profile={})
# What came with the sample's directory; their ids come before those that are made here.
OLD = [sample.OTHER_AGENT, sample.AGENT]


def create(agents: Agents, *names: str, **changes: Any) -> list[str]:
    """Agents with these ids, and what else is the same of all."""
    said = replace(SAID, **changes)
    made = [
        agents.create(sample.ACCOUNT, sample.ORG, replace(said, agent_id=name, user_id=f"u-{name}"), created_by="x")
        for name in names
    ]
    return [one.agent.agent_id for one in made]


def found(agents: Agents, scope: OrgScope = HERE, **wanted: Any) -> list[str]:
    """Whom the filter finds: the two ways to ask must agree."""
    chosen = AgentFilter(**wanted)
    whole = [one.agent.agent_id for one in agents.store.find(scope, chosen, limit=100).agents]
    brief = [one.agent.agent_id for one in agents.store.find_brief(scope, chosen, after="", limit=100).agents]
    assert whole == brief
    return whole


def test_pages_follow_each_other_in_the_order_of_ids(agents: Agents) -> None:
    everybody = sorted([*OLD, *create(agents, "b", "c", "d")])
    seen: list[str] = []
    after: str | None = ""

    while after is not None:
        page = agents.store.find(HERE, ANY, after=after, limit=2)
        seen += [one.agent.agent_id for one in page.agents]
        after = page.next_after

    assert seen == everybody
    assert [one.agent.agent_id for one in agents.store.find(HERE, ANY, skip=2, limit=2).agents] == everybody[2:4]
    assert agents.store.find(HERE, ANY, skip=9, limit=2).agents == []


def test_the_last_page_is_known_as_such(agents: Agents) -> None:
    assert agents.store.find(HERE, ANY, limit=2).next_after is None
    assert agents.store.find(HERE, ANY, limit=1).next_after == sample.OTHER_AGENT


def test_others_agents_are_never_found(agents: Agents, stored: Settings) -> None:
    there = [{**sample.agent("z-1"), "orgId": "o-2"}, {**sample.agent("z-2"), "accountId": "acc-2"}]
    load_directory(stored, {"agents": there})

    assert found(agents) == OLD
    assert found(agents, agent_ids=["z-1", "u-z-1", "z-2"]) == []
    assert found(agents, OrgScope(account_id=sample.ACCOUNT)) == [*OLD, "z-1"]
    assert found(agents, OrgScope(account_id="acc-2", org_id=sample.ORG)) == ["z-2"]
    assert agents.store.accounts() == [sample.ACCOUNT, "acc-2"]


def test_agents_are_named_by_either_of_their_ids(agents: Agents) -> None:
    create(agents, "b", "c", "d")

    assert found(agents, agent_ids=["b", "u-d", "u-b", "nobody"]) == ["b", "d"]


def test_several_may_have_one_custom_id(agents: Agents) -> None:
    create(agents, "b", "c", custom_id="A/Z'?")
    create(agents, "d", custom_id="a/z'?")

    assert found(agents, custom_id="A/Z'?") == ["b", "c"]
    assert found(agents, custom_id="") == []


def test_each_list_widens_and_all_lists_narrow(agents: Agents) -> None:
    skill_1, skill_2 = ({name: {"skillId": name}} for name in ("s-1", "s-2"))
    create(agents, "b", skills=skill_1, queues={sample.QUEUE: False})
    create(agents, "c", skills=skill_2, queues={sample.QUEUE: True, sample.OTHER_QUEUE: False})
    create(agents, "d", skills=skill_1 | skill_2)

    assert found(agents, skill_ids=["s-1"]) == ["b", "d"]
    assert found(agents, skill_ids=["s-1", "s-2", "s-3"]) == ["b", "c", "d"]
    assert found(agents, queue_ids=[sample.QUEUE]) == ["b", "c"]
    assert found(agents, queue_ids=[sample.OTHER_QUEUE, "qu-none"]) == ["c"]
    assert found(agents, skill_ids=["s-1"], queue_ids=[sample.QUEUE]) == ["b"]
    assert found(agents, skill_ids=["s-2"], queue_ids=[sample.QUEUE], agent_ids=["u-c", "d"]) == ["c"]
    assert found(agents, skill_ids=["s-3"]) == []


def test_a_page_has_the_skills_and_on_request_the_queues_of_each(agents: Agents, tables: Tables) -> None:
    entry = {"skillId": "s-1", "name": "Silver"}
    create(agents, "b", skills={"s-1": entry}, queues={sample.QUEUE: True})
    tables.change(t.queues, {"queue_id": sample.QUEUE}, name="Default", profile={"description": "the first"})
    tables.insert(t.agent_skills, {"account_id": sample.ACCOUNT, "agent_id": sample.AGENT, "skill_id": "s-9"})

    (_, old, new) = agents.store.find(HERE, ANY, limit=9, with_queues=True).agents
    (_, _, bare) = agents.store.find(HERE, ANY, limit=9).agents

    assert (new.skills, old.skills) == ({"s-1": entry}, {"s-9": {"skillId": "s-9"}})
    assert old.queues == []
    (membership,) = new.queues or ()
    assert (membership.queue_id, membership.is_preferred) == (sample.QUEUE, True)
    assert (membership.name, membership.description) == ("Default", "the first")
    assert (bare.skills, bare.queues) == ({"s-1": entry}, None)


@pytest.mark.parametrize("phone", ["", "13456782345", 13456782345, None])
def test_the_brief_form_has_phone_and_picture_as_they_were_sent(agents: Agents, phone: object) -> None:
    create(agents, "b", profile={"phoneNumber": phone, "roleId": "r"})

    (found_one,) = agents.store.find_brief(HERE, AgentFilter(agent_ids=["b"]), after="", limit=9).agents

    assert found_one.profile == ({} if phone is None else {"phoneNumber": phone})
    assert found_one.first_name == "Jane"


def test_every_org_that_has_a_stream_is_known(agents: Agents, stored: Settings) -> None:
    load_directory(
        stored,
        {
            "streams": [
                {"streamId": "st-2", "accountId": sample.ACCOUNT, "orgId": sample.ORG},
                {"streamId": "st-3", "accountId": "acc-2", "orgId": "o-2"},
            ]
        },
    )

    assert agents.store.orgs() == [HERE, OrgScope(account_id="acc-2", org_id="o-2")]
