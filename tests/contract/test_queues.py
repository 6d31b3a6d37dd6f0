"""Queues made and listed, and who belongs to them, on both databases."""

from dataclasses import replace
from typing import Any

import pytest

from fakes import FakeClock
from handoff import Settings, load_directory
from handoff.domain.refusals import Refusal
from handoff.service.agent_store import DirectoryRefused, OrgScope, StoredQueue
from handoff.service.agents import MAX_QUEUES
from handoff.service.queues import QueueFields, Queues, WantedMember
from handoff.store import tables as t
from rigs import sample
from rigs.tables import Tables

HERE = OrgScope(account_id=sample.ACCOUNT, org_id=sample.ORG)
SAID = QueueFields(name="Default", profile={"description": "the first", "createdBy": "me"})


def create(queues: Queues, **changes: Any) -> StoredQueue:
    return queues.create(sample.ACCOUNT, sample.ORG, replace(SAID, **changes), created_by=sample.APP)


def member(agent_id: str | None = sample.AGENT, user_id: str | None = None, *, preferred: bool = False) -> WantedMember:
    return WantedMember(agent_id=agent_id, user_id=user_id, is_preferred=preferred)


def test_a_new_queue_reads_as_it_was_made(queues: Queues, clock: FakeClock) -> None:
    made = create(queues, members=[member(preferred=True)])

    assert made in queues.store.find(HERE, limit=9).queues
    assert (made.queue_id, made.name) == ("qu-190a1b2-c3d4-7000-8000-000000000001", "Default")
    assert made.profile == {"description": "the first", "createdBy": sample.APP}
    assert (made.created_at, made.updated_at, made.member_count) == (clock.now_ms(), clock.now_ms(), 1)
    (found,) = made.members
    assert (found.agent_id, found.user_id, found.is_preferred) == (sample.AGENT, f"u-{sample.AGENT}", True)


def test_agents_are_named_by_either_id_or_by_both(queues: Queues) -> None:
    made = create(
        queues, members=[member(None, f"u-{sample.AGENT}"), member(sample.OTHER_AGENT, f"u-{sample.OTHER_AGENT}")]
    )

    assert [one.agent_id for one in made.members] == [sample.OTHER_AGENT, sample.AGENT]


@pytest.mark.parametrize(
    "wanted",
    [member("a-none"), member(None, "u-none"), member(sample.AGENT, f"u-{sample.OTHER_AGENT}"), member("z-1")],
)
def test_a_queue_with_an_agent_that_is_not_there_is_not_made(
    queues: Queues, stored: Settings, tables: Tables, wanted: WantedMember
) -> None:
    load_directory(stored, {"agents": [{**sample.agent("z-1"), "orgId": "o-2"}]})

    with pytest.raises(DirectoryRefused) as error:
        create(queues, members=[member(), wanted])

    assert error.value.refusal is Refusal.AGENT_NOT_FOUND
    assert len(tables.rows(t.queues)) == 2
    assert tables.rows(t.queue_agents) == []


@pytest.mark.parametrize(
    ("changes", "refusal"),
    [
        ({"queue_id": sample.QUEUE}, Refusal.QUEUE_EXISTS),
        ({"org_id": "o-2"}, Refusal.ORG_NOT_FOUND),
        ({"account_id": "acc-2"}, Refusal.INVALID_REQUEST),
    ],
)
def test_a_queue_that_cannot_be_made_leaves_nothing(
    queues: Queues, tables: Tables, changes: dict[str, Any], refusal: Refusal
) -> None:
    before = tables.rows(t.queues)

    with pytest.raises(DirectoryRefused) as error:
        create(queues, members=[member()], **changes)

    assert error.value.refusal is refusal
    assert tables.rows(t.queues) == before
    assert tables.rows(t.queue_agents) == []


def test_an_agent_belongs_to_so_many_queues_and_no_more(queues: Queues, tables: Tables) -> None:
    mine = {"account_id": sample.ACCOUNT, "agent_id": sample.AGENT, "is_preferred": False}
    tables.insert(t.queue_agents, *({**mine, "queue_id": f"qu-{number}"} for number in range(MAX_QUEUES - 1)))
    create(queues, members=[member()])

    with pytest.raises(DirectoryRefused) as error:
        create(queues, members=[member(sample.OTHER_AGENT), member()])

    assert error.value.refusal is Refusal.INVALID_REQUEST
    assert sample.AGENT in error.value.detail
    assert len(tables.rows(t.queues)) == 3


def test_pages_follow_each_other_and_tell_how_many_there_are(queues: Queues, stored: Settings) -> None:
    load_directory(
        stored,
        {
            "queues": [
                {"id": "qu-x", "orgId": "o-2", "accountId": sample.ACCOUNT},
                {"id": "qu-y", "orgId": sample.ORG, "accountId": "acc-2"},
            ]
        },
    )
    everything = sorted(
        [sample.QUEUE, sample.OTHER_QUEUE, *(create(queues, queue_id=f"qu-{n}").queue_id for n in "vw")]
    )

    first = queues.store.find(HERE, limit=3)
    second = queues.store.find(HERE, after=first.next_after or "", limit=3)
    skipped = queues.store.find(HERE, skip=3, limit=3)

    assert [one.queue_id for page in (first, second) for one in page.queues] == everything
    assert (second.next_after, first.total, second.total) == (None, 4, 4)
    assert skipped.queues == second.queues


def test_a_long_queue_shows_its_first_hundred_agents_and_how_many_there_are(queues: Queues, tables: Tables) -> None:
    names = [f"m-{number:03}" for number in range(120)]
    agent = {**tables.rows(t.agents)[0], "profile": {}}
    tables.insert(t.agents, *({**agent, "agent_id": name, "user_id": f"u-{name}"} for name in names))
    key = {"account_id": sample.ACCOUNT}
    tables.insert(t.agent_skills, *({**key, "agent_id": name, "skill_id": f"s-{name}"} for name in names))
    tables.insert(
        t.queue_agents, *({**key, "queue_id": sample.QUEUE, "agent_id": name, "is_preferred": False} for name in names)
    )

    (found,) = (one for one in queues.store.find(HERE, limit=9).queues if one.queue_id == sample.QUEUE)

    assert found.member_count == 120
    assert [one.agent_id for one in found.members] == names[:100]
    assert [one.skill_ids for one in found.members] == [[f"s-{name}"] for name in names[:100]]


def test_the_queues_of_agents_are_found_by_either_of_their_ids(queues: Queues, tables: Tables) -> None:
    both = create(queues, queue_id="qu-1", members=[member(), member(sample.OTHER_AGENT)]).queue_id
    mine = create(queues, queue_id="qu-2", members=[member()]).queue_id
    elsewhere = {"account_id": sample.ACCOUNT, "org_id": "o-2", "queue_id": "qu-3", "name": ""}
    tables.insert(t.queues, elsewhere)
    tables.insert(
        t.queue_agents,
        {"account_id": sample.ACCOUNT, "queue_id": "qu-3", "agent_id": sample.AGENT, "is_preferred": False},
    )

    def found(*ids: str, scope: OrgScope = HERE) -> list[str]:
        return list(queues.store.queues_of(scope, ids, after="", limit=9).ids)

    assert found(sample.AGENT) == found(f"u-{sample.AGENT}", sample.OTHER_AGENT) == [both, mine]
    assert found(f"u-{sample.OTHER_AGENT}") == [both]
    assert found("a-none") == found(sample.AGENT, scope=OrgScope(account_id="acc-2", org_id=sample.ORG)) == []
    first = queues.store.queues_of(HERE, [sample.AGENT], after="", limit=1)
    second = queues.store.queues_of(HERE, [sample.AGENT], after=first.next_after or "", limit=1)
    assert (first.ids, second.ids, second.next_after) == ([both], [mine], None)
