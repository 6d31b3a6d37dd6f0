"""What the routes need, put together by the composition root."""

import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

from fastapi import Request

from handoff.api.auth import Authenticator
from handoff.domain.lifecycle import Opened
from handoff.domain.model import AssignRequest, MoveRequest, OpenRequest
from handoff.service.callbacks import Callbacks
from handoff.service.directory import Directory
from handoff.service.meter import Meter
from handoff.service.outcomes import Answer, Moved
from handoff.service.ports import Ids
from handoff.service.rates import Budgets
from handoff.service.used_tokens import UsedTokens
from handoff.service.worker import Worker


@dataclass(frozen=True, slots=True, kw_only=True)
class Services:
    """The running service as its routes see it.

    `assign`, `open_session` and `move_session` wait for the request's transaction. Each raises Overloaded and
    StoreError; the first also IdempotencyKeyReused, the others SessionRefused.
    `budgets` is None where accounts may call any number of times.
    `refuse_callback_url` tells why a URL is not allowed, or None. `check_ready` gives each part's state: None
    where it is well, else a sentence. `reader` and `writer` run the work of the other routes on the store. `tell` logs
    an event with its fields at INFO.
    """

    assign: Callable[[AssignRequest], Awaitable[Answer]]
    open_session: Callable[[OpenRequest], Awaitable[Opened]]
    move_session: Callable[[MoveRequest], Awaitable[Moved]]
    authenticator: Authenticator
    directory: Directory
    callbacks: Callbacks
    budgets: Budgets | None
    used_tokens: UsedTokens
    reader: Worker
    writer: Worker
    ids: Ids
    refuse_callback_url: Callable[[str], str | None]
    check_ready: Callable[[], Awaitable[dict[str, str | None]]]
    meter: Meter
    tell: Callable[[logging.Logger, str, Mapping[str, Any]], None]


def services_of(request: Request) -> Services:
    """The services of the app that handles this request. Raises RuntimeError before the app's start."""
    services: Services | None = getattr(request.app.state, "services", None)
    if services is None:
        raise RuntimeError("the app is not started: serve it, or use `with TestClient(app) as client:`")
    return services
