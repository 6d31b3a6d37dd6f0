"""Conversations over HTTP: an app that may do everything, and short words for its calls."""

from typing import Any

from httpx2 import Response

from handoff import Settings, load_directory
from rigs import api, sample

BASE = f"/agentassist/api/v1/public/{sample.STREAM}"
SCOPES = ["Routing", "Configuration", "SmartAssist Analytics"]
OTHER_STREAM = "st-2"
OTHER_ACCOUNT = "acc-3"


def allow_everything(settings: Settings) -> None:
    """Let the sample's app call everything here."""
    load_directory(settings, {"apps": [sample.app(scopes=SCOPES)]})


def get(service: api.Api, path: str, **params: Any) -> Response:
    return service.client.get(BASE + path, headers=sample.headers(), params=params)


def post(service: api.Api, path: str, body: Any = None, **request: Any) -> Response:
    given = {} if body is None else {"json": body}
    return service.client.post(BASE + path, headers=sample.headers(), **given, **request)


def open_session(service: api.Api, session_id: str = "s-1", **said: Any) -> dict[str, Any]:
    """Open a session; its conversation."""
    answer = post(service, "/conversations", {"botSessionId": session_id, **said})
    assert answer.status_code in {200, 201}, answer.text
    opened: dict[str, Any] = answer.json()
    return opened


def assign(service: api.Api, session_id: str, to: dict[str, Any], status: int = 200) -> str:
    """Assign a session as `api.to_agent` and `api.to_queue` say, with this outcome; the transfer's id."""
    answer = service.assign(**to, botSessionId=session_id)
    assert answer.status_code == status, answer.text
    return answer.headers["x-transfer-id"]


def move(service: api.Api, session_id: str, act: str, **condition: Any) -> Response:
    """Close or release a session."""
    return post(service, f"/conversations/sessions/{session_id}/{act}", condition or None)


def strangers(settings: Settings) -> list[tuple[str, dict[str, str]]]:
    """Another stream of the account, and one of another account: where they call, and their headers."""
    load_directory(
        settings,
        {
            "streams": [
                {"streamId": OTHER_STREAM, "accountId": sample.ACCOUNT, "orgId": sample.ORG},
                {"streamId": sample.STREAM, "accountId": OTHER_ACCOUNT, "orgId": sample.ORG},
            ],
            "apps": [
                sample.app(scopes=SCOPES, streams="*"),
                sample.app(appId="cs-3", accountId=OTHER_ACCOUNT, scopes=SCOPES, streams="*"),
            ],
        },
    )
    here = BASE.replace(sample.STREAM, OTHER_STREAM)
    return [(here, sample.headers()), (BASE, {"auth": sample.token(appId="cs-3")})]
