"""What the OpenAPI document says of bodies, parameters and methods, where the service once said otherwise."""

from collections.abc import Iterator
from typing import Any

import pytest
from jsonschema_rs import Draft202012Validator

from handoff import Settings, load_directory
from rigs import sample
from rigs.api import Api, serving
from rigs.conversations import BASE, SCOPES, get, post

PUBLIC = "/agentassist/api/v1/public/{streamId}"
AGENT = {"emailId": "jane@example.com", "firstName": "Jane", "lastName": "Doe"}


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    settings = Settings(database_url=f"sqlite:///{tmp_path_factory.mktemp('shapes')}/handoff.db", dispatcher="off")
    load_directory(settings, sample.directory() | {"apps": [sample.app(scopes=SCOPES)]})
    with serving(settings) as running:
        yield running


def conforms(api: Api, schema: dict[str, Any], value: Any) -> bool:
    """Whether the document's schema lets the value through."""
    components = api.client.get("/openapi.json").json()["components"]
    return bool(Draft202012Validator({**schema, "components": components}).is_valid(value))


def component(name: str) -> dict[str, Any]:
    return {"$ref": f"#/components/schemas/{name}"}


@pytest.mark.parametrize(
    ("path", "methods"),
    [
        (f"{BASE}/conversations", "GET, POST"),
        (f"{BASE}/queues", "GET, POST"),
        (f"{BASE}/agents/a-1", "DELETE, GET, PUT"),
        (f"{BASE}/agents/availability", "DELETE, GET, POST, PUT"),
        (sample.PATH, "POST"),
        ("/docs", "GET"),
        ("/openapi.json", "GET, HEAD"),
    ],
)
def test_allow_names_every_method_of_the_path(api: Api, path: str, methods: str) -> None:
    answer = api.client.request("TRACE", path)

    assert (answer.status_code, answer.headers["allow"]) == (405, methods)


@pytest.mark.parametrize(
    ("path", "name", "body"),
    [
        ("/queues/agents", "MembershipQuery", {}),
        ("/queues/agents", "MembershipQuery", {"queueIds": [], "agentIds": []}),
        ("/queues/agents", "MembershipQuery", {"queueIds": ["qu-1"], "agentIds": ["a-1"]}),
        ("/queues", "NewQueue", {"name": "Q", "agents": [{}]}),
        ("/queues", "NewQueue", {"name": "Q", "agents": [{"aId": "a-1", "isPreferredAgent": "yes"}]}),
        ("/agents", "NewAgent", {**AGENT, "skills": [{}]}),
        ("/agents", "NewAgent", {**AGENT, "emailId": "jane"}),
        ("/agents", "NewAgent", {**AGENT, "customId": "1 2"}),
        ("/agents", "NewAgent", {**AGENT, "maxChatSupport": False}),
        ("/agents", "NewAgent", {**AGENT, "maxChatSupport": "5"}),
        ("/callbacks/redeliver", "RedeliverMany", {"cursor": ""}),
        ("/callbacks/redeliver", "RedeliverMany", {"perSecond": True}),
        ("/assign-conversation", "AssignToAgent", sample.body(fallback=[{"aId": "a-1", "queueId": "qu-1"}])),
        ("/assign-conversation", "AssignToAgent", sample.body(fallback=[{}])),
        ("/assign-conversation", "AssignToAgent", sample.body(callback_url="")),
    ],
)
def test_a_body_that_is_refused_is_none_that_the_document_lets_through(
    api: Api, path: str, name: str, body: dict[str, Any]
) -> None:
    assert post(api, path, body).status_code == 422
    assert not conforms(api, component(name), body)


@pytest.mark.parametrize(
    ("path", "parameter", "taken", "refused"),
    [
        ("/conversations", "source", "", "!"),
        ("/conversations", "limit", "", 0),
        ("/conversations", "skip", "", -1),
        ("/events", "after", "latest", "x"),
        ("/queues", "cursor", "WyJhIiwgMF0", ""),
    ],
)
def test_a_parameter_is_taken_as_the_document_says(
    api: Api, path: str, parameter: str, taken: Any, refused: Any
) -> None:
    parameters = api.client.get("/openapi.json").json()["paths"][PUBLIC + path]["get"]["parameters"]
    (schema,) = [one["schema"] for one in parameters if one["name"] == parameter]

    assert [get(api, path, **{parameter: value}).status_code for value in (taken, refused)] == [200, 422]
    assert [conforms(api, schema, value) for value in (taken, refused)] == [True, False]


def test_conversations_of_which_some_members_are_asked_for_are_as_the_document_says(api: Api) -> None:
    answer = get(api, "/conversations", fields="status").json()

    assert answer["results"] == [{"status": "OPEN"}]
    assert conforms(api, component("ConversationResults"), answer)


def test_a_body_of_the_assignment_that_is_null_is_refused_and_not_described(api: Api) -> None:
    described = api.client.get("/openapi.json").json()["paths"][f"{PUBLIC}/assign-conversation"]["post"]["requestBody"]

    assert api.post(content=b"null").status_code == 422
    assert not conforms(api, described["content"]["application/json"]["schema"], None)
