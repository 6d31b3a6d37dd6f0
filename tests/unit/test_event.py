"""The events of the feed, member by member: who follows it has nothing else to go by."""

import json
from dataclasses import replace
from typing import Any

import pytest

from fakes import FakeIds
from handoff.domain.event import Event, EventKind, agent_changed, session_moved, session_opened
from handoff.domain.lifecycle import Move, move_session
from handoff.domain.model import MoveRequest, Session, SessionState, Target, TargetKind, Transfer

NOW = 1_700_000_000_000
PLACE: dict[str, Any] = {"account_id": "acc", "stream_id": "st-1", "session_id": "s-1", "org_id": "o-1"}
WITH_BOT = Session(**PLACE, conversation_id="c-1", state=SessionState.BOT, holder_id=None, version=4, transfer_id=None)
WITH_A1 = replace(WITH_BOT, state=SessionState.AGENT, holder_id="a-1", version=5)
WITH_Q1 = replace(WITH_BOT, state=SessionState.QUEUE, holder_id="qu-1", version=5)
TOLD = {"sessionId": "s-1", "conversationId": "c-1", "streamId": "st-1", "orgId": "o-1"}


def transfer(before: Session, after: Session) -> Transfer:
    """The transfer by which the session went from the one to the other."""
    return Transfer(
        **PLACE,
        transfer_id="tr_1",
        app_id="cs-1",
        target=Target(TargetKind(after.state.value), after.holder_id or ""),
        expected_agent_id=None,
        previous_state=before.state,
        previous_holder_id=before.holder_id,
        status=200,
        code=None,
        version=after.version,
        completed_at=NOW,
        callback_url="",
        request_id="req-1",
        body=b"",
    )


def moved(before: Session, after: Session) -> Event:
    after = replace(after, version=before.version + 1)
    return session_moved(before, after, transfer(before, after))


def test_a_session_that_is_opened_is_told_with_all_its_ids_and_nobody_who_has_it() -> None:
    opened = session_opened(replace(WITH_BOT, version=0), app_id="cs-1", at=NOW)

    assert json.loads(opened.body) == TOLD | {"state": "bot", "version": 0, "appId": "cs-1"}
    assert replace(opened, body=b"") == Event(
        account_id="acc",
        kind=EventKind.SESSION_OPENED,
        at=NOW,
        org_id="o-1",
        stream_id="st-1",
        agent_id=None,
        previous_agent_id=None,
        body=b"",
    )


@pytest.mark.parametrize(
    ("before", "after", "kind", "members"),
    [
        (WITH_BOT, WITH_A1, EventKind.SESSION_TRANSFERRED, {"state": "agent", "agentId": "a-1"}),
        (WITH_BOT, WITH_Q1, EventKind.SESSION_TRANSFERRED, {"state": "queue", "queueId": "qu-1"}),
        (
            WITH_A1,
            WITH_Q1,
            EventKind.SESSION_TRANSFERRED,
            {"state": "queue", "queueId": "qu-1", "previousAgentId": "a-1"},
        ),
        (
            WITH_Q1,
            WITH_A1,
            EventKind.SESSION_TRANSFERRED,
            {"state": "agent", "agentId": "a-1", "previousQueueId": "qu-1"},
        ),
        (WITH_A1, WITH_BOT, EventKind.SESSION_RELEASED, {"state": "bot", "previousAgentId": "a-1"}),
    ],
)
def test_a_session_that_moves_is_told_with_who_has_it_and_who_had_it(
    before: Session, after: Session, kind: EventKind, members: dict[str, str]
) -> None:
    event = moved(before, after)

    assert event.kind is kind
    assert json.loads(event.body) == TOLD | members | {
        "version": before.version + 1,
        "transferId": "tr_1",
        "appId": "cs-1",
    }
    assert (event.at, event.account_id, event.org_id, event.stream_id) == (NOW, "acc", "o-1", "st-1")
    assert event.agent_id == (after.holder_id if after.state is SessionState.AGENT else None)
    assert event.previous_agent_id == (before.holder_id if before.state is SessionState.AGENT else None)


def test_a_session_that_ends_is_told_as_closed_by_the_transfer_that_closed_it() -> None:
    request = MoveRequest(
        account_id="acc",
        stream_id="st-1",
        session_id="s-1",
        app_id="cs-2",
        kind=TargetKind.CLOSED,
        expected_agent_id=None,
        request_id="req-1",
    )
    move = move_session(request, WITH_Q1, None, now_ms=NOW, fresh_id=FakeIds().fresh())
    assert isinstance(move, Move)

    event = session_moved(WITH_Q1, move.session, move.transfer)

    assert event.kind is EventKind.SESSION_CLOSED
    assert json.loads(event.body) == TOLD | {
        "state": "closed",
        "version": 6,
        "transferId": move.transfer.transfer_id,
        "previousQueueId": "qu-1",
        "appId": "cs-2",
    }


def test_an_agents_event_names_the_agent_first_and_then_what_is_to_be_told() -> None:
    changed = agent_changed(
        EventKind.AGENT_STATUS, account_id="acc", org_id="o-1", agent_id="a-1", at=NOW, members={"status": "AWAY"}
    )

    assert changed == Event(
        account_id="acc",
        kind=EventKind.AGENT_STATUS,
        at=NOW,
        org_id="o-1",
        stream_id=None,
        agent_id="a-1",
        previous_agent_id=None,
        body=b'{"agentId":"a-1","orgId":"o-1","status":"AWAY"}',
    )
