"""What the routes need, put together by the composition root."""

import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

from fastapi import Request

from handoff.api.auth import Authenticator
from handoff.domain.model import AssignRequest
from handoff.service.agents import Agents
from handoff.service.callbacks import Callbacks
from handoff.service.directory import Directory
from handoff.service.meter import Meter
from handoff.service.ports import Ids
from handoff.service.queues import Queues
from handoff.service.transfer import Answer
from handoff.service.worker import Worker


@dataclass(frozen=True, slots=True, kw_only=True)
class Services:
    """The running service as its routes see it.

    `assign` waits for the request's transaction; it raises Overloaded, IdempotencyKeyReused or StoreError.
    `refuse_callback_url` tells why a URL is not allowed, or None. `check_ready` gives each part's state: None
    where it is well, else a sentence. `reader` and `writer` run the work of the other routes on the store. `tell` logs
    an event with its fields at INFO.
    """

    assign: Callable[[AssignRequest], Awaitable[Answer]]
    authenticator: Authenticator
    directory: Directory
    callbacks: Callbacks
    agents: Agents
    queues: Queues
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
