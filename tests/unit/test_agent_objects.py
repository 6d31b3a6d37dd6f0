"""What readers see of an agent, where nobody ever said anything, or said strange things."""

from dataclasses import replace
from typing import Any

import pytest

from handoff.api.agent_objects import agent_object
from handoff.api.kept_json import require_tellable
from handoff.domain.model import Agent, AgentStatus
from handoff.service.agent_store import StoredAgent
from rigs.vendor_agents import AGENT, missing

BARE = StoredAgent(
    agent=Agent(
        account_id="acc-1",
        agent_id="a-1",
        org_id="o-1",
        status=AgentStatus.AVAILABLE,
        status_expires_at=2_000,
        max_sessions=2,
        active_sessions=0,
    ),
    user_id="u-1",
    first_name="",
    last_name="",
    email_id="",
    custom_id=None,
    profile={},
    created_at=0,
    updated_at=0,
    last_online_at=None,
    queues=[],
)


def shown(agent: StoredAgent = BARE, now_ms: int = 0, **options: Any) -> dict[str, Any]:
    return agent_object(agent, now_ms, **options).model_dump(mode="json", by_alias=True, exclude_unset=True)


def test_an_agent_of_whom_nothing_was_said_has_every_documented_member() -> None:
    bare = shown(stream_id="st-1")

    assert missing(AGENT, bare) == []
    assert (bare["name"], bare["customId"], bare["iId"], bare["agentGroups"]) == ("", "", "st-1", [])
    assert (bare["createdAt"], bare["updatedAt"], bare["lastOnlineAt"], bare["createdBy"]) == (None, None, None, None)


def test_times_are_told_to_the_millisecond_in_utc() -> None:
    known = shown(replace(BARE, created_at=1_763_535_767_241, last_online_at=1_763_535_767_000))

    assert (known["createdAt"], known["lastOnlineAt"]) == ("2025-11-19T07:02:47.241Z", "2025-11-19T07:02:47.000Z")


def test_an_end_that_is_past_is_not_shown() -> None:
    before, after = shown(now_ms=1_999), shown(now_ms=2_000)

    assert (before["onlineStatus"], before["statusExpiresAt"]) == ("Available", 2_000)
    assert (after["onlineStatus"], after["statusExpiresAt"]) == ("Offline", None)


def test_the_group_an_agent_is_made_in_is_its_group_unless_it_says_others() -> None:
    made = shown(replace(BARE, profile={"agentGroupId": "ag-1"}))
    said = shown(replace(BARE, profile={"agentGroupId": "ag-1", "agentGroups": [{"groupId": "ag-2"}]}))

    assert [one["groupId"] for one in made["agentGroups"]] == ["ag-1"]
    assert said["agentGroups"] == [{"groupId": "ag-2"}]


def test_what_was_kept_never_takes_the_place_of_what_is_so() -> None:
    strange = {"id": "x", "queues": 1, "skills": 2, "activeSessions": 9, "onlineStatusType": "x", "emailId": 3}

    assert shown(replace(BARE, profile=strange)) == shown()
    assert "queues" not in shown(replace(BARE, profile=strange, queues=None))


@pytest.mark.parametrize("value", ["Zoë 👋", {"": [None, True, 1, 1.5, {"a": []}]}, "x" * 60_000, 10**300])
def test_whatever_can_be_told_again_is_kept(value: Any) -> None:
    require_tellable(value)


@pytest.mark.parametrize("value", ["\x00", ["\ud800"], {"\udfff": 1}, float("nan"), {"a": [float("inf")]}])
def test_whatever_cannot_is_not(value: Any) -> None:
    with pytest.raises(ValueError, match="must be"):
        require_tellable(value)


def test_nesting_has_an_end() -> None:
    deep: list[Any] = []
    for _ in range(15):
        deep = [deep]

    require_tellable(deep)
    with pytest.raises(ValueError, match="nested 16 deep"):
        require_tellable([deep])


@pytest.mark.parametrize(
    ("answer", "lacking"),
    [
        ({"a": 1, "b": [{"c": 1}, {"c": 2}], "more": 1}, []),
        ({"b": [{"c": 1}]}, [".a"]),
        ({"a": 1, "b": [{"c": 1}, {}]}, [".b[].c"]),
        ({"a": 1, "b": []}, [".b[]"]),
        ({"a": 1, "b": {"c": 1}}, [".b[]"]),
        ([], [""]),
    ],
)
def test_the_comparison_with_the_documents_finds_what_is_missing(answer: Any, lacking: list[str]) -> None:
    assert missing({"a": None, "b": [{"c": None}]}, answer) == lacking
