"""What the routes need, put together by the composition root."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from fastapi import FastAPI, Request

from handoff.api.auth import Authenticator
from handoff.domain.lifecycle import Opened
from handoff.domain.model import AssignRequest, MoveRequest, OpenRequest
from handoff.service.agents import Agents
from handoff.service.attempt_log import Tell
from handoff.service.callbacks import Callbacks
from handoff.service.conversations import Conversations
from handoff.service.directory import Directory
from handoff.service.following import Feed
from handoff.service.history import History
from handoff.service.meter import Meter
from handoff.service.outcomes import Answer, Moved
from handoff.service.ports import Ids
from handoff.service.queues import Queues
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
    where it is well, else a sentence. `reader` and `writer` run the work of the other routes on the store. `changed`
    is to be called, from any thread, after every commit that wrote events. `tell` logs an event with its fields at
    INFO.
    """

    assign: Callable[[AssignRequest], Awaitable[Answer]]
    open_session: Callable[[OpenRequest], Awaitable[Opened]]
    move_session: Callable[[MoveRequest], Awaitable[Moved]]
    authenticator: Authenticator
    directory: Directory
    callbacks: Callbacks
    budgets: Budgets | None
    used_tokens: UsedTokens
    feed: Feed
    conversations: Conversations
    history: History
    agents: Agents
    queues: Queues
    reader: Worker
    writer: Worker
    ids: Ids
    refuse_callback_url: Callable[[str], str | None]
    check_ready: Callable[[], Awaitable[dict[str, str | None]]]
    meter: Meter
    tell: Tell


def services_of(request: Request) -> Services:
    """The services of the app that handles this request. Raises RuntimeError before the app's start."""
    services: Services | None = getattr(request.app.state, "services", None)
    if services is None:
        raise RuntimeError("the app is not started: serve it, or use `with TestClient(app) as client:`")
    return services


def end_streams(app: FastAPI) -> None:
    """End the event streams of an app that is about to stop, so that nobody waits for them."""
    services: Services | None = getattr(app.state, "services", None)
    if services is not None:
        services.feed.end()
