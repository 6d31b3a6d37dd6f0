"""The FastAPI application: routes, problem answers, the OpenAPI document, and its page without a CDN."""

import json
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from http import HTTPStatus
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

from fastapi import FastAPI
from fastapi.openapi.docs import get_swagger_ui_html
from fastapi.openapi.utils import get_openapi
from fastapi.responses import HTMLResponse
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException
from starlette.routing import Route
from starlette.staticfiles import StaticFiles

from handoff.api import agents, callbacks, conversations, events, health, queues, sessions, transfers
from handoff.api.assign import AssignDoor
from handoff.api.problems import PROBLEM_JSON, answer_http_exception, answer_unexpected
from handoff.api.request_log import RequestLog
from handoff.api.responses import BASE_PATH, problem_schema
from handoff.api.routes import assign_router
from handoff.api.services import Services

_DESCRIPTION: Final = """Assigns a bot conversation to a human agent: exactly once, durably, and tells the caller so.

Where the vendor's API family documents a name, a shape or a text, it is used exactly; extensions are marked so.
"""
_SECURITY: Final = {
    "token": {
        "type": "apiKey",
        "in": "header",
        "name": "auth",
        "description": "A JWT whose claim `appId` names the app.",
    },
    "bearer": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT", "description": "Where `auth` is absent."},
}

# In the order of the document, besides the assignment call, which goes before them.
_ROUTERS: Final = (
    conversations.router,
    sessions.router,
    sessions.history_router,
    transfers.router,
    agents.router,
    agents.extensions,
    queues.router,
    callbacks.router,
    events.router,
    health.router,
)

OpenServices = Callable[[], AbstractAsyncContextManager[Services]]


def build_app(version: str, open_services: OpenServices) -> FastAPI:
    """An application that opens its services when it starts and closes them when it ends."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with open_services() as services:
            app.state.services = services
            yield
            app.state.services = None

    app = FastAPI(
        title="Handoff",
        version=version,
        description=_DESCRIPTION,
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        strict_content_type=False,
        generate_unique_id_function=_operation_id,
        # Logs and metrics are our own, and FastAPI's would tell what ours keep to themselves.
        telemetry={"tracing": False, "metrics": False, "logs": False},
        exception_handlers={HTTPException: answer_http_exception, Exception: answer_unexpected},
    )
    assigning = assign_router()
    app.add_middleware(AssignDoor, router=assigning)
    app.add_middleware(RequestLog)
    routers = (assigning, *_ROUTERS)
    for router in routers:
        app.include_router(router)
    _serve_docs(app)
    app.state.routes = tuple(route for part in (app, *routers) for route in part.routes if isinstance(route, Route))
    _describe(app)
    return app


def _operation_id(route: APIRoute) -> str:
    """What generated clients call the operation: the name of its function, in their spelling."""
    first, *others = route.name.split("_")
    return first + "".join(word.capitalize() for word in others)


def _describe(app: FastAPI) -> None:
    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            document = get_openapi(title=app.title, version=app.version, description=app.description, routes=app.routes)
            app.openapi_schema = _completed(document)
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign] # FastAPI's documented way to extend the document


def _completed(document: dict[str, Any]) -> dict[str, Any]:
    """The document with what FastAPI cannot know: our problems in place of its 422, and how tokens are sent."""
    problem = problem_schema()
    schemas = document["components"]["schemas"]
    schemas.update(problem.pop("$defs"))
    schemas["Problem"] = problem
    for unused in ("HTTPValidationError", "ValidationError"):
        schemas.pop(unused, None)
    document["components"]["securitySchemes"] = _SECURITY
    document["components"]["responses"] = _shared_responses(document)
    for path, item in document["paths"].items():
        for operation in item.values() if path.startswith(BASE_PATH) else ():
            operation["security"] = [{scheme: []} for scheme in _SECURITY]
        for callback in item.get("post", {}).get("callbacks", {}).values():
            for operation in callback.values():
                operation["post"]["responses"].pop("422", None)  # it is the receiver's answer, not ours
    return document


def _shared_responses(document: dict[str, Any]) -> dict[str, Any]:
    """Take problems that several operations answer with out of them, and leave references."""
    places: dict[str, list[tuple[dict[str, Any], str]]] = {}
    for item in document["paths"].values():
        for operation in item.values():
            for status, response in operation["responses"].items():
                if PROBLEM_JSON not in response.get("content", {}):
                    continue
                places.setdefault(json.dumps(response), []).append((operation["responses"], status))
    shared: dict[str, Any] = {}
    for text, users in places.items():
        if len(users) > 1:
            phrase = HTTPStatus(int(users[0][1])).phrase.title().replace(" ", "")
            alike = sum(name.startswith(phrase) for name in shared)
            name = f"{phrase}{alike + 1}" if alike else phrase
            shared[name] = json.loads(text)
            for responses, status in users:
                responses[status] = {"$ref": f"#/components/responses/{name}"}
    return shared


def _serve_docs(app: FastAPI) -> None:
    """Swagger UI from the files of an installed package: the page needs no internet."""
    spec = find_spec("fastapi_offline")
    if spec is None or spec.origin is None:
        raise RuntimeError("the package fastapi-offline, whose files the page /docs is made of, is not installed")
    app.mount("/docs/assets", StaticFiles(directory=Path(spec.origin).parent / "static"), name="docs-assets")

    @app.get("/docs", include_in_schema=False)
    async def docs() -> HTMLResponse:
        return get_swagger_ui_html(
            openapi_url="openapi.json",
            title=f"{app.title} API",
            swagger_js_url="docs/assets/swagger-ui-bundle.js",
            swagger_css_url="docs/assets/swagger-ui.css",
            swagger_favicon_url="docs/assets/favicon.png",
        )
