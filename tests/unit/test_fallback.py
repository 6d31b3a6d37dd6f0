import json
from dataclasses import replace
from typing import Any

import pytest

from fakes import FakeIds
from handoff.domain.decide import Decision, Refused, Repeated, Situation, Transferred, decide
from handoff.domain.model import (
    Agent,
    AgentStatus,
    AssignRequest,
    PassedOver,
    Queue,
    Session,
    SessionState,
    Target,
    TargetKind,
    Transfer,
)
from handoff.domain.rules import Reassign

NOW = 1_700_000_000_000
A1, A2, A3 = (Target(TargetKind.AGENT, name) for name in ("a-1", "a-2", "a-3"))
Q1 = Target(TargetKind.QUEUE, "qu-1")
PLACE: dict[str, Any] = {"account_id": "acc", "stream_id": "st-1", "org_id": "o-1", "session_id": "s-1"}
CALL = AssignRequest(
    **PLACE,
    app_id="cs-1",
    stream_org_id="o-1",
    target=A1,
    fallback=(A2, Q1),
    callback_url="https://receiver.example/hook",
    request_id="req-1",
)
WITH_BOT = Session(**PLACE, conversation_id="c-1", state=SessionState.BOT, holder_id=None, version=6, transfer_id=None)
QUEUE = Queue(account_id="acc", org_id="o-1", queue_id="qu-1")


def agent(name: str, *, status: str = "AVAILABLE", active: int = 0, slots: int = 1, org: str = "o-1") -> Agent:
    return Agent(
        account_id="acc",
        org_id=org,
        agent_id=name,
        status=AgentStatus(status),
        status_expires_at=None,
        max_sessions=slots,
        active_sessions=active,
    )


def with_agent(name: str) -> Session:
    return replace(WITH_BOT, state=SessionState.AGENT, holder_id=name, transfer_id="tr_old")


def held_since(target: Target, **changes: Any) -> Transfer:
    """The recorded transfer by which the target got the session."""
    return Transfer(
        **PLACE,
        **{
            "app_id": "cs-1",
            "transfer_id": "tr_old",
            "target": target,
            "expected_agent_id": None,
            "previous_state": SessionState.BOT,
            "previous_holder_id": None,
            "status": 200,
            "code": None,
            "version": 6,
            "completed_at": NOW - 1,
            "callback_url": CALL.callback_url,
            "request_id": "req-0",
            "body": b"first",
            **changes,
        },
    )


def decided(*found: Agent | Queue | None, call: AssignRequest = CALL, **known: Any) -> Decision:
    situation = Situation(**{"session": WITH_BOT, "target": found[0], "fallback": found[1:], **known})
    return decide(call, situation, now_ms=NOW, fresh_id=FakeIds().fresh(), reassign=Reassign.EXPECTED)


AWAY = agent("a-1", status="AWAY")
FULL = agent("a-1", active=1)


@pytest.mark.parametrize(("first", "code"), [(AWAY, "agent_unavailable"), (FULL, "agent_at_capacity")])
def test_the_next_one_is_taken_where_the_first_is_unavailable_or_full(first: Agent, code: str) -> None:
    decision = decided(first, agent("a-2"), QUEUE)

    assert isinstance(decision, Transferred)
    assert (decision.session.state, decision.session.holder_id) == (SessionState.AGENT, "a-2")
    assert decision.agents == (agent("a-2", active=1),)
    assert decision.transfer.target == A2
    assert decision.transfer.passed_over == (PassedOver(A1, code),)
    assert json.loads(decision.transfer.body) == {
        "sessionId": "s-1",
        "agentId": "a-2",
        "status": "transferred",
        "requestCompletedAt": NOW,
    }
    told = json.loads(decision.callback.body)
    assert (told["agentId"], told["passedOver"]) == ("a-2", [{"agentId": "a-1", "code": code}])


def test_targets_are_tried_in_their_order_and_a_queue_always_has_room() -> None:
    decision = decided(AWAY, agent("a-2", active=1), QUEUE)

    assert isinstance(decision, Transferred)
    assert decision.transfer.target == Q1
    assert decision.transfer.passed_over == (PassedOver(A1, "agent_unavailable"), PassedOver(A2, "agent_at_capacity"))


def test_one_that_is_not_of_the_org_is_passed_over() -> None:
    decision = decided(AWAY, agent("a-2", org="o-2"), QUEUE)

    assert isinstance(decision, Transferred)
    assert decision.transfer.passed_over[1] == PassedOver(A2, "agent_not_found")


def test_one_whose_status_has_lapsed_is_passed_over() -> None:
    lapsed, lasting = (replace(agent("a-2"), status_expires_at=at) for at in (NOW, NOW + 1))

    passed, taken = decided(AWAY, lapsed, QUEUE), decided(AWAY, lasting, QUEUE)

    assert isinstance(passed, Transferred)
    assert isinstance(taken, Transferred)
    assert (passed.session.holder_id, taken.session.holder_id) == ("qu-1", "a-2")


def test_a_session_that_may_leave_its_holder_goes_to_a_fallback_who_is_not_that_one() -> None:
    call = replace(CALL, expected_agent_id="a-3")

    decision = decided(AWAY, agent("a-2"), QUEUE, call=call, session=with_agent("a-3"), holding=held_since(A3))

    assert isinstance(decision, Transferred)
    assert decision.session.holder_id == "a-2"


def test_the_first_refusal_stands_where_nobody_can_take_it_and_says_why_of_each() -> None:
    decision = decided(AWAY, agent("a-2", active=1), None)

    assert isinstance(decision, Refused)
    assert (decision.transfer.target, decision.transfer.status, decision.transfer.code) == (
        A1,
        409,
        "agent_unavailable",
    )
    assert decision.transfer.passed_over == (PassedOver(A2, "agent_at_capacity"), PassedOver(Q1, "queue_not_found"))
    problem = json.loads(decision.transfer.body)
    assert problem["detail"] == (
        "Agent a-1 is AWAY. Agent a-2 has 1 of 1 slots in use. Queue qu-1 is not known in org o-1."
    )
    others = [{"agentId": "a-2", "code": "agent_at_capacity"}, {"queueId": "qu-1", "code": "queue_not_found"}]
    assert problem["passedOver"] == json.loads(decision.callback.body)["passedOver"] == others


@pytest.mark.parametrize(
    ("known", "code"),
    [
        ({"session": None}, "session_not_found"),
        ({"target": None}, "agent_not_found"),
        ({"session": with_agent("a-3"), "holder": agent("a-3", active=1)}, "session_already_assigned"),
    ],
)
def test_no_other_refusal_is_helped_by_another_target(known: dict[str, Any], code: str) -> None:
    decision = decided(agent("a-1"), agent("a-2"), QUEUE, **known)

    assert isinstance(decision, Refused)
    assert (decision.transfer.code, decision.transfer.passed_over) == (code, ())


def test_a_repeat_gets_the_answer_by_which_its_fallback_was_taken() -> None:
    decision = decided(agent("a-1"), agent("a-2", active=1), QUEUE, session=with_agent("a-2"), holding=held_since(A2))

    assert isinstance(decision, Repeated)
    assert decision.transfer.body == b"first"
    assert decision.callback is None


def test_a_session_is_moved_on_although_its_holder_is_named_as_a_fallback() -> None:
    call = replace(CALL, fallback=(A3,), expected_agent_id="a-3")
    known = {"session": with_agent("a-3"), "holder": agent("a-3", active=1), "holding": held_since(A3)}
    decision = decided(agent("a-1"), agent("a-3", active=1), call=call, **known)

    assert isinstance(decision, Transferred)
    assert decision.agents == (agent("a-3"), agent("a-1", active=1))


def test_a_session_stays_with_its_holder_where_that_is_the_fallback_and_nobody_before_can_take_it() -> None:
    call = replace(CALL, fallback=(A3,), expected_agent_id="a-3")
    known = {"session": with_agent("a-3"), "holder": agent("a-3", active=1), "holding": held_since(A3)}
    decision = decided(AWAY, agent("a-3", active=1), call=call, **known)

    assert isinstance(decision, Repeated)
    assert decision.transfer.body == b"first"


@pytest.mark.parametrize(
    ("first", "expected"), [(AWAY, "a-3"), (agent("a-1"), None)], ids=["nobody before it", "it has it already"]
)
def test_a_repeat_by_a_fallback_takes_the_key_at_its_own_time(first: Agent, expected: str | None) -> None:
    call = replace(CALL, fallback=(A3,), expected_agent_id=expected, idempotency_key="key-1")

    decision = decided(first, agent("a-3"), call=call, session=with_agent("a-3"), holding=held_since(A3))

    assert isinstance(decision, Repeated)
    assert decision.key is not None
    assert (decision.key.transfer_id, decision.key.created_at) == ("tr_old", NOW)


def test_who_has_the_session_is_recorded_where_nobody_could_take_it() -> None:
    call = replace(CALL, fallback=(A2,), expected_agent_id="a-3")

    decision = decided(AWAY, None, call=call, session=with_agent("a-3"))

    assert isinstance(decision, Refused)
    assert (decision.transfer.previous_state, decision.transfer.previous_holder_id) == (SessionState.AGENT, "a-3")


def test_a_key_belongs_to_the_fallbacks_too_and_to_a_dry_run_and_the_real_one_alike() -> None:
    plain = replace(CALL, fallback=())

    assert CALL.fingerprint() != plain.fingerprint()
    assert CALL.fingerprint() != replace(CALL, fallback=(Q1, A2)).fingerprint()
    assert CALL.fingerprint() == replace(CALL, is_dry_run=True).fingerprint()
    # As it was computed before calls could have a fallback: keys that are stored keep their meaning.
    assert plain.fingerprint() == "34b473577b2299bd3b485b8a02122376d87490d5446beb0adf9ea0082bd8acc7"
