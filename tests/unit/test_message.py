import json
from typing import Any

import pytest

from handoff.domain import message
from handoff.domain.model import SessionState, Target, TargetKind, Transfer
from handoff.domain.refusals import Refusal

AGENT = Target(TargetKind.AGENT, "a-1")
QUEUE = Target(TargetKind.QUEUE, "qu-1")
DETAIL = "Größe „x“ → \U0001f600"


def transfer(**changes: Any) -> Transfer:
    fields: dict[str, Any] = {
        "account_id": "acc",
        "transfer_id": "tr_1",
        "app_id": "cs-1",
        "stream_id": "st-1",
        "org_id": "o-1",
        "session_id": "s-1",
        "target": AGENT,
        "expected_agent_id": None,
        "previous_state": SessionState.BOT,
        "previous_holder_id": None,
        "status": 200,
        "code": None,
        "version": 3,
        "completed_at": 1_700_000_000_123,
        "callback_url": "https://receiver.example",
        "request_id": "req-1",
        "body": b"",
    }
    return Transfer(**fields | changes)


def test_the_answer_is_exactly_the_four_documented_keys() -> None:
    body = message.answer("s-1", AGENT, 1_700_000_000_123)

    assert body == (b'{"sessionId":"s-1","agentId":"a-1","status":"transferred","requestCompletedAt":1700000000123}')


def test_the_answer_about_a_queue_names_the_queue_in_the_agents_place() -> None:
    body = message.answer("s-1", QUEUE, 5)

    assert body == b'{"sessionId":"s-1","queueId":"qu-1","status":"transferred","requestCompletedAt":5}'


def test_a_problem_carries_its_code_and_the_familys_envelope() -> None:
    body = message.problem(Refusal.AGENT_UNAVAILABLE, "Agent a-1 is AWAY.")

    assert body == (
        b'{"type":"urn:handoff:problem:agent_unavailable","title":"The agent is not available","status":409,'
        b'"detail":"Agent a-1 is AWAY.","code":"agent_unavailable",'
        b'"errors":[{"msg":"Agent a-1 is AWAY.","code":409}]}'
    )


def test_a_problems_further_members_stand_beside_the_common_ones() -> None:
    body = json.loads(message.problem(Refusal.HOLDER_CHANGED, "No.", {"agentId": "a-2", "version": 4}))

    assert list(body) == ["type", "title", "status", "detail", "code", "agentId", "version", "errors"]
    assert (body["agentId"], body["version"]) == ("a-2", 4)


def test_a_problem_is_the_serialised_form_of_its_object() -> None:
    members = {"version": 1}
    body = message.problem(Refusal.SESSION_CLOSED, "Closed.", members)

    assert json.loads(body) == message.problem_object(Refusal.SESSION_CLOSED, "Closed.", members)


@pytest.mark.parametrize("refusal", Refusal)
def test_every_refusal_has_a_problem_of_its_own_status_and_title(refusal: Refusal) -> None:
    body = json.loads(message.problem(refusal, "Why."))

    assert (body["code"], body["status"], body["title"]) == refusal.value
    assert body["errors"] == [{"msg": "Why.", "code": refusal.status}]


RECORDED = {
    404: "session_not_found agent_not_found queue_not_found org_not_found",
    409: "session_already_assigned holder_changed agent_unavailable agent_at_capacity",
    410: "session_closed",
}
UNRECORDED = {
    401: "token_missing token_invalid token_expired token_replayed app_disabled",
    403: "scope_missing stream_forbidden account_mismatch",
    404: "callback_not_found conversation_not_found transfer_not_found",
    408: "request_timeout",
    409: "callback_in_flight callback_ended session_id_taken agent_exists agent_holds_sessions queue_exists",
    410: "events_gone",
    413: "body_too_large",
    415: "unsupported_media_type",
    422: "invalid_request conflicting_parameters callback_url_forbidden idempotency_key_reused",
    429: "rate_limited",
    503: "overloaded store_unavailable",
}


@pytest.mark.parametrize(("table", "is_recorded"), [(RECORDED, True), (UNRECORDED, False)])
def test_every_code_has_its_status_for_good_and_only_refusals_about_the_conversation_are_recorded(
    table: dict[int, str], *, is_recorded: bool
) -> None:
    told = {refusal.code: refusal.status for refusal in Refusal if refusal.is_recorded is is_recorded}

    assert told == {code: status for status, codes in table.items() for code in codes.split()}


def test_a_plain_problem_has_the_statuss_own_title() -> None:
    body = message.plain_problem(405, "Use POST.")

    assert body == (
        b'{"type":"about:blank","title":"Method Not Allowed","status":405,"detail":"Use POST.",'
        b'"errors":[{"msg":"Use POST.","code":405}]}'
    )


def test_letters_of_every_script_leave_as_utf_8_and_not_as_escapes() -> None:
    body = message.plain_problem(404, DETAIL)

    assert DETAIL.encode() in body
    assert json.loads(body)["detail"] == DETAIL


@pytest.mark.parametrize(
    ("state", "holder", "members"),
    [
        (SessionState.AGENT, "a-2", {"agentId": "a-2", "version": 7}),
        (SessionState.QUEUE, "qu-2", {"queueId": "qu-2", "version": 7}),
        (SessionState.BOT, None, {"version": 7}),
        (SessionState.CLOSED, None, {"version": 7}),
    ],
)
def test_the_holder_is_named_under_its_kind(
    state: SessionState, holder: str | None, members: dict[str, object]
) -> None:
    assert message.holder_members(state, holder, 7) == members


def test_the_callback_of_a_won_transfer_adds_its_transfer_and_version_to_the_answer() -> None:
    assert message.success_callback(transfer()) == (
        b'{"sessionId":"s-1","agentId":"a-1","status":"transferred","requestCompletedAt":1700000000123,'
        b'"transferId":"tr_1","version":3}'
    )


def test_the_callback_names_the_agent_who_lost_the_session() -> None:
    body = message.success_callback(transfer(target=QUEUE, previous_state=SessionState.AGENT, previous_holder_id="a-2"))

    assert body == (
        b'{"sessionId":"s-1","queueId":"qu-1","status":"transferred","requestCompletedAt":1700000000123,'
        b'"transferId":"tr_1","version":3,"previousAgentId":"a-2"}'
    )


def test_a_queue_that_lost_the_session_is_no_previous_agent() -> None:
    body = message.success_callback(transfer(previous_state=SessionState.QUEUE, previous_holder_id="qu-2"))

    assert "previousAgentId" not in json.loads(body)


def test_the_callback_of_a_refusal_says_why() -> None:
    body = message.failure_callback(transfer(status=409, code="agent_unavailable", version=None), DETAIL)

    assert (
        body
        == (
            '{"sessionId":"s-1","agentId":"a-1","status":"failed","code":"agent_unavailable",'
            f'"reason":"{DETAIL}","requestCompletedAt":1700000000123,"transferId":"tr_1"}}'
        ).encode()
    )
