"""The assignment call does not take FastAPI's way through its routes, except where it must; nobody can tell."""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import pytest
from fastapi import FastAPI
from starlette.testclient import TestClient

from handoff import Settings, create_app, load_directory
from rigs import sample


@pytest.fixture
def app(tmp_path_factory: pytest.TempPathFactory) -> FastAPI:
    settings = Settings(database_url=f"sqlite:///{tmp_path_factory.mktemp('door')}/handoff.db", dispatcher="off")
    load_directory(settings, sample.directory())
    return create_app(settings)


@pytest.fixture
def client(app: FastAPI) -> Iterator[TestClient]:
    with TestClient(app, raise_server_exceptions=False) as started:
        yield started


def below(path: str, app: FastAPI) -> FastAPI:
    """An app that has ours mounted at a path, and starts it."""

    @asynccontextmanager
    async def lifespan(_outer: FastAPI) -> AsyncIterator[None]:
        async with app.router.lifespan_context(app):
            yield

    outer = FastAPI(lifespan=lifespan)
    outer.mount(path, app)
    return outer


def test_an_app_below_a_path_of_another_answers_the_same(app: FastAPI) -> None:
    with TestClient(app) as client:
        direct = client.post(sample.PATH, headers=sample.headers(), json=sample.body())
    with TestClient(below("/inner", app)) as client:
        mounted = client.post(f"/inner{sample.PATH}", headers=sample.headers(), json=sample.body())

    assert (direct.status_code, mounted.status_code) == (200, 200)
    assert mounted.content == direct.content
    assert {*mounted.headers} == {*direct.headers}


def test_an_app_below_the_beginning_of_the_path_wants_the_whole_path_after_it(app: FastAPI) -> None:
    with TestClient(below("/agentassist/api", app)) as client:
        answer = client.post(sample.PATH, headers=sample.headers(), json=sample.body())

    assert answer.status_code == 404


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE"])
def test_another_method_is_refused_as_everywhere(client: TestClient, method: str) -> None:
    answer = client.request(method, sample.PATH, headers=sample.headers())

    assert (answer.status_code, answer.headers["allow"]) == (405, "POST")


@pytest.mark.parametrize(
    "path", [f"{sample.PATH}/", f"{sample.PATH}/more", f"/more{sample.PATH}", "//assign-conversation"]
)
def test_a_path_that_only_looks_alike_is_none_of_ours(client: TestClient, path: str) -> None:
    assert client.post(path, headers=sample.headers(), json=sample.body()).status_code == 404


def test_of_a_header_that_stands_twice_the_first_one_counts(client: TestClient) -> None:
    twice = [("auth", sample.token()), ("auth", "no token"), ("x-request-id", "first"), ("x-request-id", "second")]

    answer = client.post(sample.PATH, headers=twice, json=sample.body())

    assert (answer.status_code, answer.headers["x-request-id"]) == (200, "first")


def test_a_mistake_of_ours_is_a_500_in_the_same_shape(app: FastAPI, client: TestClient) -> None:
    app.state.services = None

    answer = client.post(sample.PATH, headers=sample.headers())

    assert (answer.status_code, answer.headers["content-type"]) == (500, "application/problem+json")
