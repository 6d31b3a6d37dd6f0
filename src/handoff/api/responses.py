"""What the OpenAPI document says of every call: its path and headers, and what it may be refused for."""

from typing import Annotated, Any, Final

from fastapi import Header, Path

from handoff.api.problems import PROBLEM_JSON
from handoff.api.schemas import Problem
from handoff.domain import message
from handoff.domain.refusals import Refusal

BASE_PATH: Final = "/agentassist/api/v1/public/{streamId}"

StreamId = Annotated[
    str, Path(alias="streamId", description="BotId or StreamId.", examples=["st-a0ec5267-a58a-5fbb-ab0e-e27ebc35xxxx"])
]
AccountId = Annotated[str | None, Header(alias="accountid", description="Must name the account of the token's app.")]
RequestId = Annotated[str | None, Header(alias="X-Request-Id", description="Extension: comes back.")]

OUTCOME_HEADERS: Final = {
    "X-Request-Id": {
        "description": "The request's id, the caller's own where it sent one.",
        "schema": {"type": "string"},
    },
    "X-Transfer-Id": {"description": "The recorded outcome.", "schema": {"type": "string"}},
    "ETag": {"description": "The session's version.", "schema": {"type": "string"}, "example": '"1"'},
}
DRY_RUN_HEADER: Final = {"X-Dry-Run": {"description": "Of a dry run: `true`.", "schema": {"type": "string"}}}
# draft-ietf-httpapi-ratelimit-headers-11
RATE_HEADERS: Final = {
    "RateLimit-Policy": {
        "description": "Where the service has a rate limit: so many calls of this kind (q) in so many seconds (w).",
        "schema": {"type": "string"},
        "example": '"transfers";q=60;w=60',
    },
    "RateLimit": {
        "description": "Where the service has a rate limit: calls left (r), and seconds until there is one more (t).",
        "schema": {"type": "string"},
        "example": '"transfers";r=59;t=60',
    },
}
# What every call that has a body may be refused for.
BODY_REFUSALS: Final = (Refusal.REQUEST_TIMEOUT, Refusal.BODY_TOO_LARGE, Refusal.UNSUPPORTED_MEDIA_TYPE)

_ANY_CALL: Final = (
    Refusal.TOKEN_MISSING,
    Refusal.TOKEN_INVALID,
    Refusal.TOKEN_EXPIRED,
    Refusal.TOKEN_REPLAYED,
    Refusal.APP_DISABLED,
    Refusal.SCOPE_MISSING,
    Refusal.STREAM_FORBIDDEN,
    Refusal.ACCOUNT_MISMATCH,
    Refusal.INVALID_REQUEST,
    Refusal.RATE_LIMITED,
    Refusal.OVERLOADED,
    Refusal.STORE_UNAVAILABLE,
)
_RETRY_AFTER: Final = {"Retry-After": {"description": "Seconds.", "schema": {"type": "integer"}}}
_CHALLENGE: Final = {"WWW-Authenticate": {"description": "RFC 9110, 11.6.1.", "schema": {"type": "string"}}}
_CONFLICT: Final = 409
_PROBLEM: Final = {"$ref": "#/components/schemas/Problem"}
_STATUS_HEADERS: Final = {401: _CHALLENGE, 429: {**_RETRY_AFTER, **RATE_HEADERS}, 503: _RETRY_AFTER}


def refusals(*own: Refusal, are_recorded: bool = False) -> dict[int | str, dict[str, Any]]:
    """One response per status, with every code of that status as an example: the call's own and those of any call.

    `are_recorded` is said of the one call whose refusals about the conversation are outcomes.
    """
    responses: dict[int | str, dict[str, Any]] = {}
    for refusal in (one for one in Refusal if one in {*_ANY_CALL, *own}):
        response = responses.setdefault(
            refusal.status, _refusal_response(refusal, is_recorded=are_recorded and refusal.is_recorded)
        )
        example = message.problem_object(refusal, refusal.title + ".")
        response["content"][PROBLEM_JSON]["examples"][refusal.code] = {"summary": refusal.title, "value": example}
    return responses


def _refusal_response(refusal: Refusal, *, is_recorded: bool) -> dict[str, Any]:
    recorded = {"X-Transfer-Id": OUTCOME_HEADERS["X-Transfer-Id"]} if is_recorded else {}
    if is_recorded and refusal.status == _CONFLICT:
        recorded["ETag"] = OUTCOME_HEADERS["ETag"]
    told = "Recorded, and told to the callback." if is_recorded else "Nothing was recorded, nobody is told."
    request_id = {"X-Request-Id": OUTCOME_HEADERS["X-Request-Id"]}
    return {
        "description": told,
        "headers": {**request_id, **recorded, **_STATUS_HEADERS.get(refusal.status, {})},
        "content": {PROBLEM_JSON: {"schema": _PROBLEM, "examples": {}}},
    }


def problem_schema() -> dict[str, Any]:
    """The schema of Problem, which no route returns by itself."""
    return Problem.model_json_schema(ref_template="#/components/schemas/{model}")
