"""The bytes that leave: answers, problems and callback messages, each serialised once.

The shape of the answer is the vendor's documented one; the problem is RFC 9457 with `code` and the
vendor family's `errors` envelope as extensions.
"""

from collections.abc import Mapping, Sequence
from http import HTTPStatus

from handoff.domain.encoding import as_json
from handoff.domain.model import PassedOver, SessionState, Target, TargetKind, Transfer
from handoff.domain.refusals import Refusal

_TARGET_FIELD = {TargetKind.AGENT: "agentId", TargetKind.QUEUE: "queueId"}
_HOLDER_FIELD = {SessionState.AGENT: "agentId", SessionState.QUEUE: "queueId"}


def answer(session_id: str, target: Target, completed_at: int) -> bytes:
    """The body of a 200: exactly the four documented keys. `completed_at` is epoch milliseconds."""
    return as_json(
        {
            "sessionId": session_id,
            _TARGET_FIELD[target.kind]: target.id,
            "status": "transferred",
            "requestCompletedAt": completed_at,
        }
    )


def problem(refusal: Refusal, detail: str, members: Mapping[str, object] | None = None) -> bytes:
    """The body of a refusal (RFC 9457). `members` are further extension members of this occurrence."""
    return as_json(problem_object(refusal, detail, members))


def problem_object(refusal: Refusal, detail: str, members: Mapping[str, object] | None = None) -> dict[str, object]:
    """The same, before it is serialised."""
    return {
        "type": f"urn:handoff:problem:{refusal.code}",
        "title": refusal.title,
        "status": refusal.status,
        "detail": detail,
        "code": refusal.code,
        **(members or {}),
        "errors": [{"msg": detail, "code": refusal.status}],
    }


def plain_problem(status: int, detail: str) -> bytes:
    """The body of an HTTP error that is no refusal of ours, such as an unknown path."""
    return as_json(
        {
            "type": "about:blank",
            "title": HTTPStatus(status).phrase,
            "status": status,
            "detail": detail,
            "errors": [{"msg": detail, "code": status}],
        }
    )


def holder_members(state: SessionState, holder_id: str | None, version: int) -> dict[str, object]:
    """Extension members that name who has the session, for a caller that wants to compare and set."""
    field = _HOLDER_FIELD.get(state)
    return {field: holder_id, "version": version} if field else {"version": version}


def success_callback(transfer: Transfer) -> bytes:
    """The message of a won transfer: the answer's object and where it stands in the session's history."""
    message: dict[str, object] = {
        "sessionId": transfer.session_id,
        _TARGET_FIELD[transfer.target.kind]: transfer.target.id,
        "status": "transferred",
        "requestCompletedAt": transfer.completed_at,
        "transferId": transfer.transfer_id,
        "version": transfer.version,
    }
    if transfer.previous_agent_id is not None:
        message["previousAgentId"] = transfer.previous_agent_id
    if transfer.passed_over:
        message["passedOver"] = passed_over(transfer.passed_over)
    return as_json(message)


def failure_callback(transfer: Transfer, reason: str) -> bytes:
    """The message of a refused transfer. `reason` is the sentence of the answer's `detail`."""
    message: dict[str, object] = {
        "sessionId": transfer.session_id,
        _TARGET_FIELD[transfer.target.kind]: transfer.target.id,
        "status": "failed",
        "code": transfer.code,
        "reason": reason,
        "requestCompletedAt": transfer.completed_at,
        "transferId": transfer.transfer_id,
    }
    if transfer.passed_over:
        message["passedOver"] = passed_over(transfer.passed_over)
    return as_json(message)


def passed_over(targets: Sequence[PassedOver]) -> list[dict[str, object]]:
    """The targets that were named and could not be taken, each with the code of its refusal."""
    return [{_TARGET_FIELD[one.target.kind]: one.target.id, "code": one.code} for one in targets]


def moved(session_id: str, kind: TargetKind, completed_at: int) -> bytes:
    """What is recorded as the answer of a release (`kind` BOT) or a close (CLOSED)."""
    status = "released" if kind is TargetKind.BOT else "closed"
    return as_json({"sessionId": session_id, "status": status, "requestCompletedAt": completed_at})
