"""What the service says of itself: the OpenAPI document, its page, and its health."""

import json
import re
from collections.abc import Iterator
from typing import Any
from urllib.parse import urljoin

import pytest
from openapi_spec_validator import OpenAPIV31SpecValidator
from sqlalchemy import text

from handoff import Settings, load_directory
from handoff.domain.refusals import Refusal
from handoff.store import tables
from handoff.store.engine import open_writer
from rigs import sample
from rigs.api import Api, serving, to_agent, to_queue
from rigs.sample import AGENT, OTHER_AGENT, QUEUE

OF_OTHER_CALLS = {
    Refusal.CALLBACK_NOT_FOUND,
    Refusal.CALLBACK_IN_FLIGHT,
    Refusal.CALLBACK_ENDED,
    Refusal.SESSION_ID_TAKEN,
    Refusal.CONVERSATION_NOT_FOUND,
    Refusal.TRANSFER_NOT_FOUND,
    Refusal.AGENT_EXISTS,
    Refusal.AGENT_HOLDS_SESSIONS,
    Refusal.QUEUE_EXISTS,
    Refusal.EVENTS_GONE,
}
PROBLEM = "application/problem+json"
OPERATION = "/agentassist/api/v1/public/{streamId}/assign-conversation"


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    settings = Settings(database_url=f"sqlite:///{tmp_path_factory.mktemp('openapi')}/handoff.db", dispatcher="off")
    load_directory(settings, sample.directory())
    with serving(settings) as running:
        yield running


@pytest.fixture(scope="module")
def document(api: Api) -> dict[str, Any]:
    document: dict[str, Any] = api.client.get("/openapi.json").json()
    return document


@pytest.fixture(scope="module")
def operation(document: dict[str, Any]) -> dict[str, Any]:
    operation: dict[str, Any] = document["paths"][OPERATION]["post"]
    shared = document["components"]["responses"]
    responses = operation["responses"].items()
    return operation | {"responses": {status: shared.get(refers_to(one), one) for status, one in responses}}


def refers_to(described: dict[str, Any]) -> str:
    """The component that stands behind a reference; nothing for what is described in place."""
    return str(described.get("$ref", "")).rpartition("/")[2]


def names_of(schema: dict[str, Any]) -> set[str]:
    """The components that a schema leaves open to choose from."""
    return {refers_to(choice) for choice in schema.get("anyOf", [schema])}


def test_the_document_is_valid_openapi_3_1(document: dict[str, Any]) -> None:
    problems = list(OpenAPIV31SpecValidator(document).iter_errors())

    assert document["openapi"].startswith("3.1.")
    assert problems == []


def test_every_body_that_the_page_offers_is_answered_as_its_summary_says(api: Api, operation: dict[str, Any]) -> None:
    offered = operation["requestBody"]["content"]["application/json"]["examples"]
    holders = {}
    for name, example in offered.items():
        api.reset()
        if "expectedAgentId" in example["value"]:
            api.post(json=offered["agent"]["value"])
        answer = api.post(json=example["value"]).json()
        holders[name] = answer.get("agentId") or answer["queueId"]

    assert offered["agent"]["value"] == sample.body()
    assert holders == {"agent": AGENT, "fallback": AGENT, "move": OTHER_AGENT, "queue": QUEUE}


def test_every_refusal_stands_under_its_status_with_an_example_and_nothing_else_does(operation: dict[str, Any]) -> None:
    examples = {
        (int(status), code): example["value"]
        for status, response in operation["responses"].items()
        if status != "200"
        for code, example in response["content"][PROBLEM]["examples"].items()
    }

    assert set(examples) == {(refusal.status, refusal.code) for refusal in set(Refusal) - OF_OTHER_CALLS}
    for (status, code), value in examples.items():
        assert (value["status"], value["code"], value["errors"][0]["code"]) == (status, code, status)


def test_every_problem_is_declared_as_one_with_its_headers(document: dict[str, Any], operation: dict[str, Any]) -> None:
    responses = {status: response for status, response in operation["responses"].items() if status != "200"}
    headers = {status: set(response["headers"]) - {"X-Request-Id"} for status, response in responses.items()}
    limited = {"Retry-After", "RateLimit", "RateLimit-Policy"}
    special = {"401": {"WWW-Authenticate"}, "429": limited, "503": {"Retry-After"}}
    recorded = {"404": {"X-Transfer-Id"}, "409": {"X-Transfer-Id", "ETag"}, "410": {"X-Transfer-Id"}}

    schemas = [response["content"][PROBLEM]["schema"] for response in responses.values()]
    assert [names_of(schema) for schema in schemas] == [{"Problem"}] * len(schemas)
    assert {"code", "errors"} <= document["components"]["schemas"]["Problem"]["properties"].keys()
    assert headers == {status: set[str]() for status in headers} | special | recorded


def test_of_no_other_call_a_refusal_is_said_to_be_recorded(document: dict[str, Any]) -> None:
    shared = document["components"]["responses"]
    said = {
        (path, shared.get(refers_to(one), one)["description"])
        for path, methods in document["paths"].items()
        for operation in methods.values()
        for status, one in operation["responses"].items()
        if int(status) >= 400 and "x-transfer-id" in str(shared.get(refers_to(one), one).get("headers")).lower()
    }

    assert said == {(OPERATION, "Recorded, and told to the callback.")}


def test_the_callback_is_described_with_both_of_its_messages(operation: dict[str, Any]) -> None:
    ((url, methods),) = [pair for callback in operation["callbacks"].values() for pair in callback.items()]

    schema = methods["post"]["requestBody"]["content"]["application/json"]["schema"]
    assert url == "{$request.body#/callbackUrl}"
    assert names_of(schema) == {"TransferredMessage", "FailedMessage"}


def test_what_is_answered_and_told_is_what_the_document_describes(api: Api, document: dict[str, Any]) -> None:
    api.reset()
    calls = (to_agent(AGENT), to_queue(QUEUE, expectedAgentId=AGENT), to_agent("a-unknown"))
    answers = [api.assign(**changes).json() for changes in calls]
    told = [json.loads(row["body"]) for row in api.rows(tables.callbacks)]

    messages = {"transferred": "TransferredMessage", "failed": "FailedMessage"}
    described = [*zip(("AssignedToAgent", "AssignedToQueue", "Problem"), answers, strict=True)]
    described += [(messages[message["status"]], message) for message in told]
    assert len(told) == 3
    for name, body in described:
        schema = document["components"]["schemas"][name]
        assert set(schema["required"]) <= body.keys() <= schema["properties"].keys()


def test_both_ways_to_send_a_token_are_declared(document: dict[str, Any], operation: dict[str, Any]) -> None:
    schemes = document["components"]["securitySchemes"]

    assert operation["security"] == [{"token": []}, {"bearer": []}]
    assert (schemes["token"]["type"], schemes["token"]["in"], schemes["token"]["name"]) == ("apiKey", "header", "auth")
    assert (schemes["bearer"]["type"], schemes["bearer"]["scheme"]) == ("http", "bearer")


def test_the_page_of_the_document_needs_no_server_but_its_own(api: Api) -> None:
    page = api.client.get("/docs")
    references = re.findall(r"""(?:src|href|url)\s*[=:]\s*["']([^"']+)["']""", page.text)

    answers = {reference: api.client.get(urljoin("/docs", reference)).status_code for reference in references}

    assert page.status_code == 200
    assert re.findall(r"""["'(=]\s*(?:https?:)?//""", page.text) == []
    assert "openapi.json" in answers
    assert len(answers) == 4
    assert set(answers.values()) == {200}


def test_a_live_service_says_so(api: Api) -> None:
    answer = api.client.get("/livez")

    assert (answer.status_code, answer.json()) == (200, {"status": "alive"})


def test_a_service_is_ready_until_its_store_has_another_revision(settings: Settings) -> None:
    with serving(settings) as api:
        before = api.client.get("/readyz")
        engine = open_writer(settings.database_url)
        with engine.begin() as connection:
            connection.execute(text("UPDATE alembic_version SET version_num = '0000'"))
        engine.dispose()
        after = api.client.get("/readyz")

    assert (before.status_code, before.json()["status"]) == (200, "ready")
    assert before.json()["checks"] == {"store": "ok", "committer": "ok", "feed": "ok"}
    assert (after.status_code, after.json()["status"]) == (503, "not ready")
    assert "0000" in after.json()["checks"]["store"]
    assert after.json()["checks"]["committer"] == "ok"
