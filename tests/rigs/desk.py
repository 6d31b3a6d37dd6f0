"""The calls on agents and queues over HTTP, with the sample's headers."""

from typing import Any

from httpx2 import Response

from handoff import load_directory
from rigs import sample
from rigs.api import Api

BASE = f"/agentassist/api/v1/public/{sample.STREAM}"
JANE = {"emailId": "jane@example.com", "firstName": "Jane", "lastName": "Doe"}


class Desk:
    """Whoever manages the agents of the sample's org."""

    def __init__(self, service: Api) -> None:
        self.service = service
        load_directory(service.settings, {"apps": [sample.app(scopes=["Routing", "Configuration"])]})

    def call(self, method: str, path: str, **request: Any) -> Response:
        """A call on the sample's stream."""
        return self.service.client.request(method, BASE + path, headers=sample.headers(), **request)

    def done(self, method: str, path: str, **request: Any) -> Any:
        """The answer of a call that succeeds."""
        answer = self.call(method, path, **request)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def create(self, **said: Any) -> dict[str, Any]:
        """A new agent; without an email, so that there can be many."""
        email = {"emailId": f"{said['id']}@example.com"} if "id" in said else {}
        created: dict[str, Any] = self.done("POST", "/agents", json={**JANE, **email, **said})
        return created

    def get(self, agent_id: str = sample.AGENT) -> dict[str, Any]:
        """An agent as it reads now."""
        found: dict[str, Any] = self.done("GET", f"/agents/{agent_id}")
        return found

    def set_status(self, status: str, agent_id: str = sample.AGENT, **more: Any) -> dict[str, Any]:
        """Tell whether the agent is there."""
        told: dict[str, Any] = self.done("PUT", f"/agents/{agent_id}/status", json={"status": status, **more})
        return told
