"""Ordinary routes: FastAPI's own handling, with this API's bounds, its problems for errors, and the request's id."""

from asyncio import CancelledError
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Annotated, Any, Final

from fastapi import APIRouter, Depends, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from handoff.api.access import authorize, refused, request_id_of
from handoff.api.parameters import read_body
from handoff.api.problems import Refuse
from handoff.api.request_log import RequestFacts, facts_of
from handoff.api.responses import BASE_PATH, AccountId, RequestId, StreamId
from handoff.api.sentences import sentence_of_all
from handoff.api.services import Services, services_of
from handoff.domain.model import App, Stream
from handoff.domain.refusals import Refusal
from handoff.service.agent_store import DirectoryRefused
from handoff.service.committer import Overloaded
from handoff.service.ports import StoreError
from handoff.service.scope import Scope

# What a call may be refused for.
_ERRORS: Final = (Refuse, DirectoryRefused, RequestValidationError, HTTPException, Overloaded, StoreError)

Handler = Callable[[Request], Coroutine[Any, Any, Response]]


@dataclass(frozen=True, slots=True)
class Caller:
    """Who calls, on which stream, and the services that serve it."""

    app: App
    stream: Stream
    services: Services
    facts: RequestFacts

    @property
    def scope(self) -> Scope:
        """What the caller may see: its stream's rows."""
        return Scope(account_id=self.app.account_id, stream_id=self.stream.stream_id)


def resource_router(scope: str, tag: str) -> APIRouter:
    """A router whose every route needs this scope. Its errors are problems, its bodies bounded."""

    class Route(APIRoute):
        def get_route_handler(self) -> Handler:
            return _bounded(super().get_route_handler(), scope, has_body=self.body_field is not None)

    return APIRouter(prefix=BASE_PATH, route_class=Route, tags=[tag])


def _bounded(handle: Handler, scope: str, *, has_body: bool) -> Handler:
    """FastAPI's handler behind our checks: who calls comes before what is said."""

    async def bounded(request: Request) -> Response:
        services = services_of(request)
        facts = facts_of(request)
        facts.services = services
        facts.request_id = request_id_of(request, services)
        try:
            app, stream = await authorize(request, services, scope, facts)
            request.state.caller = Caller(app, stream, services, facts)
            if has_body:
                request._body = await read_body(request)  # noqa: SLF001 (where starlette keeps a body that was read)
            response = await handle(request)
        except ClientDisconnect:
            facts.code = "disconnected"
            return Response(status_code=400)  # nobody hears it
        except _ERRORS as error:
            refuse = _refuse(error, facts)
            return refused(refuse.refusal, refuse.detail, facts, refuse.members)
        except CancelledError:  # by a server that stops and waits no longer; its work may be done all the same
            facts.reason = "the server stopped"
            return refused(Refusal.STORE_UNAVAILABLE, "The service stopped meanwhile: repeat the request.", facts)
        response.headers["x-request-id"] = facts.request_id
        return response

    return bounded


def _refuse(error: Exception, facts: RequestFacts) -> Refuse:
    match error:
        case Refuse():
            return error
        case DirectoryRefused():
            return Refuse(error.refusal, error.detail)
        case RequestValidationError():
            return Refuse(Refusal.INVALID_REQUEST, _sentence(error))
        case HTTPException():  # from FastAPI, about a body that no parser gets to the end of
            return Refuse(Refusal.INVALID_REQUEST, "The body is not JSON that can be read.")
        case Overloaded():
            return Refuse(Refusal.OVERLOADED, f"Nothing was recorded, repeat the request: {error}.")
        case _:
            facts.reason = str(error)
            return Refuse(Refusal.STORE_UNAVAILABLE, "The store is not available: repeat the request.")


async def _current_caller(
    request: Request, _stream_id: StreamId, _account_id: AccountId = None, _request_id: RequestId = None
) -> Caller:
    caller: Caller = request.state.caller
    return caller


CurrentCaller = Annotated[Caller, Depends(_current_caller)]


def _sentence(error: RequestValidationError) -> str:
    """Every parameter that is wrong, without the word for where it stands."""
    return sentence_of_all({**problem, "loc": problem["loc"][1:]} for problem in error.errors())
