"""The declarations: what the OpenAPI document says of the assignment call and of its callback."""

from typing import Annotated, Final, Literal

from fastapi import APIRouter, Body, Header, Query
from fastapi.routing import APIRoute

from handoff.api.assign import KEY_PATTERN, AssignRoute
from handoff.api.responses import (
    BASE_PATH,
    BODY_REFUSALS,
    DRY_RUN_HEADER,
    OUTCOME_HEADERS,
    RATE_HEADERS,
    AccountId,
    RequestId,
    StreamId,
    refusals,
)
from handoff.api.schemas import (
    ASSIGN_EXAMPLES,
    AssignedToAgent,
    AssignedToQueue,
    AssignToAgent,
    AssignToQueue,
    FailedMessage,
    Id,
    TransferredMessage,
    Url,
)
from handoff.domain.address_policy import MAX_URL_CHARS
from handoff.domain.refusals import Refusal

_callbacks: Final = APIRouter()
# What this call may be refused for, besides what any call may.
_OWN: Final = (
    *BODY_REFUSALS,
    Refusal.CONFLICTING_PARAMETERS,
    Refusal.CALLBACK_URL_FORBIDDEN,
    Refusal.IDEMPOTENCY_KEY_REUSED,
    *(refusal for refusal in Refusal if refusal.is_recorded),
)


@_callbacks.post(
    "{$request.body#/callbackUrl}",
    summary="The outcome, told to the callbackUrl",
    responses={
        "2XX": {"description": "The message has arrived. Anything else is tried again for three days."},
        410: {"description": "The receiver wants no more of this message."},
    },
)
def outcome(
    _body: Annotated[TransferredMessage | FailedMessage, Body()],
    _webhook_id: Annotated[str, Header(alias="webhook-id", description="The same in every attempt.")],
    _webhook_timestamp: Annotated[str, Header(alias="webhook-timestamp", description="Epoch seconds of this attempt.")],
    _webhook_signature: Annotated[
        str, Header(alias="webhook-signature", description="Standard Webhooks, one `v1,…` for every live secret.")
    ],
) -> None:
    """Signed as Standard Webhooks describes; posted at least once, in no promised order."""


def _declared(
    *,
    _stream_id: StreamId,
    _body: Annotated[
        AssignToAgent | AssignToQueue,
        Body(
            default_factory=dict,
            description="Or the same names as query parameters.",
            openapi_examples=ASSIGN_EXAMPLES,
        ),
    ],
    _callback_url: Annotated[Url | None, Query(alias="callbackUrl", max_length=MAX_URL_CHARS)] = None,
    _org_id: Annotated[Id | None, Query(alias="orgId")] = None,
    _agent_id: Annotated[Id | None, Query(alias="aId")] = None,
    _session_id: Annotated[Id | None, Query(alias="botSessionId")] = None,
    _transferred_type: Annotated[Literal["AGENT", "QUEUE"] | None, Query(alias="transferredType")] = None,
    _queue_id: Annotated[Id | None, Query(alias="queueId")] = None,
    _expected_agent_id: Annotated[Id | None, Query(alias="expectedAgentId", description="Extension.")] = None,
    _dry_run: Annotated[bool, Query(alias="dryRun", description="Extension.")] = False,
    _account_id: AccountId = None,
    _idempotency_key: Annotated[
        str | None,
        Header(
            alias="Idempotency-Key",
            description="Extension: a repeat gets the recorded answer.",
            pattern=f"^{KEY_PATTERN}$",
        ),
    ] = None,
    _request_id: RequestId = None,
) -> None:
    """Assign the bot session to the agent or queue, exactly once, and post the outcome to `callbackUrl`.

    The call, its fields, the answer's four keys and the callback's existence are the vendor's documentation.
    Everything else is this service's own: the refusals and their codes, `expectedAgentId`, `fallback`, `dryRun`,
    `Idempotency-Key`, `X-Request-Id`, the answer's headers, and the messages that the callback is told.
    """


def assign_router() -> APIRouter:
    """The router of the assignment call."""
    router = APIRouter(prefix=BASE_PATH, route_class=AssignRoute)
    router.add_api_route(
        "/assign-conversation",
        _declared,
        methods=["POST"],
        operation_id="assignConversation",
        summary="Assign a conversation to an agent or a queue",
        tags=["routing"],
        response_model=AssignedToAgent | AssignedToQueue,
        response_description="Assigned, or assigned before by this very request.",
        responses={
            200: {"headers": OUTCOME_HEADERS | DRY_RUN_HEADER | RATE_HEADERS},
            **refusals(*_OWN, are_recorded=True),
        },
        callbacks=[route for route in _callbacks.routes if isinstance(route, APIRoute)],
    )
    return router
