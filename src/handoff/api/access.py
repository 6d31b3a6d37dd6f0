"""Who asks for what: the app behind the token, its scope and its stream; and the request's own id."""

import re
from collections.abc import Mapping
from typing import Final

from fastapi import Request, Response

from handoff.api.admission import OTHERS, Admission
from handoff.api.problems import Refuse, refusal_response
from handoff.api.request_log import RequestFacts
from handoff.api.services import Services
from handoff.domain.ids import is_id
from handoff.domain.model import App, Stream
from handoff.domain.refusals import Refusal

ROUTING: Final = "Routing"
CONFIGURATION: Final = "Configuration"
ANALYTICS: Final = "SmartAssist Analytics"

_is_request_id = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}").fullmatch


async def authorize(
    request: Request, services: Services, scope: str, facts: RequestFacts, budget: str = OTHERS
) -> tuple[App, Stream]:
    """The app that may act in this scope on the stream of the path.

    The call counts against this budget of the app's account, and uses its token up if that is for a single use. Raises
    Refuse (401, 403, 429), StoreError and Overloaded.
    """
    app, use = await services.authenticator.authenticate(request.headers)
    facts.app_id = app.app_id
    if use is not None or services.budgets is not None:
        facts.admission = Admission(budget, app.account_id, services.budgets, services.used_tokens)
        await facts.admission.enter(use)
    account_id = request.headers.get("accountid")
    if account_id is not None and account_id != app.account_id:
        raise Refuse(Refusal.ACCOUNT_MISMATCH, "The header accountid names another account than the token's app.")
    if scope not in app.scopes:
        raise Refuse(Refusal.SCOPE_MISSING, f"App {app.app_id} needs the scope {scope}.")
    stream_id = request.path_params["streamId"]
    stream = None
    if is_id(stream_id) and (app.streams is None or stream_id in app.streams):
        stream = await services.directory.find_stream(app.account_id, stream_id)
    if stream is None:
        raise Refuse(Refusal.STREAM_FORBIDDEN, f"App {app.app_id} has no such stream.")
    return app, stream


def refused(
    refusal: Refusal, detail: str, facts: RequestFacts, members: Mapping[str, object] | None = None
) -> Response:
    """The answer to a request that is refused without being recorded, and its code for those who tell of it."""
    facts.code = refusal.code
    return refusal_response(refusal, detail, {"x-request-id": facts.request_id}, members)


def request_id_of(request: Request, services: Services) -> str:
    """The caller's own id of the request, if it is one that can stand in a log, or a fresh one."""
    given = request.headers.get("x-request-id")
    return given if given is not None and _is_request_id(given) else services.ids.fresh()
