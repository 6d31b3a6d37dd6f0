"""Refusals on the wire: RFC 9457 problem details, in one place."""

from collections.abc import Mapping
from typing import Final

from fastapi import Request, Response
from starlette.exceptions import HTTPException
from starlette.routing import Match

from handoff.domain import message
from handoff.domain.refusals import Refusal

PROBLEM_JSON: Final = "application/problem+json"

_UNAUTHORIZED: Final = 401
_UNAVAILABLE: Final = 503
# A batch takes milliseconds: whoever is turned away may come back soon.
_RETRY_AFTER_S: Final = "1"


class Refuse(Exception):  # noqa: N818 (a refusal)
    """{refusal}: {detail}. `members` are further members of the problem."""

    def __init__(self, refusal: Refusal, detail: str, members: Mapping[str, object] | None = None) -> None:
        super().__init__(f"{refusal.code}: {detail}")
        self.refusal = refusal
        self.detail = detail
        self.members = members


def refusal_response(
    refusal: Refusal, detail: str, headers: Mapping[str, str], members: Mapping[str, object] | None = None
) -> Response:
    """The answer to a request that was refused without being recorded."""
    extra: dict[str, str] = {}
    if refusal.status == _UNAUTHORIZED:
        error = "" if refusal is Refusal.TOKEN_MISSING else ', error="invalid_token"'
        extra["www-authenticate"] = f'Bearer realm="handoff"{error}'
    if refusal.status == _UNAVAILABLE:
        extra["retry-after"] = _RETRY_AFTER_S
    return Response(
        message.problem(refusal, detail, members),
        status_code=refusal.status,
        media_type=PROBLEM_JSON,
        headers={**headers, **extra},
    )


async def answer_http_exception(request: Request, error: Exception) -> Response:
    """Unknown paths and methods, in the same shape."""
    assert isinstance(error, HTTPException)  # noqa: S101 (registered for nothing else)
    headers = dict(error.headers or {})
    if "Allow" in headers:
        headers["Allow"] = ", ".join(sorted(_methods_of_path(request)))
    return Response(
        message.plain_problem(error.status_code, error.detail),
        status_code=error.status_code,
        media_type=PROBLEM_JSON,
        headers=headers,
    )


def _methods_of_path(request: Request) -> set[str]:
    """What the path can be asked with, whichever route it is that serves it: starlette knows one route's methods."""
    here = (route for route in request.app.state.routes if route.matches(request.scope)[0] is not Match.NONE)
    return {method for route in here for method in route.methods or ()}


async def answer_unexpected(_request: Request, _error: Exception) -> Response:
    """A mistake of ours: logged with its traceback by the server, told without it."""
    return Response(
        message.plain_problem(500, "The service made a mistake; nothing is known to be recorded."),
        status_code=500,
        media_type=PROBLEM_JSON,
    )
