"""What goes over the wire, as the OpenAPI document shows it and as pydantic checks it.

The names are the vendor's documented ones, in its spelling.
"""

from typing import Annotated, Any, Final, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints, WithJsonSchema, model_validator

from handoff.domain.address_policy import MAX_URL_CHARS
from handoff.domain.ids import ID_PATTERN


def _require_number(value: object) -> object:
    if value is not None and (isinstance(value, bool) or not isinstance(value, (int, float))):
        raise ValueError("must be a number")
    return value


# Of a number in a body: pydantic takes true for 1 and false for none, and text with digits in it.
IsNumber: Final = BeforeValidator(_require_number)
LONGEST_CURSOR: Final = 1_024
# One that a caller sends, as the OpenAPI document describes it; whether it is one tells `read_cursor`.
WrittenCursor = Annotated[
    str, WithJsonSchema({"type": "string", "pattern": "^[A-Za-z0-9_-]+={0,2}$", "maxLength": LONGEST_CURSOR})
]

Id = Annotated[str, StringConstraints(pattern=f"^{ID_PATTERN}$")]
Url = Annotated[str, StringConstraints(min_length=1)]


def one_of(*names: str) -> dict[str, Any]:
    """For a schema: that an object has a value under exactly one of these names. Pydantic checks it elsewhere."""
    return {"oneOf": [_has(name) for name in names]}


def any_of(*names: str) -> dict[str, Any]:
    """For a schema: that an object has a value under one of these names, or under several."""
    return {"anyOf": [_has(name) for name in names]}


def _has(name: str) -> dict[str, Any]:
    return {"required": [name], "properties": {name: {"type": "string"}}}


_AGENT = "a-8cd2673-0cb7-462d-9453-0ee60e52xxxx"
_OTHER_AGENT = "a-220172c-856e-4db6-a2d1-d4c2dabexxxx"
_QUEUE = "qu-b5d3bb4-a1ac-4caa-9be6-55a5abc3xxxx"
_SESSION = "6538f8a3c9cf425ee5cfxxxx"
_ORG = "o-02c0d56d-fd90-5e24-8458-01be1d2exxxx"
_COMPLETED_AT = 1698825180041
_TRANSFER = "tr_019aad5e-5d1c-7c61-8d7b-0c8d3e1f2a3b"


class FallbackTarget(BaseModel):
    """Another agent, or a queue: one of the two."""

    model_config = ConfigDict(frozen=True, json_schema_extra=one_of("aId", "queueId"))

    agent_id: Id | None = Field(None, alias="aId", examples=[_OTHER_AGENT])
    queue_id: Id | None = Field(None, alias="queueId", examples=[_QUEUE])

    @model_validator(mode="after")
    def _names_one(self) -> Self:
        if (self.agent_id is None) == (self.queue_id is None):
            raise ValueError("name an agent as aId or a queue as queueId, one of the two")
        return self


Fallback = Annotated[tuple[FallbackTarget, ...], Field(max_length=5)]


class AssignParameters(BaseModel):
    """Every parameter of the call, from the body, the query or both. Unknown ones are ignored."""

    # Pydantic would keep the last 16,384 short texts that it read, 1.2 MB of them, and gain no time with it.
    model_config = ConfigDict(frozen=True, cache_strings="none")

    callback_url: Url | None = Field(None, alias="callbackUrl")
    org_id: Id | None = Field(None, alias="orgId")
    agent_id: Id | None = Field(None, alias="aId")
    session_id: Id | None = Field(None, alias="botSessionId")
    transferred_type: Literal["AGENT", "QUEUE"] | None = Field(None, alias="transferredType")
    queue_id: Id | None = Field(None, alias="queueId")
    expected_agent_id: Id | None = Field(None, alias="expectedAgentId")
    fallback: Fallback = ()
    dry_run: bool | None = Field(None, alias="dryRun")


class _Assign(BaseModel):
    callback_url: str = Field(
        alias="callbackUrl",
        description="Absolute http or https URL that is told the outcome.",
        min_length=1,
        max_length=MAX_URL_CHARS,
        examples=["http://localhost:8009"],
    )
    org_id: Id = Field(alias="orgId", description="The org of the stream.", examples=[_ORG])
    session_id: Id = Field(alias="botSessionId", description="The bot session to assign.", examples=[_SESSION])
    expected_agent_id: Id | None = Field(
        None,
        alias="expectedAgentId",
        description="Extension: assign only if this agent has the session now.",
        examples=[_OTHER_AGENT],
    )
    fallback: Fallback = Field(
        (), description="Extension: whom to try, in order, where the one named is unavailable or full."
    )
    dry_run: bool = Field(
        default=False,
        alias="dryRun",
        description="Extension: check everything and answer as if it were done; nothing is written, nobody is called.",
    )


class AssignToAgent(_Assign):
    """The documented call: to a specific agent."""

    agent_id: Id = Field(alias="aId", description="The agent to assign to.", examples=[_AGENT])


class AssignToQueue(_Assign):
    """The vendor's newer form: to a queue."""

    transferred_type: Literal["QUEUE"] = Field(alias="transferredType")
    queue_id: Id = Field(alias="queueId", description="The queue to assign to.", examples=[_QUEUE])


_DOCUMENTED: Final = {"callbackUrl": "http://localhost:8009", "orgId": _ORG, "aId": _AGENT, "botSessionId": _SESSION}
_TO_QUEUE: Final = {"transferredType": "QUEUE", "queueId": _QUEUE}
# What the API page offers to try; without them it would show every optional field at once, which no call has.
ASSIGN_EXAMPLES: Final[dict[str, Any]] = {
    "agent": {"summary": "To an agent, as documented", "value": _DOCUMENTED},
    "fallback": {
        "summary": "To an agent, or else to a queue",
        "value": {**_DOCUMENTED, "fallback": [{"queueId": _QUEUE}]},
    },
    "move": {
        "summary": "From that agent to another one",
        "value": {**_DOCUMENTED, "aId": _OTHER_AGENT, "expectedAgentId": _AGENT},
    },
    "queue": {
        "summary": "To a queue",
        "value": {name: value for name, value in _DOCUMENTED.items() if name != "aId"} | _TO_QUEUE,
    },
}


class _Assigned(BaseModel):
    session_id: Id = Field(alias="sessionId", examples=[_SESSION])
    status: Literal["transferred"]
    completed_at: int = Field(alias="requestCompletedAt", description="Epoch milliseconds.", examples=[_COMPLETED_AT])


class AssignedToAgent(_Assigned):
    """The session is with the agent."""

    agent_id: Id = Field(alias="agentId", examples=[_AGENT])


class AssignedToQueue(_Assigned):
    """The session waits in the queue."""

    queue_id: Id = Field(alias="queueId", examples=[_QUEUE])


class FamilyError(BaseModel):
    """One entry of the API family's own error envelope."""

    msg: str
    code: int = Field(description="The HTTP status.")


class PassedOver(BaseModel):
    """A target that was named and could not be taken."""

    agent_id: Id | None = Field(None, alias="agentId")
    queue_id: Id | None = Field(None, alias="queueId")
    code: str = Field(description="Why not.", examples=["agent_unavailable"])


class Problem(BaseModel):
    """RFC 9457 problem details with two extensions: a stable `code` and the family's `errors`."""

    type: str
    title: str
    status: int
    detail: str = Field(description="What is wrong with this request, and what to do.")
    code: str | None = Field(None, description="Stable, for programs.")
    errors: list[FamilyError]
    agent_id: Id | None = Field(None, alias="agentId", description="With a 409 that names it: who has the session.")
    queue_id: Id | None = Field(None, alias="queueId", description="With a 409 that names it: where it waits.")
    version: int | None = Field(None, description="With a 409 that names the holder: the session's version.")
    passed_over: list[PassedOver] | None = Field(
        None, alias="passedOver", description="Of a call with fallback: the others that could not be taken either."
    )


class TransferredMessage(BaseModel):
    """What the callback is told of a won transfer."""

    session_id: Id = Field(alias="sessionId", examples=[_SESSION])
    agent_id: Id | None = Field(None, alias="agentId", examples=[_AGENT])
    queue_id: Id | None = Field(None, alias="queueId")
    status: Literal["transferred"]
    completed_at: int = Field(alias="requestCompletedAt", examples=[_COMPLETED_AT])
    transfer_id: Id = Field(alias="transferId", examples=[_TRANSFER])
    version: int = Field(examples=[1])
    previous_agent_id: Id | None = Field(None, alias="previousAgentId")
    passed_over: list[PassedOver] | None = Field(
        None, alias="passedOver", description="Where a fallback was taken: those named before it."
    )


class FailedMessage(BaseModel):
    """What the callback is told of a refusal about the session, the agent, the queue or the org."""

    session_id: Id = Field(alias="sessionId", examples=[_SESSION])
    agent_id: Id | None = Field(None, alias="agentId", examples=[_AGENT])
    queue_id: Id | None = Field(None, alias="queueId")
    status: Literal["failed"]
    code: str = Field(examples=["agent_at_capacity"])
    reason: str
    completed_at: int = Field(alias="requestCompletedAt", examples=[_COMPLETED_AT])
    transfer_id: Id = Field(alias="transferId", examples=[_TRANSFER])
    passed_over: list[PassedOver] | None = Field(
        None, alias="passedOver", description="Of a call with fallback: the others that could not be taken either."
    )
