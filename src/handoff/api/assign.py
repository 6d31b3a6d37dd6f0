"""POST assign-conversation: the lean route.

The declaration is FastAPI's and feeds the OpenAPI document. The handler is our own (`APIRoute.get_route_handler`):
it checks the body's bytes once, answers recorded bytes, and so spends little more than the transfer itself costs.
"""

import logging
import re
from collections.abc import Callable, Coroutine
from typing import Any, Final

from fastapi import Request, Response
from fastapi.routing import APIRoute
from starlette.requests import ClientDisconnect

from handoff.api.access import ROUTING, authorize, request_id_of
from handoff.api.parameters import read_parameters
from handoff.api.problems import PROBLEM_JSON, Refuse, refusal_response
from handoff.api.schemas import AssignParameters
from handoff.api.services import Services, services_of
from handoff.domain.address_policy import MAX_URL_CHARS
from handoff.domain.model import AssignRequest, Target, TargetKind
from handoff.domain.refusals import Refusal
from handoff.service.committer import Overloaded
from handoff.service.ports import StoreError, StoreUnavailable
from handoff.service.transfer import Answer, IdempotencyKeyReused

log = logging.getLogger(__name__)

_OK: Final = 200
_is_idempotency_key = re.compile(r"[\x21-\x7e]{1,255}").fullmatch


class AssignRoute(APIRoute):
    """Serves the declared route with the lean handler."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """The handler in place of FastAPI's own."""
        return _handle


async def _handle(request: Request) -> Response:
    services = services_of(request)
    request_id = request_id_of(request, services)
    headers = {"x-request-id": request_id}
    try:
        return _answer(await _assign(request, services, request_id), headers)
    except Refuse as refuse:
        return refusal_response(refuse.refusal, refuse.detail, headers)
    except ClientDisconnect:
        return Response(status_code=400, headers=headers)  # nobody hears it
    except IdempotencyKeyReused:
        return refusal_response(
            Refusal.IDEMPOTENCY_KEY_REUSED,
            "This Idempotency-Key came with another request before: use a fresh one for each request.",
            headers,
        )
    except Overloaded as error:
        return refusal_response(Refusal.OVERLOADED, f"Nothing was recorded, repeat the request: {error}.", headers)
    except StoreError as error:
        log.warning("transfer not stored", extra={"request_id": request_id, "reason": str(error)})
        return refusal_response(Refusal.STORE_UNAVAILABLE, _unavailable(error), headers)


def _unavailable(error: StoreError) -> str:
    if isinstance(error, StoreUnavailable) and error.is_lost:
        return "The store went away; should it have recorded the transfer, a repeat gets the same answer: repeat it."
    return "The store is not available and nothing was recorded: repeat the request."


def _answer(answer: Answer, headers: dict[str, str]) -> Response:
    headers["x-transfer-id"] = answer.transfer_id
    if answer.version is not None:
        headers["etag"] = f'"{answer.version}"'
    media_type = "application/json" if answer.status == _OK else PROBLEM_JSON
    return Response(answer.body, status_code=answer.status, media_type=media_type, headers=headers)


async def _assign(request: Request, services: Services, request_id: str) -> Answer:
    app, stream = await authorize(request, services, ROUTING)
    parameters = await read_parameters(request)
    return await services.assign(
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
            idempotency_key=_idempotency_key(request),
            request_id=request_id,
        )
    )


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
