"""POST assign-conversation: the lean route.

The declaration is FastAPI's and feeds the OpenAPI document. The handler is our own (`APIRoute.get_route_handler`):
it checks the body's bytes once, answers recorded bytes, and so spends little more than the transfer itself costs.
"""

import re
from asyncio import CancelledError
from collections.abc import Callable, Coroutine, Mapping
from typing import Any, Final

from fastapi import APIRouter, Request, Response
from fastapi.routing import APIRoute
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Receive, Scope, Send

from handoff.api.access import ROUTING, authorize, refused, request_id_of
from handoff.api.admission import TRANSFERS
from handoff.api.parameters import read_parameters
from handoff.api.problems import PROBLEM_JSON, Refuse
from handoff.api.request_log import RequestFacts, facts_of
from handoff.api.schemas import AssignParameters
from handoff.api.services import Services, services_of
from handoff.domain.address_policy import MAX_URL_CHARS
from handoff.domain.model import AssignRequest, Target, TargetKind
from handoff.domain.refusals import Refusal
from handoff.service.committer import Overloaded
from handoff.service.outcomes import Answer, IdempotencyKeyReused
from handoff.service.ports import StoreError, StoreUnavailable

_OK: Final = 200
_PROBLEM: Final = PROBLEM_JSON.encode()
_STOPPED: Final = (
    "The service stopped meanwhile; should it have recorded the transfer, a repeat gets the same answer: repeat it."
)
# What the log and the metrics call a call that left nothing.
_DRY_RUN: Final = "dry_run"
KEY_PATTERN: Final = "[!-~]{1,255}"
_is_idempotency_key = re.compile(KEY_PATTERN).fullmatch


class AssignRoute(APIRoute):
    """Serves the declared route with the lean handler."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """The handler in place of FastAPI's own."""
        return _handle


class AssignDoor:
    """ASGI middleware that hands the assignment call of `router` straight to its handler.

    The way through FastAPI's router costs a call half as much as all that is done for it here. Any other request takes
    that way, and so does this one in an app that is mounted below a path of another; the answers are the same.
    """

    def __init__(self, app: ASGIApp, *, router: APIRouter) -> None:
        self._app = app
        (self._route,) = (route for route in router.routes if isinstance(route, AssignRoute))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer the call, or pass the request on."""
        found = self._route.path_regex.match(scope["path"]) if _may_be_ours(scope) else None
        if found is None:
            await self._app(scope, receive, send)
            return
        scope["route"] = self._route
        scope["path_params"] = found.groupdict()
        response = await _handle(_Call(scope, receive, send))
        await response(scope, receive, send)


class _Call(Request):
    """A request whose headers are read once: starlette goes through all of them for every look at one."""

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        super().__init__(scope, receive, send)
        # Of a header that stands twice the first one counts, as in starlette.
        self._first = {name.decode("latin-1"): value.decode("latin-1") for name, value in reversed(scope["headers"])}

    @property
    def headers(self) -> Mapping[str, str]:  # type: ignore[override] # all that is asked of it here
        """Values by name in lower case."""
        return self._first


def _may_be_ours(scope: Scope) -> bool:
    return scope["type"] == "http" and scope["method"] == "POST" and not scope.get("root_path")


async def _handle(request: Request) -> Response:
    services = services_of(request)
    facts = facts_of(request)
    facts.services = services
    facts.is_measured = True
    facts.request_id = request_id_of(request, services)
    try:
        return await _assign(request, services, facts)
    except Refuse as refuse:
        return refused(refuse.refusal, refuse.detail, facts)
    except ClientDisconnect:
        facts.code = "disconnected"
        return Response(status_code=400)  # nobody hears it
    except IdempotencyKeyReused:
        return refused(
            Refusal.IDEMPOTENCY_KEY_REUSED,
            "This Idempotency-Key came with another request before: use a fresh one for each request.",
            facts,
        )
    except (Overloaded, StoreError, CancelledError) as error:
        return _put_off(error, facts)


def _put_off(error: Overloaded | StoreError | CancelledError, facts: RequestFacts) -> Response:
    match error:
        case Overloaded():
            return refused(Refusal.OVERLOADED, f"Nothing was recorded, repeat the request: {error}.", facts)
        case StoreError():
            facts.reason = str(error)
            return refused(Refusal.STORE_UNAVAILABLE, _unavailable(error), facts)
        case CancelledError():  # by a server that stops and waits no longer; the transaction may go on
            facts.reason = "the server stopped"
            return refused(Refusal.STORE_UNAVAILABLE, _STOPPED, facts)


def _unavailable(error: StoreError) -> str:
    if isinstance(error, StoreUnavailable) and error.is_lost:
        return "The store went away; should it have recorded the transfer, a repeat gets the same answer: repeat it."
    return "The store is not available and nothing was recorded: repeat the request."


def _answer(answer: Answer, facts: RequestFacts) -> Response:
    facts.code = answer.code or "transferred"
    facts.transfer_id = answer.transfer_id
    facts.note_repeat(is_repeat=answer.is_repeat)
    return _Recorded(answer, facts.request_id)


class _Recorded(Response):
    """Recorded bytes, and headers as they go over the wire: to convert them takes longer than to write them."""

    def __init__(self, answer: Answer, request_id: str) -> None:
        self.status_code = answer.status
        self.background = None
        self.body = answer.body
        self.raw_headers = [
            (b"x-request-id", request_id.encode()),
            (b"content-length", b"%d" % len(answer.body)),
            (b"content-type", b"application/json" if answer.status == _OK else _PROBLEM),
        ]
        if answer.transfer_id is not None:
            self.raw_headers.append((b"x-transfer-id", answer.transfer_id.encode()))
        if answer.version is not None:
            self.raw_headers.append((b"etag", b'"%d"' % answer.version))


async def _assign(request: Request, services: Services, facts: RequestFacts) -> Response:
    app, stream = await authorize(request, services, ROUTING, facts, TRANSFERS)
    parameters = await read_parameters(request)
    answer = await services.assign(
        AssignRequest(
            account_id=app.account_id,
            app_id=app.app_id,
            stream_id=stream.stream_id,
            stream_org_id=stream.org_id,
            org_id=_required(parameters.org_id, "orgId"),
            session_id=_required(parameters.session_id, "botSessionId"),
            target=_target(parameters),
            callback_url=_callback_url(parameters, services),
            expected_agent_id=parameters.expected_agent_id,
            fallback=_fallback(parameters),
            is_dry_run=parameters.dry_run is True,
            idempotency_key=_idempotency_key(request),
            request_id=facts.request_id,
        )
    )
    response = _answer(answer, facts)
    if parameters.dry_run:
        facts.code = _DRY_RUN
        response.headers["x-dry-run"] = "true"
    return response


def _required(value: str | None, name: str) -> str:
    if value is None:
        raise Refuse(Refusal.INVALID_REQUEST, f"{name}: required.")
    return value


def _target(parameters: AssignParameters) -> Target:
    if parameters.transferred_type == "QUEUE":
        return Target(TargetKind.QUEUE, _required(parameters.queue_id, "queueId"))
    if parameters.queue_id is not None:
        raise Refuse(Refusal.INVALID_REQUEST, 'queueId: send it with transferredType "QUEUE", or send aId alone.')
    return Target(TargetKind.AGENT, _required(parameters.agent_id, "aId"))


def _fallback(parameters: AssignParameters) -> tuple[Target, ...]:
    return tuple(
        Target(TargetKind.AGENT, one.agent_id) if one.agent_id else Target(TargetKind.QUEUE, one.queue_id or "")
        for one in parameters.fallback
    )


def _callback_url(parameters: AssignParameters, services: Services) -> str:
    url = _required(parameters.callback_url, "callbackUrl")
    if len(url) > MAX_URL_CHARS:  # before anything remembers it
        raise Refuse(Refusal.CALLBACK_URL_FORBIDDEN, f"callbackUrl: use at most {MAX_URL_CHARS} characters")
    reason = services.refuse_callback_url(url)
    if reason is not None:
        raise Refuse(Refusal.CALLBACK_URL_FORBIDDEN, reason)
    return url


def _idempotency_key(request: Request) -> str | None:
    key = request.headers.get("idempotency-key")
    if key is not None and not _is_idempotency_key(key):
        raise Refuse(Refusal.INVALID_REQUEST, "Idempotency-Key: 1 to 255 visible ASCII characters.")
    return key
