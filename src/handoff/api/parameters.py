"""Reading the call's parameters: from a JSON body, the query string, or some from each."""

import asyncio
from contextlib import nullcontext
from typing import Any, Final

from fastapi import Request
from pydantic import ValidationError
from starlette.requests import ClientDisconnect

from handoff.api.problems import Refuse
from handoff.api.schemas import AssignParameters
from handoff.api.sentences import sentence_of
from handoff.domain.refusals import Refusal

MAX_BODY_BYTES: Final = 64 * 1024
# Stands in the scope of a request whose body had come before anybody looked: there is nothing to wait for, and a clock
# costs more than reading it.
IS_WHOLE: Final = "handoff.is_whole"

# So many digits of a Content-Length tell whether it is too large.
_LENGTH_DIGITS: Final = 12
_BODY_S: Final = 10.0

# A list has no place in a query string.
_BODY_ONLY: Final = "fallback"
_NAMES: Final = {
    field.alias or name: name for name, field in AssignParameters.model_fields.items() if name != _BODY_ONLY
}


async def read_parameters(request: Request) -> AssignParameters:
    """What the request says. Raises Refuse for a body that is too large, no JSON or not valid."""
    body = await read_body(request)
    try:
        parameters = AssignParameters.model_validate_json(body) if body else AssignParameters()
        if request.scope["query_string"]:
            return _with_query(parameters, request)
    except ValidationError as error:
        raise Refuse(Refusal.INVALID_REQUEST, sentence_of(error)) from None
    return parameters


async def read_body(request: Request) -> bytes:
    """The whole body. Raises Refuse for one that is too large, too slow or not called JSON, and ClientDisconnect."""
    announced = request.headers.get("content-length", "0")
    if announced.isdigit() and int(announced[:_LENGTH_DIGITS]) > MAX_BODY_BYTES:
        raise _too_large()
    try:
        async with nullcontext() if IS_WHOLE in request.scope else asyncio.timeout(_BODY_S):
            body = await _read_pieces(request)
    except TimeoutError:
        raise Refuse(
            Refusal.REQUEST_TIMEOUT, f"The body did not come within {_BODY_S:g} seconds: send it again."
        ) from None
    if body:
        _require_json(request)
    return body


async def _read_pieces(request: Request) -> bytes:
    body = b""
    is_more = True
    while is_more:
        message = await request.receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        body += message.get("body", b"")
        is_more = message.get("more_body", False)
        if len(body) > MAX_BODY_BYTES:
            raise _too_large()
    return body


def _too_large() -> Refuse:
    return Refuse(Refusal.BODY_TOO_LARGE, f"The body may have {MAX_BODY_BYTES} bytes at most.")


def _require_json(request: Request) -> None:
    """A body without a Content-Type is taken for JSON; one that says otherwise is not."""
    media_type = request.headers.get("content-type", "application/json").partition(";")[0].strip().lower()
    is_json = media_type == "application/json" or (
        media_type.startswith("application/") and media_type.endswith("+json")
    )
    if not is_json:
        raise Refuse(Refusal.UNSUPPORTED_MEDIA_TYPE, "Send the body as Content-Type: application/json.")


def _with_query(parameters: AssignParameters, request: Request) -> AssignParameters:
    if _BODY_ONLY in request.query_params:
        raise Refuse(Refusal.INVALID_REQUEST, f"{_BODY_ONLY}: send it in the JSON body.")
    values: dict[str, Any] = {_BODY_ONLY: [one.model_dump(by_alias=True) for one in parameters.fallback]}
    for alias, name in _NAMES.items():
        said = set(request.query_params.getlist(alias))
        in_body = getattr(parameters, name)
        if in_body is not None:
            said.add(_as_in_a_query(in_body))
        if len(said) > 1:
            raise Refuse(Refusal.CONFLICTING_PARAMETERS, f"{alias}: sent with more than one value.")
        if said:
            values[alias] = said.pop()
    return AssignParameters.model_validate(values)


def _as_in_a_query(value: str | bool) -> str:  # noqa: FBT001 (a value of JSON)
    return value if isinstance(value, str) else str(value).lower()
