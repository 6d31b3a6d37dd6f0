"""A small directory for tests: one account, one app, and as many agents and sessions as asked for."""

from collections.abc import Sequence
from typing import Any

import jwt

ACCOUNT = "650d9eb6da96d0bc0d23xxxx"
APP = "cs-50febaa3-743f-55b3-8956-718e96f6bb90"
SECRET = "a secret of a test, long enough for every HMAC that the service knows"
STREAM = "st-a0ec5267-a58a-5fbb-ab0e-e27ebc35xxxx"
ORG = "o-02c0d56d-fd90-5e24-8458-01be1d2exxxx"
AGENT = "a-8cd2673-0cb7-462d-9453-0ee60e52xxxx"
OTHER_AGENT = "a-220172c-856e-4db6-a2d1-d4c2dabexxxx"
QUEUE = "qu-b5d3bb4-a1ac-4caa-9be6-55a5abc3xxxx"
OTHER_QUEUE = "qu-241a4d7-e5d0-45a9-8032-82384505xxxx"
SESSION = "6538f8a3c9cf425ee5cfxxxx"
PATH = f"/agentassist/api/v1/public/{STREAM}/assign-conversation"

Directory = dict[str, list[dict[str, Any]]]


def app(**changes: Any) -> dict[str, Any]:
    """The app, with some fields as given."""
    return {
        "appId": APP,
        "accountId": ACCOUNT,
        "name": "Test",
        "secrets": [SECRET],
        "scopes": ["Routing"],
        "streams": [STREAM],
        **changes,
    }


def agent(agent_id: str = AGENT, **changes: Any) -> dict[str, Any]:
    """An available agent with five slots, with some fields as given."""
    return {
        "id": agent_id,
        "userId": f"u-{agent_id}",
        "orgId": ORG,
        "accountId": ACCOUNT,
        "maxChatSupport": 5,
        "onlineStatusType": "AVAILABLE",
        **changes,
    }


def session(session_id: str = SESSION, **changes: Any) -> dict[str, Any]:
    """A session that is with the bot."""
    return {"botSessionId": session_id, "streamId": STREAM, "orgId": ORG, "accountId": ACCOUNT, **changes}


def directory(
    *, agents: Sequence[dict[str, Any]] | None = None, sessions: Sequence[dict[str, Any]] | None = None
) -> Directory:
    """The whole directory; by default two agents, two queues and one session."""
    return {
        "apps": [app()],
        "streams": [{"streamId": STREAM, "orgId": ORG, "accountId": ACCOUNT}],
        "agents": list(agents) if agents is not None else [agent(), agent(OTHER_AGENT)],
        "queues": [{"id": queue, "orgId": ORG, "accountId": ACCOUNT} for queue in (QUEUE, OTHER_QUEUE)],
        "sessions": list(sessions) if sessions is not None else [session()],
    }


def token(**claims: Any) -> str:
    """A token of the app, in the documented sample's shape: just `appId`, and what is given."""
    return jwt.encode({"appId": APP, **claims}, SECRET, "HS256")


def headers(**more: str) -> dict[str, str]:
    """The documented sample's headers."""
    return {"auth": token(), "accountid": ACCOUNT, **more}


def body(callback_url: str = "http://localhost:8009", **changes: Any) -> dict[str, Any]:
    """The documented sample's body, with some fields as given; None leaves one out."""
    fields = {"callbackUrl": callback_url, "orgId": ORG, "aId": AGENT, "botSessionId": SESSION, **changes}
    return {name: value for name, value in fields.items() if value is not None}
