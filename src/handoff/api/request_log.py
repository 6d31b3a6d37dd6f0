"""One line in the log for each request, whoever answers it: what was called, what came of it, how long it took.

Nothing that a caller sends gets there, but ids that were checked: no query string, header or body, and no path that is
not one of ours.
"""

import logging
from time import perf_counter
from typing import Any, Final

from fastapi import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from handoff.api.admission import Admission
from handoff.api.services import Services

log = logging.getLogger(__name__)

# Asked every few seconds by machines, or part of the API page.
_QUIET_PATHS: Final = frozenset({"/livez", "/readyz", "/openapi.json"})
_QUIET_PREFIX: Final = "/docs"
_KEY: Final = "handoff.facts"
_FIRST_ERROR: Final = 400
_EVENT: Final = "request"
_WHERE_KNOWN: Final = ("request_id", "transfer_id", "app_id", "reason")


class RequestFacts:
    """What the routes tell of a request: each sets what it knows. Of those that are measured, the meter is told too."""

    __slots__ = (
        "admission",
        "app_id",
        "began",
        "code",
        "is_measured",
        "reason",
        "request_id",
        "services",
        "status",
        "transfer_id",
    )

    def __init__(self) -> None:
        self.began = perf_counter()
        self.status = 0
        self.code: str | None = None
        self.reason: str | None = None
        self.request_id = ""
        self.transfer_id: str | None = None
        self.app_id: str | None = None
        self.services: Services | None = None
        self.is_measured = False
        self.admission: Admission | None = None

    def note_repeat(self, *, is_repeat: bool) -> None:
        """Tell whether the call was answered with what an earlier one had brought about, and so costs nothing."""
        if self.admission is not None:
            self.admission.is_repeat = is_repeat

    @property
    def outcome(self) -> str:
        """The code that a route gave; else `ok` or `error`."""
        if self.code is not None:
            return self.code
        return "ok" if 0 < self.status < _FIRST_ERROR else "error"


def facts_of(request: Request) -> RequestFacts:
    """What is known of this request so far."""
    facts: RequestFacts = request.scope[_KEY]
    return facts


class RequestLog:
    """ASGI middleware around the whole application."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer the request, then tell of it."""
        if scope["type"] != "http" or scope["path"] in _QUIET_PATHS or scope["path"].startswith(_QUIET_PREFIX):
            await self._app(scope, receive, send)
            return
        scope[_KEY] = facts = RequestFacts()

        async def send_and_see(message: Message) -> None:
            if message["type"] == "http.response.start":
                facts.status = message["status"]
                if facts.admission is not None:
                    await facts.admission.leave(message)
            await send(message)

        try:
            await self._app(scope, receive, send_and_see)
        finally:
            _tell(scope, facts)


def _tell(scope: Scope, facts: RequestFacts) -> None:
    seconds = perf_counter() - facts.began
    services = facts.services
    if services is not None and facts.is_measured:
        services.meter.answered(facts.outcome, seconds)
    if not log.isEnabledFor(logging.INFO):
        return
    fields = _fields(scope, facts, seconds)
    if services is not None:
        services.tell(log, _EVENT, fields)
    else:
        log.info(_EVENT, extra=fields)


def _fields(scope: Scope, facts: RequestFacts, seconds: float) -> dict[str, Any]:
    fields = {
        "method": scope["method"],
        "route": scope["route"].path if "route" in scope else None,
        "status": facts.status or 500,  # an error that nobody caught is answered outside of us
        "outcome": facts.outcome,
        "duration_ms": round(seconds * 1_000, 3),
    }
    for name in _WHERE_KNOWN:
        value = getattr(facts, name)
        if value:
            fields[name] = value
    return fields
