"""What schemathesis is told of the service: ids that there are, and what the document says in words alone."""

import re
from collections.abc import Callable
from typing import Any
from zlib import crc32

import schemathesis
from schemathesis import Case, CheckContext, HookContext, Response
from schemathesis.checks import CHECKS

from rigs import sample

AGENTS = [sample.AGENT, sample.OTHER_AGENT, *(f"a-{number}" for number in range(20))]
SESSIONS = [sample.SESSION, *(f"s-{number}" for number in range(80))]
_QUEUES = [sample.QUEUE, sample.OTHER_QUEUE]
# Values that the service knows, under every name that they are sent by.
_KNOWN: dict[str, list[str]] = {
    "accountid": [sample.ACCOUNT],
    "accountId": [sample.ACCOUNT],
    "aId": AGENTS,
    "agentId": AGENTS,
    "agentIds": AGENTS,
    "botSessionId": SESSIONS,
    "callbackUrl": ["http://localhost:8009", "http://127.0.0.1:8009/told"],
    "expectedAgentId": AGENTS,
    "orgId": [sample.ORG],
    "queueId": _QUEUES,
    "queueIds": _QUEUES,
    "sessionId": SESSIONS,
    "transferId": [],
}
# Refusals of bodies and parameters that a schema lets through, for it has no way to say what is wrong with them.
_IN_WORDS = re.compile(
    r"cursor: send the nextCursor"
    r"|page: (beyond|send page or cursor)"
    r"|agentId, queueId: send one of them"
    r"|The feed has not come to"
    r"|(accountId|orgId|id|userId): must be"
    r"|.*(text must be Unicode|numbers must be finite|nested 16 deep|bytes of JSON)"
    r"|maxChatSupport, maxDigitalChatSupport: these are the same slots"
    r"|(callbackUrl|orgId|botSessionId|aId|queueId): required"
    r"|queueId: send it with transferredType"
)
_CODES = {"callback_url_forbidden", "conflicting_parameters", "idempotency_key_reused"}
# Paths that another path with an id in it matches as well, and whose methods they have too.
_SHARED_PATHS = ("/agents/availability", "/callbacks/redeliver")


@schemathesis.hook
def before_call(context: HookContext, case: Case[Any], _kwargs: dict[str, Any]) -> None:
    """Name what there is in most places, so that a call comes further than to the first 404."""
    del context
    for part in (case.path_parameters, case.query, case.headers, case.body):
        if isinstance(part, dict):
            for name in _KNOWN.keys() & part.keys():
                part[name] = _known(name, part[name])
    if "accountid" in case.headers:
        case.headers["accountid"] = _known("accountid", case.headers["accountid"])
    if "auth" in case.headers:  # beside which this one is not looked at, whatever is wrong with it
        case.headers.pop("Authorization", None)
    if isinstance(case.body, dict) and case.operation.path.endswith("/assign-conversation") and _number(case.body) % 4:
        case.query = {}  # which would just contradict the body


@schemathesis.hook
def after_call(context: HookContext, case: Case[Any], response: Response) -> None:
    """Learn of what there is since this call."""
    del context, case
    _KNOWN["transferId"] += response.headers.get("x-transfer-id", [])


def _known(name: str, value: Any) -> Any:
    """One that there is in place of three texts out of four, always the same for the same text."""
    if isinstance(value, list):
        return [_known(name, one) for one in value]
    number, known = _number([name, value]), _KNOWN[name]
    return known[number // 4 % len(known)] if known and isinstance(value, str) and number % 4 else value


def _number(value: Any) -> int:
    return crc32(repr(value).encode(errors="replace"))


@schemathesis.check
def what_is_described_is_taken(context: CheckContext, response: Response, case: Case[Any]) -> None:
    """What the document lets through is taken, or is refused for what it can say in words alone."""
    if response.status_code == 422:
        problem = response.json()
        if problem["code"] in _CODES or _IN_WORDS.match(problem["detail"]):
            return
    _check("positive_data_acceptance")(context, response, case)


@schemathesis.check
def every_method_is_allowed(context: CheckContext, response: Response, case: Case[Any]) -> None:
    """`Allow` names the methods that the document has at this path."""
    if not case.operation.path.endswith(_SHARED_PATHS):
        _check("allow_header_conformance")(context, response, case)


def _check(name: str) -> Callable[[CheckContext, Response, Case[Any]], Any]:
    (found,) = [check for check in CHECKS.get_all() if check.__name__ == name]
    return found
