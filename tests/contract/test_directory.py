"""Apps and streams as the front door finds them, in a real store."""

import asyncio
import logging
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from pydantic import SecretStr

from handoff import Settings, load_directory
from handoff.service.directory import Directory
from handoff.service.ports import StoreUnavailable
from handoff.service.worker import Worker
from handoff.store.directory import SqlDirectory
from handoff.stores import open_directory
from rigs import sample
from rigs.keys import NEW, OTHER
from rigs.statements import heard

UNKNOWN = [f"cs-unknown-{number}" for number in range(64)]


@pytest.fixture
def store(stored: Settings) -> Iterator[SqlDirectory]:
    opened = open_directory(stored)
    yield opened
    opened.close()


@pytest.fixture
def front(store: SqlDirectory) -> Iterator[Directory]:
    with ThreadPoolExecutor(2) as reader:
        yield Directory(store, worker=Worker(reader), trust_s=600)


@pytest.mark.anyio
async def test_many_apps_that_do_not_exist_are_looked_for_in_a_few_statements(front: Directory) -> None:
    with heard() as said:
        found = await asyncio.gather(*map(front.find_app, UNKNOWN))

    assert found == [None] * len(UNKNOWN)
    assert 1 <= sum("FROM apps" in one.text for one in said.statements) <= 3


@pytest.mark.anyio
async def test_the_app_among_many_that_do_not_exist_is_found_and_read_no_second_time(front: Directory) -> None:
    async with asyncio.TaskGroup() as callers:
        found = [callers.create_task(front.find_app(app_id)) for app_id in (*UNKNOWN, sample.APP)]
    with heard() as said:
        again = [await front.find_app(app_id) for app_id in (*UNKNOWN, sample.APP)]

    assert [one.result() for one in found] == again
    assert [app.app_id for app in again if app is not None] == [sample.APP]
    assert said.statements == []


def test_apps_are_found_of_whatever_account(stored: Settings, store: SqlDirectory) -> None:
    load_directory(stored, {"apps": [sample.app(appId="cs-2", accountId="acc-2", name="Two", streams="*")]})
    found = store.find_apps(["cs-2", "cs-3", sample.APP])

    assert {key: (app.account_id, app.name) for key, app in found.items() if not isinstance(app, Exception)} == {
        "cs-2": ("acc-2", "Two"),
        sample.APP: (sample.ACCOUNT, "Test"),
    }
    assert store.find_apps(["cs-3"]) == {}


def test_an_app_whose_secrets_no_key_opens_fails_alone(stored: Settings, caplog: pytest.LogCaptureFixture) -> None:
    keys = stored.model_copy(update={"secret_keys": (SecretStr(OTHER),)})
    load_directory(keys, {"apps": [sample.app(appId="cs-lost")]})
    opened = open_directory(stored.model_copy(update={"secret_keys": (SecretStr(NEW),)}))
    with caplog.at_level(logging.WARNING):
        found = opened.find_apps([sample.APP, "cs-lost", "cs-unknown"])
    opened.close()

    assert {key: type(one).__name__ for key, one in found.items()} == {sample.APP: "App", "cs-lost": "Unopenable"}
    assert isinstance(found["cs-lost"], StoreUnavailable)
    assert [vars(one)["app_id"] for one in caplog.records if one.message == "secrets cannot be opened"] == ["cs-lost"]


def test_a_stream_is_found_in_its_own_account_alone(stored: Settings, store: SqlDirectory) -> None:
    theirs = {"streamId": "st-2", "orgId": "o-2", "accountId": "acc-2"}
    load_directory(stored, {"streams": [theirs]})
    mine, other = (sample.ACCOUNT, sample.STREAM), ("acc-2", "st-2")
    found = store.find_streams([mine, other, (sample.ACCOUNT, "st-2"), ("acc-2", sample.STREAM)])

    assert {key: (stream.account_id, stream.stream_id, stream.org_id) for key, stream in found.items()} == {
        mine: (*mine, sample.ORG),
        other: (*other, "o-2"),
    }
