import json
from dataclasses import replace
from typing import Any, Literal

import pytest

from fakes import FakeIds
from handoff.domain.lifecycle import Denied, Move, Opened, Unmoved, move_session, open_session
from handoff.domain.model import (
    Agent,
    AgentStatus,
    MoveRequest,
    OpenRequest,
    Session,
    SessionState,
    Target,
    TargetKind,
)
from handoff.domain.refusals import Refusal

NOW = 1_700_000_000_000
FRESH = FakeIds().fresh()
PLACE: dict[str, Any] = {"account_id": "acc", "stream_id": "st-1", "session_id": "s-1"}
OPENING = OpenRequest(**PLACE, app_id="cs-1", org_id="o-1", request_id="req-1")
WITH_BOT = Session(
    **PLACE, org_id="o-1", conversation_id="c-1", state=SessionState.BOT, holder_id=None, version=4, transfer_id=None
)
WITH_A1 = replace(WITH_BOT, state=SessionState.AGENT, holder_id="a-1", transfer_id="tr_old")
WITH_Q1 = replace(WITH_BOT, state=SessionState.QUEUE, holder_id="qu-1", transfer_id="tr_old")
CLOSED = replace(WITH_BOT, state=SessionState.CLOSED, transfer_id="tr_end")
A1 = Agent(
    account_id="acc",
    agent_id="a-1",
    org_id="o-1",
    status=AgentStatus.OFFLINE,
    status_expires_at=None,
    max_sessions=2,
    active_sessions=2,
)


def move(
    session: Session | None,
    holder: Agent | None = None,
    *,
    kind: Literal[TargetKind.BOT, TargetKind.CLOSED] = TargetKind.CLOSED,
    expected: str | None = None,
) -> Move | Unmoved | Denied:
    request = MoveRequest(**PLACE, app_id="cs-1", kind=kind, expected_agent_id=expected, request_id="req-1")
    return move_session(request, session, holder, now_ms=NOW, fresh_id=FRESH)


def test_a_session_that_is_opened_is_with_the_bot_and_nothing_has_happened_to_it() -> None:
    opened = open_session(OPENING, None, fresh_id=FRESH)

    assert isinstance(opened, Opened)
    assert opened.is_new
    assert opened.session == replace(WITH_BOT, conversation_id=f"c-{FRESH[1:]}", version=0)


@pytest.mark.parametrize("found", [WITH_BOT, WITH_A1, CLOSED])
def test_one_that_is_there_is_left_as_it_is(found: Session) -> None:
    assert open_session(OPENING, found, fresh_id=FRESH) == Opened(session=found, is_new=False)


def test_the_id_of_another_streams_session_is_refused_and_nothing_is_told_of_that_one() -> None:
    denied = open_session(OPENING, replace(WITH_A1, stream_id="st-2"), fresh_id=FRESH)

    assert isinstance(denied, Denied)
    assert (denied.no.refusal, denied.session) == (Refusal.SESSION_ID_TAKEN, None)
    assert "st-2" not in denied.no.detail


@pytest.mark.parametrize(
    ("kind", "state", "by"),
    [(TargetKind.BOT, SessionState.BOT, None), (TargetKind.CLOSED, SessionState.CLOSED, f"tr_{FRESH}")],
)
def test_a_release_and_a_close_free_the_slot_and_are_recorded_as_transfers_to_nobody(
    kind: Literal[TargetKind.BOT, TargetKind.CLOSED], state: SessionState, by: str | None
) -> None:
    moved = move(WITH_A1, A1, kind=kind)

    assert isinstance(moved, Move)
    assert moved.session == replace(WITH_A1, state=state, holder_id=None, version=5, transfer_id=by)
    assert moved.agents == (replace(A1, active_sessions=1),)
    row = moved.transfer
    assert (row.transfer_id, row.target, row.version, row.callback_url) == (f"tr_{FRESH}", Target(kind, ""), 5, "")
    assert (row.previous_state, row.previous_agent_id, row.org_id) == (SessionState.AGENT, "a-1", "o-1")
    status = {"bot": "released", "closed": "closed"}[kind]
    assert json.loads(row.body) == {"sessionId": "s-1", "status": status, "requestCompletedAt": NOW}


def test_whom_the_caller_expected_is_recorded_with_the_transfer() -> None:
    moved = move(WITH_A1, A1, expected="a-1")

    assert isinstance(moved, Move)
    assert moved.transfer.expected_agent_id == "a-1"


def test_one_that_waits_in_a_queue_frees_nobody() -> None:
    moved = move(WITH_Q1, kind=TargetKind.BOT)

    assert isinstance(moved, Move)
    assert moved.agents == ()
    assert (moved.transfer.previous_state, moved.transfer.previous_holder_id) == (SessionState.QUEUE, "qu-1")


@pytest.mark.parametrize("expected", [None, "a-1"])
@pytest.mark.parametrize(("kind", "session"), [(TargetKind.BOT, WITH_BOT), (TargetKind.CLOSED, CLOSED)])
def test_what_is_so_already_stays_so_whoever_was_expected_before(
    kind: Literal[TargetKind.BOT, TargetKind.CLOSED], session: Session, expected: str | None
) -> None:
    assert move(session, kind=kind, expected=expected) == Unmoved(session=session)


NOT_FOUND = "Session s-1 is not known in stream st-1."
BY_WHOM = "at version 4"


@pytest.mark.parametrize(
    ("session", "kind", "expected", "refusal", "detail"),
    [
        (None, TargetKind.CLOSED, None, Refusal.SESSION_NOT_FOUND, NOT_FOUND),
        (replace(WITH_BOT, stream_id="st-2"), TargetKind.CLOSED, None, Refusal.SESSION_NOT_FOUND, NOT_FOUND),
        (CLOSED, TargetKind.BOT, None, Refusal.SESSION_CLOSED, "Session s-1 is closed."),
        (
            WITH_A1,
            TargetKind.CLOSED,
            "a-2",
            Refusal.HOLDER_CHANGED,
            f"Session s-1 is not with agent a-2 but with agent a-1 {BY_WHOM}.",
        ),
        (
            WITH_Q1,
            TargetKind.BOT,
            "a-1",
            Refusal.HOLDER_CHANGED,
            f"Session s-1 is not with agent a-1 but with queue qu-1 {BY_WHOM}.",
        ),
        (  # an agent and a queue may have one id
            WITH_Q1,
            TargetKind.CLOSED,
            "qu-1",
            Refusal.HOLDER_CHANGED,
            f"Session s-1 is not with agent qu-1 but with queue qu-1 {BY_WHOM}.",
        ),
        (
            WITH_BOT,
            TargetKind.CLOSED,
            "a-1",
            Refusal.HOLDER_CHANGED,
            f"Session s-1 is not with agent a-1 but with the bot {BY_WHOM}.",
        ),
    ],
)
def test_what_cannot_be_done_is_refused_in_a_sentence_and_with_the_session_where_it_is_known(
    session: Session | None,
    kind: Literal[TargetKind.BOT, TargetKind.CLOSED],
    expected: str | None,
    refusal: Refusal,
    detail: str,
) -> None:
    denied = move(session, A1, kind=kind, expected=expected)

    assert isinstance(denied, Denied)
    assert (denied.no.refusal, denied.no.detail) == (refusal, detail)
    assert denied.session == (None if refusal is Refusal.SESSION_NOT_FOUND else session)
