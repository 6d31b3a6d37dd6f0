"""Callbacks on the wire."""

import json
import re
from collections.abc import Sequence
from ipaddress import ip_address
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints

from handoff.api.schemas import Id, IsNumber, WrittenCursor
from handoff.service.callbacks import HOST_PATTERN, CallbackState, StoredAttempt, StoredCallback

_ID = "msg_019aad5e-5d1c-7c61-8d7b-0c8d3e1f2a3b"

_is_host = re.compile(HOST_PATTERN).fullmatch


def _plain_host(value: str) -> str:
    if _is_host(value) is None:
        raise ValueError("a name or an address, with its port or without: bots.example.com:8443")
    return value


Host = Annotated[
    str,
    StringConstraints(max_length=253 + 6),
    AfterValidator(_plain_host),
    Field(json_schema_extra={"pattern": f"^{HOST_PATTERN}$"}),
]


class CallbackSummary(BaseModel):
    """A callback as it stands."""

    model_config = ConfigDict(populate_by_name=True)

    id: str = Field(description="The webhook-id.", examples=[_ID])
    transfer_id: Id = Field(alias="transferId")
    session_id: Id = Field(alias="sessionId")
    callback_url: str = Field(alias="callbackUrl")
    state: CallbackState
    completed_at: int = Field(alias="requestCompletedAt", description="When its outcome was recorded, epoch ms.")
    due_at: int | None = Field(alias="dueAt", description="While pending: when it is sent next, epoch ms.")
    expires_at: int | None = Field(alias="expiresAt", description="While it waits: when it is given up, epoch ms.")
    attempt_count: int = Field(alias="attemptCount", description="Attempts since it was recorded or sent anew.")
    last_status: int | None = Field(alias="lastStatus", description="HTTP status of the last answer.")
    last_error: str | None = Field(alias="lastError", description="Why the last attempt had no answer.")
    dead_reason: str | None = Field(alias="deadReason", description="While dead: why.")
    ended_at: int | None = Field(alias="endedAt", description="When it was delivered, given up or cancelled, epoch ms.")


class CallbackAttempt(BaseModel):
    """One attempt."""

    n: int = Field(description="Counted from 1, over all budgets.")
    started_at: int = Field(serialization_alias="startedAt", description="Epoch ms.")
    duration_ms: int = Field(serialization_alias="durationMs")
    status: int | None = Field(description="HTTP status of the answer.")
    error: str | None = Field(description="Why there was none.")
    remote_address: str | None = Field(
        serialization_alias="remoteAddress", description="Who answered, where that is a public address."
    )
    excerpt: str | None = Field(description="The beginning of the answer, where it came from a public address.")


class CallbackDetails(CallbackSummary):
    """A callback with its message and its attempts."""

    message: dict[str, Any] = Field(description="What is sent.")
    attempts: list[CallbackAttempt]


class CallbackResults(BaseModel):
    """A page of callbacks, the newest first."""

    results: list[CallbackSummary]
    next_cursor: str | None = Field(
        serialization_alias="nextCursor",
        description="Send it as `cursor` for the next page, which may be there even after a short or empty one; "
        "null: this was the last.",
    )


class RedeliverMany(BaseModel):
    """Which callbacks to send again, and how fast."""

    state: Literal["dead", "delivered", "cancelled"] = Field("dead", description="Which ones.")
    host: Host | None = Field(None, description="Of this host only, `name` or `name:port`.")
    since: Annotated[int | None, Field(ge=0), IsNumber] = Field(
        None, description="Only those recorded at or after this, epoch ms."
    )
    per_second: Annotated[float, Field(gt=0, le=1_000), IsNumber] = Field(
        10, alias="perSecond", description="They are spread out to this rate."
    )
    cursor: WrittenCursor | None = Field(None, description="The nextCursor of the answer before.")


class RedeliveredMany(BaseModel):
    """What was set going; repeat the request with `nextCursor` until it is null."""

    redelivered: int = Field(description="Callbacks that are pending again.")
    last_due_at: int | None = Field(
        serialization_alias="lastDueAt", description="When the last of them is sent, epoch ms; null where none is."
    )
    next_cursor: str | None = Field(serialization_alias="nextCursor")


def summary_of(callback: StoredCallback) -> CallbackSummary:
    """The callback as lists show it."""
    return CallbackSummary(**_summary(callback))


def details_of(callback: StoredCallback, attempts: Sequence[StoredAttempt]) -> CallbackDetails:
    """The callback with everything that its owner may see."""
    return CallbackDetails(
        **_summary(callback),
        message=json.loads(callback.body),
        attempts=[_attempt(number, attempt) for number, attempt in enumerate(attempts, start=1)],
    )


def _summary(callback: StoredCallback) -> dict[str, Any]:
    is_pending = callback.state is CallbackState.PENDING
    is_open = is_pending or callback.state is CallbackState.SENDING
    return {
        "id": callback.callback_id,
        "transfer_id": callback.transfer_id,
        "session_id": callback.session_id,
        "callback_url": callback.url,
        "state": callback.state,
        "completed_at": callback.completed_at,
        "due_at": callback.due_at if is_pending else None,
        "expires_at": callback.expires_at if is_open else None,
        "attempt_count": callback.attempts,
        "last_status": callback.last_status,
        "last_error": callback.last_error,
        "dead_reason": callback.dead_reason,
        "ended_at": callback.ended_at,
    }


def _attempt(number: int, attempt: StoredAttempt) -> CallbackAttempt:
    """The attempt without what tells of a private network: its caller could not look into that either."""
    address = attempt.remote_address
    return CallbackAttempt(
        n=number,
        started_at=attempt.started_at,
        duration_ms=attempt.duration_ms,
        status=attempt.status,
        error=attempt.error,
        remote_address=address if address and ip_address(address).is_global else None,
        excerpt=attempt.excerpt,
    )
