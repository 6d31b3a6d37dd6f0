"""Recorded transfers on the wire. All of this is an extension of ours, and names agents by their ids (a-…)."""

import json
from collections.abc import Sequence
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from handoff.api.callback_schemas import CallbackSummary, summary_of
from handoff.api.schemas import Id, PassedOver
from handoff.domain.model import OPERATOR, SessionState, TargetKind, Transfer
from handoff.service.callbacks import StoredCallback
from handoff.service.history import Outcome, outcome_of


class Place(BaseModel):
    """Where a session was or was to go; an agent or a queue by its id."""

    model_config = ConfigDict(populate_by_name=True)

    state: SessionState
    agent_id: Id | None = Field(None, alias="agentId")
    queue_id: Id | None = Field(None, alias="queueId")


class RecordedTransfer(BaseModel):
    """An attempt to move a session, won or refused."""

    model_config = ConfigDict(populate_by_name=True)

    transfer_id: Id = Field(alias="transferId")
    session_id: Id = Field(alias="sessionId")
    at: int = Field(description="When it was decided, epoch ms.")
    asked_by: Literal["app", "operator"] = Field(alias="askedBy", description="operator: at the command line.")
    app_id: Id | None = Field(alias="appId", description="The app that asked.")
    request_id: str = Field(alias="requestId", description="The X-Request-Id of the call.")
    from_: Place | None = Field(
        alias="from", description="Where the session was; null where the call was refused before that was looked at."
    )
    to: Place
    outcome: Outcome
    code: str | None = Field(description="Of a refusal: its code.", examples=["agent_unavailable"])
    reason: str | None = Field(description="Of a refusal: its sentence.")
    version: int | None = Field(description="The session's version after it; of a refusal, the one that it named.")
    expected_agent_id: Id | None = Field(alias="expectedAgentId", description="What the call expected.")
    passed_over: list[PassedOver] = Field(
        alias="passedOver", description="Others that were named and could not be taken: before `to`, or, refused, too."
    )
    callback_url: str | None = Field(alias="callbackUrl", description="Who is told; null: nobody.")


class TransferResults(BaseModel):
    """A page of transfers."""

    results: list[RecordedTransfer]
    next_cursor: str | None = Field(
        serialization_alias="nextCursor",
        description="Send it as `cursor` for the next page, which may be there even after a short or empty one; "
        "null: this was the last.",
    )


class TransferDetails(RecordedTransfer):
    """A transfer and what became of telling it."""

    callbacks: list[CallbackSummary] = Field(
        description="Its callback, and copies for other URLs; up to 200 that are not purged yet."
    )


def recorded_of(transfer: Transfer) -> RecordedTransfer:
    """The transfer as lists show it."""
    return RecordedTransfer(**_recorded(transfer))


def details_of(transfer: Transfer, callbacks: Sequence[StoredCallback]) -> TransferDetails:
    """The transfer with its callbacks."""
    return TransferDetails(**_recorded(transfer), callbacks=[summary_of(one) for one in callbacks])


def _recorded(transfer: Transfer) -> dict[str, Any]:
    is_operator = transfer.app_id == OPERATOR
    outcome = outcome_of(transfer)
    before = transfer.previous_state
    return {
        "transfer_id": transfer.transfer_id,
        "session_id": transfer.session_id,
        "at": transfer.completed_at,
        "asked_by": "operator" if is_operator else "app",
        "app_id": None if is_operator else transfer.app_id,
        "request_id": transfer.request_id,
        "from_": None if before is None else _place(before, transfer.previous_holder_id),
        "to": _place(SessionState(transfer.target.kind.value), transfer.target.id or None),
        "outcome": outcome,
        "code": transfer.code,
        "reason": json.loads(transfer.body)["detail"] if outcome is Outcome.REFUSED else None,
        "version": transfer.version,
        "expected_agent_id": transfer.expected_agent_id,
        "passed_over": [_passed_over(one.target.kind, one.target.id, one.code) for one in transfer.passed_over],
        "callback_url": transfer.callback_url or None,
    }


def _place(state: SessionState, holder_id: str | None) -> Place:
    return Place(
        state=state,
        agent_id=holder_id if state is SessionState.AGENT else None,
        queue_id=holder_id if state is SessionState.QUEUE else None,
    )


def _passed_over(kind: TargetKind, target_id: str, code: str) -> dict[str, str]:
    return {"agentId" if kind is TargetKind.AGENT else "queueId": target_id, "code": code}
