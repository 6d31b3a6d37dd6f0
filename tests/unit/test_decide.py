import json
from dataclasses import replace
from typing import Any

import pytest

from fakes import FakeIds
from handoff.domain import message
from handoff.domain.decide import Decision, KeyReused, Refused, Repeated, Situation, Transferred, decide
from handoff.domain.ids import callback_id
from handoff.domain.model import (
    Agent,
    AgentStatus,
    AssignRequest,
    Callback,
    KeyUse,
    Queue,
    Session,
    SessionState,
    Target,
    TargetKind,
    Transfer,
)
from handoff.domain.rules import Reassign

NOW = 1_700_000_000_000
FRESH = FakeIds().fresh()
URL = "https://receiver.example/hook"
OTHER_URL = "http://Other.example:8009/hook?x=1"
TO_A1 = Target(TargetKind.AGENT, "a-1")
PLACE: dict[str, Any] = {"account_id": "acc", "stream_id": "st-1", "org_id": "o-1", "session_id": "s-1"}
ASKED: dict[str, Any] = PLACE | {"app_id": "cs-1", "target": TO_A1, "callback_url": URL, "request_id": "req-1"}

REQUEST = AssignRequest(**ASKED, stream_org_id="o-1")
WITH_BOT = Session(**PLACE, conversation_id="c-1", state=SessionState.BOT, holder_id=None, version=6, transfer_id=None)
WITH_A1 = replace(WITH_BOT, state=SessionState.AGENT, holder_id="a-1", transfer_id="tr_old")
WITH_A2 = replace(WITH_A1, holder_id="a-2")
WITH_Q1 = replace(WITH_A1, state=SessionState.QUEUE, holder_id="qu-1")
WITH_Q2 = replace(WITH_Q1, holder_id="qu-2")
CLOSED = replace(WITH_BOT, state=SessionState.CLOSED)
IN_ORG: dict[str, Any] = {"account_id": "acc", "org_id": "o-1"}
LOAD: dict[str, Any] = {"max_sessions": 5, "active_sessions": 2}
A1 = Agent(**IN_ORG, **LOAD, agent_id="a-1", status=AgentStatus("AVAILABLE"), status_expires_at=None)
A2 = replace(A1, agent_id="a-2", active_sessions=5, status=AgentStatus.AWAY)
FULL = replace(A1, max_sessions=2)
SLOTLESS = replace(A1, max_sessions=0, active_sessions=0)
Q1 = Queue(**IN_ORG, queue_id="qu-1")
BEFORE: dict[str, Any] = {"previous_state": SessionState.AGENT, "previous_holder_id": "a-0", "expected_agent_id": None}
ANSWER: dict[str, Any] = {"status": 200, "code": None, "version": 6, "completed_at": NOW - 1_000, "body": b"first"}
FIRST = Transfer(**ASKED | {"app_id": "cs-0", "request_id": "req-0"}, **BEFORE, **ANSWER, transfer_id="tr_old")
MESSAGE: dict[str, Any] = {"account_id": "acc", "app_id": "cs-1", "due_at": NOW, "expires_at": NOW + 72 * 3_600_000}


def decided(
    request: AssignRequest = REQUEST,
    session: Session | None = WITH_BOT,
    target: Agent | Queue | None = A1,
    *,
    reassign: Reassign = Reassign.EXPECTED,
    **known: Any,
) -> Decision:
    situation = Situation(session=session, target=target, **known)
    return decide(request, situation, now_ms=NOW, fresh_id=FRESH, reassign=reassign)


def won(*args: Any, **known: Any) -> Transferred:
    decision = decided(*args, **known)
    assert isinstance(decision, Transferred)
    return decision


def refused(*args: Any, **known: Any) -> Refused:
    decision = decided(*args, **known)
    assert isinstance(decision, Refused)
    return decision


TO_QUEUE = replace(REQUEST, target=Target(TargetKind.QUEUE, "qu-1"))
EXPECTING_A2 = replace(REQUEST, expected_agent_id="a-2")
EXPECTING_A3 = replace(REQUEST, expected_agent_id="a-3")
LOST = "Session s-1 is not known in stream st-1."
NO_AGENT = "Agent a-1 is not known in org o-1."
NO_QUEUE = "Queue qu-1 is not known in org o-1."
HELD = "Session s-1 is with agent a-2 at version 6; to move it, send expectedAgentId a-2."
NOT_WITH_A3 = "Session s-1 is not with agent a-3 but with"


@pytest.mark.parametrize(
    ("request_", "session", "target", "status", "code", "detail"),
    [
        (replace(REQUEST, org_id="o-2"), WITH_BOT, A1, 404, "org_not_found", "Stream st-1 does not belong to org o-2."),
        (REQUEST, None, A1, 404, "session_not_found", LOST),
        (REQUEST, replace(WITH_BOT, stream_id="st-2"), A1, 404, "session_not_found", LOST),
        (REQUEST, CLOSED, A1, 410, "session_closed", "Session s-1 is closed."),
        (REQUEST, WITH_BOT, None, 404, "agent_not_found", NO_AGENT),
        (REQUEST, WITH_BOT, replace(A1, org_id="o-2"), 404, "agent_not_found", NO_AGENT),
        (TO_QUEUE, WITH_BOT, None, 404, "queue_not_found", NO_QUEUE),
        (TO_QUEUE, WITH_BOT, replace(Q1, org_id="o-2"), 404, "queue_not_found", NO_QUEUE),
        (REQUEST, WITH_A2, A1, 409, "session_already_assigned", HELD),
        (TO_QUEUE, WITH_A2, Q1, 409, "session_already_assigned", HELD),
        (EXPECTING_A3, WITH_A2, A1, 409, "holder_changed", f"{NOT_WITH_A3} agent a-2 at version 6."),
        (EXPECTING_A3, WITH_BOT, A1, 409, "holder_changed", f"{NOT_WITH_A3} the bot at version 6."),
        (EXPECTING_A3, WITH_Q2, A1, 409, "holder_changed", f"{NOT_WITH_A3} queue qu-2 at version 6."),
        (REQUEST, WITH_BOT, replace(A1, status=AgentStatus.AWAY), 409, "agent_unavailable", "Agent a-1 is AWAY."),
        (REQUEST, WITH_BOT, replace(A1, status=AgentStatus.BUSY), 409, "agent_unavailable", "Agent a-1 is BUSY."),
        (REQUEST, WITH_BOT, replace(A1, status_expires_at=NOW), 409, "agent_unavailable", "Agent a-1 is OFFLINE."),
        (REQUEST, WITH_BOT, FULL, 409, "agent_at_capacity", "Agent a-1 has 2 of 2 slots in use."),
        (REQUEST, WITH_BOT, SLOTLESS, 409, "agent_at_capacity", "Agent a-1 has 0 of 0 slots in use."),
    ],
)
def test_a_refusal_answers_the_problem_that_says_why(
    request_: AssignRequest, session: Session | None, target: Agent | Queue | None, status: int, code: str, detail: str
) -> None:
    transfer = refused(request_, session, target).transfer
    problem = json.loads(transfer.body)

    assert (transfer.status, transfer.code) == (status, code)
    assert (problem["code"], problem["detail"]) == (code, detail)


# What can be wrong with one request, in the order in which it is told: changes of request, session and agent.
FAULTS: tuple[tuple[str, dict[str, Any], dict[str, Any], dict[str, Any]], ...] = (
    ("org_not_found", {"stream_org_id": "o-2"}, {}, {}),
    ("session_not_found", {}, {"stream_id": "st-2"}, {}),
    ("session_closed", {}, {"state": SessionState.CLOSED, "holder_id": None}, {}),
    ("agent_not_found", {}, {}, {"org_id": "o-2"}),
    ("holder_changed", {"expected_agent_id": "a-3"}, {}, {}),
    ("session_already_assigned", {}, {"state": SessionState.AGENT, "holder_id": "a-2"}, {}),
    ("agent_unavailable", {}, {}, {"status": AgentStatus.OFFLINE}),
    ("agent_at_capacity", {}, {}, {"active_sessions": 5}),
)


@pytest.mark.parametrize("first", range(len(FAULTS)), ids=[fault[0] for fault in FAULTS])
def test_of_several_faults_the_first_in_order_is_told(first: int) -> None:
    request, session, target = REQUEST, WITH_BOT, A1
    for _, in_request, in_session, in_target in reversed(FAULTS[first:]):
        request = replace(request, **in_request)
        session = replace(session, **in_session)
        target = replace(target, **in_target)

    assert refused(request, session, target).transfer.code == FAULTS[first][0]


@pytest.mark.parametrize(
    ("session", "request_", "members"),
    [
        (WITH_A2, REQUEST, {"agentId": "a-2", "version": 6}),
        (WITH_A2, EXPECTING_A3, {"agentId": "a-2", "version": 6}),
        (WITH_Q2, EXPECTING_A3, {"queueId": "qu-2", "version": 6}),
        (WITH_BOT, EXPECTING_A3, {"version": 6}),
        (CLOSED, REQUEST, {}),
    ],
)
def test_every_refusal_records_the_holder_and_one_about_the_holder_names_it_with_the_version(
    session: Session, request_: AssignRequest, members: dict[str, Any]
) -> None:
    transfer = refused(request_, session).transfer
    problem = json.loads(transfer.body)

    assert {key: problem[key] for key in ("agentId", "queueId", "version") if key in problem} == members
    assert transfer.version == members.get("version")
    assert (transfer.previous_state, transfer.previous_holder_id) == (session.state, session.holder_id)


@pytest.mark.parametrize(
    ("session", "request_"),
    [(replace(WITH_A2, stream_id="st-2"), REQUEST), (WITH_A2, replace(REQUEST, stream_org_id="o-2"))],
)
def test_of_a_session_that_is_out_of_place_nothing_is_recorded(session: Session, request_: AssignRequest) -> None:
    transfer = refused(request_, session).transfer

    assert (transfer.previous_state, transfer.previous_holder_id, transfer.version) == (None, None, None)


@pytest.mark.parametrize("changes", [{"status_expires_at": NOW + 1}, {"active_sessions": 4}], ids=str)
def test_a_status_lasts_to_its_last_millisecond_and_the_last_slot_is_given(changes: dict[str, Any]) -> None:
    assert won(REQUEST, WITH_BOT, replace(A1, **changes)).session.holder_id == "a-1"


@pytest.mark.parametrize(
    ("session", "holder", "request_", "target", "loads"),
    [
        (WITH_BOT, None, REQUEST, A1, {"a-1": 3}),
        (WITH_Q1, None, REQUEST, A1, {"a-1": 3}),
        (WITH_BOT, None, TO_QUEUE, Q1, {}),
        (WITH_Q2, None, TO_QUEUE, Q1, {}),
        (WITH_A2, A2, EXPECTING_A2, A1, {"a-2": 4, "a-1": 3}),
        (WITH_A2, A2, replace(EXPECTING_A2, target=TO_QUEUE.target), Q1, {"a-2": 4}),
    ],
)
def test_a_won_session_and_its_slot_move_to_the_target_one_version_on(
    session: Session, holder: Agent | None, request_: AssignRequest, target: Agent | Queue, loads: dict[str, int]
) -> None:
    decision = won(request_, session, target, holder=holder)
    to = request_.target
    after = replace(session, state=SessionState(to.kind.value), holder_id=to.id, version=7, transfer_id=f"tr_{FRESH}")

    assert decision.session == after
    assert {changed.agent_id: changed.active_sessions for changed in decision.agents} == loads


def test_always_reassigning_takes_a_session_without_an_expectation() -> None:
    decision = won(REQUEST, WITH_A2, holder=A2, reassign=Reassign.ALWAYS)

    assert decision.agents == (replace(A2, active_sessions=4), replace(A1, active_sessions=3))
    assert json.loads(decision.callback.body)["previousAgentId"] == "a-2"


def test_always_reassigning_still_honours_an_expectation() -> None:
    assert refused(EXPECTING_A3, WITH_A2, reassign=Reassign.ALWAYS).transfer.code == "holder_changed"


def test_a_won_transfer_records_the_request_and_who_had_the_session() -> None:
    request = replace(EXPECTING_A2, idempotency_key="k")
    transfer = won(request, WITH_A2, holder=A2).transfer

    assert transfer == replace(
        FIRST,
        **ASKED | {"transfer_id": f"tr_{FRESH}", "expected_agent_id": "a-2", "previous_holder_id": "a-2", "version": 7},
        completed_at=NOW,
        body=message.answer("s-1", TO_A1, NOW),
    )


@pytest.mark.parametrize("session", [WITH_BOT, None])
def test_an_outcome_has_one_callback_due_at_once_for_three_days(session: Session | None) -> None:
    decision = decided(REQUEST, session)
    assert isinstance(decision, Transferred | Refused)
    transfer = decision.transfer
    ids: dict[str, Any] = {"callback_id": f"msg_{FRESH}", "transfer_id": f"tr_{FRESH}"}
    body = message.success_callback(transfer) if session else message.failure_callback(transfer, LOST)

    assert decision.callback == Callback(**MESSAGE, **ids, url=URL, lane="https://receiver.example:443", body=body)


@pytest.mark.parametrize("target", [A1, None, A2])
@pytest.mark.parametrize("request_", [REQUEST, EXPECTING_A3])
def test_a_repeat_stands_whatever_became_of_the_agent(request_: AssignRequest, target: Agent | None) -> None:
    assert decided(request_, WITH_A1, target, holding=FIRST) == Repeated(transfer=FIRST)


def test_a_repeat_for_a_queue_stands_too() -> None:
    assert decided(TO_QUEUE, WITH_Q1, Q1, holding=FIRST) == Repeated(transfer=FIRST)


@pytest.mark.parametrize("request_", [replace(REQUEST, org_id="o-2"), replace(REQUEST, stream_id="st-2")])
def test_a_repeat_from_elsewhere_is_refused(request_: AssignRequest) -> None:
    assert refused(request_, WITH_A1, holding=FIRST).transfer.status == 404


@pytest.mark.parametrize("session", [WITH_A2, replace(WITH_Q1, holder_id="a-1")])
def test_what_another_holds_is_no_repeat(session: Session) -> None:
    assert not isinstance(decided(REQUEST, session, holding=FIRST), Repeated)


def test_a_repeat_for_another_url_sends_a_copy_there_from_the_app_that_asked() -> None:
    decision = decided(replace(REQUEST, callback_url=OTHER_URL), WITH_A1, holding=FIRST)
    ids: dict[str, Any] = {"callback_id": callback_id("tr_old", OTHER_URL), "transfer_id": "tr_old"}
    body = message.success_callback(FIRST)
    copy = Callback(**MESSAGE, **ids, url=OTHER_URL, lane="http://other.example:8009", body=body)

    assert decision == Repeated(transfer=FIRST, callback=copy)


KEYED = replace(REQUEST, idempotency_key="k-1")
NAMED: dict[str, Any] = {"account_id": "acc", "app_id": "cs-1", "key": "k-1"}
USE = KeyUse(**NAMED, fingerprint=KEYED.fingerprint(), transfer_id="tr_old", created_at=NOW)


@pytest.mark.parametrize("request_", [KEYED, replace(KEYED, callback_url=OTHER_URL)])
@pytest.mark.parametrize(
    ("session", "name"), [(WITH_BOT, f"tr_{FRESH}"), (WITH_A2, f"tr_{FRESH}"), (WITH_A1, "tr_old")]
)
def test_every_outcome_takes_the_key(session: Session, request_: AssignRequest, name: str) -> None:
    decision = decided(request_, session, holding=FIRST)

    assert not isinstance(decision, KeyReused)
    assert decision.key == replace(USE, transfer_id=name, fingerprint=request_.fingerprint())


@pytest.mark.parametrize("session", [WITH_BOT, WITH_A1, CLOSED, None])
def test_a_known_key_repeats_its_outcome_whatever_the_session_became(session: Session | None) -> None:
    again = replace(KEYED, request_id="req-2", stream_org_id="o-9")

    assert decided(again, session, keyed=USE, keyed_transfer=FIRST) == Repeated(transfer=FIRST)


@pytest.mark.parametrize(
    "changes",
    [
        {"stream_id": "st-2"},
        {"org_id": "o-2"},
        {"session_id": "s-2"},
        {"target": Target(TargetKind.AGENT, "a-2")},
        {"target": Target(TargetKind.QUEUE, "a-1")},
        {"callback_url": OTHER_URL},
        {"expected_agent_id": "a-1"},
    ],
    ids=str,
)
def test_a_known_key_with_another_request_is_refused_before_all_else(changes: dict[str, Any]) -> None:
    assert decided(replace(KEYED, **changes), None, None, keyed=USE, keyed_transfer=FIRST) == KeyReused()


def test_a_key_whose_transfer_is_gone_is_decided_anew() -> None:
    assert isinstance(decided(KEYED, keyed=USE), Transferred)
