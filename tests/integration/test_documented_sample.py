"""The request that the vendor's page prints, as it stands there but for host and token, on each way to serve."""

import httpx
import pytest

from conftest import StartService
from handoff import Settings, load_directory
from rigs import sample

# The page's own text: a JSON body with its line breaks, sent with the page's headers.
DOCUMENTED_PATH = "/agentassist/api/v1/public/st-a0ec5267-a58a-5fbb-ab0e-e27ebc35xxxx/assign-conversation"
DOCUMENTED_BODY = """{
"callbackUrl": "http://localhost:8009",
"orgId": "o-02c0d56d-fd90-5e24-8458-01be1d2exxxx",
"aId": "a-8cd2673-0cb7-462d-9453-0ee60e52xxxx",
"botSessionId": "6538f8a3c9cf425ee5cfxxxx"
}"""
DOCUMENTED_HEADERS = {"accountid": "650d9eb6da96d0bc0d23xxxx", "Content-Type": "application/json"}

COMMANDS = {
    "handoff serve": ("handoff", "serve"),
    "uvicorn --factory": ("uvicorn", "--factory", "handoff:create_app", "--port", "{port}"),
}


@pytest.mark.parametrize("command", COMMANDS.values(), ids=COMMANDS)
def test_the_documented_request_gets_the_documented_answer(
    sqlite_url: str, start_service: StartService, command: tuple[str, ...]
) -> None:
    load_directory(Settings(database_url=sqlite_url), sample.directory())
    service = start_service(sqlite_url, command=command, settings={"dispatcher": "off"})

    answer = httpx.post(
        service.url + DOCUMENTED_PATH,
        headers={"auth": sample.token(), **DOCUMENTED_HEADERS},
        content=DOCUMENTED_BODY,
        timeout=60,
    )

    body = answer.json()
    assert answer.status_code == 200
    assert list(body) == ["sessionId", "agentId", "status", "requestCompletedAt"]
    assert body["sessionId"] == "6538f8a3c9cf425ee5cfxxxx"
    assert body["agentId"] == "a-8cd2673-0cb7-462d-9453-0ee60e52xxxx"
    assert body["status"] == "transferred"
    assert isinstance(body["requestCompletedAt"], int)
