"""Apps' secrets in a real store: sealed with keys, opened with them, sealed anew."""

import logging
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any

import pytest
from pydantic import SecretStr
from sqlalchemy import select, update

from handoff import Settings, load_directory
from handoff.migrating import migrate_store
from handoff.outboxes import open_store
from handoff.service.apps import Apps, Sealed
from handoff.service.ports import StoreUnavailable
from handoff.store.tables import apps
from handoff.stores import open_apps, open_audit, open_directory
from rigs import sample
from rigs.keys import NEW, OLD, OTHER

SETTING = "HANDOFF_SECRET_KEYS"
With = Callable[..., Settings]


@pytest.fixture
def with_keys(database_url: str) -> With:
    """Settings for the test's store with these keys."""
    migrate_store(Settings(database_url=database_url))

    def settings(*keys: str) -> Settings:
        return Settings(database_url=database_url, secret_keys=tuple(SecretStr(key) for key in keys))

    return settings


@pytest.fixture
def opened() -> Iterator[Callable[[Settings], Apps]]:
    made: list[Apps] = []

    def open_(settings: Settings) -> Apps:
        made.append(open_apps(settings))
        return made[-1]

    yield open_
    for one in made:
        one.store.close()


def stored(settings: Settings) -> dict[str, list[Any]]:
    """The secrets of every app as the store has them."""
    engine = open_store(settings)
    with engine.begin() as connection:
        found = {row.app_id: row.secrets for row in connection.execute(select(apps))}
    engine.dispose()
    return found


def found_secrets(settings: Settings, app_id: str = sample.APP) -> tuple[str, ...] | None:
    with closing(open_directory(settings)) as directory:
        app = directory.find_app(app_id)
    return None if app is None else app.secrets


def bring(settings: Settings, *entries: dict[str, Any]) -> None:
    load_directory(settings, {"apps": list(entries)})


def test_with_a_key_no_secret_stands_in_the_store_and_the_front_door_finds_it(with_keys: With) -> None:
    settings = with_keys(NEW)
    bring(settings, sample.app())

    assert sample.SECRET not in str(stored(settings))
    assert [list(secret) for secret in stored(settings)[sample.APP]] == [["sealed"]]
    assert found_secrets(settings) == (sample.SECRET,)


def test_without_a_key_secrets_are_in_clear_and_are_still_read_when_one_comes(with_keys: With) -> None:
    bring(with_keys(), sample.app())

    assert stored(with_keys()) == {sample.APP: [sample.SECRET]}
    assert found_secrets(with_keys(NEW)) == (sample.SECRET,)


def test_public_keys_stay_in_clear(with_keys: With) -> None:
    settings = with_keys(NEW)
    bring(settings, sample.app(publicKeys=["a key for all to see"]))

    engine = open_store(settings)
    with engine.begin() as connection:
        assert connection.scalar(select(apps.c.public_keys)) == ["a key for all to see"]
    engine.dispose()


@pytest.mark.parametrize("keys", [(), (OTHER,)])
def test_an_app_whose_secret_no_key_opens_is_unavailable_and_named_in_the_log(
    with_keys: With, caplog: pytest.LogCaptureFixture, keys: tuple[str, ...]
) -> None:
    bring(with_keys(NEW), sample.app())

    with caplog.at_level(logging.WARNING), pytest.raises(StoreUnavailable) as caught:
        found_secrets(with_keys(*keys))

    (record,) = [record for record in caplog.records if record.message == "secrets cannot be opened"]
    assert (vars(record)["app_id"], vars(record)["setting"]) == (sample.APP, SETTING)
    assert (sample.APP in caught.value.reason, SETTING in caught.value.reason) == (True, True)
    assert sample.SECRET not in caplog.text


def test_a_row_that_was_given_another_apps_secret_is_unavailable(with_keys: With) -> None:
    settings = with_keys(NEW)
    bring(settings, sample.app(), sample.app(appId="cs-2", secrets=["z" * 64]))
    taken = stored(settings)["cs-2"]
    engine = open_store(settings)
    with engine.begin() as connection:
        connection.execute(update(apps).where(apps.c.app_id == sample.APP).values(secrets=taken))
    engine.dispose()

    assert found_secrets(settings, "cs-2") == ("z" * 64,)
    with pytest.raises(StoreUnavailable):
        found_secrets(settings)


def test_the_same_secret_brought_in_again_leaves_its_seal_as_it_is(with_keys: With) -> None:
    bring(with_keys(OLD), sample.app())
    bring(with_keys(NEW, OLD), sample.app())
    before = stored(with_keys(NEW, OLD))
    bring(with_keys(NEW, OLD), sample.app())

    assert stored(with_keys(NEW, OLD)) == before
    assert found_secrets(with_keys(NEW)) == (sample.SECRET,)


def test_sealing_takes_every_app_of_every_account_to_the_newest_key(
    with_keys: With, opened: Callable[[Settings], Apps]
) -> None:
    many = [sample.app(appId=f"cs-{number}", accountId=f"acc-{number % 3}") for number in range(250)]
    bring(with_keys(), *many[:100])
    bring(with_keys(OLD), *many[100:])
    both = opened(with_keys(NEW, OLD))

    first, second = both.store.seal_all(), both.store.seal_all()

    assert first == Sealed(renewed=250, kept=0, unopenable=[])
    assert second == Sealed(renewed=0, kept=250, unopenable=[])
    assert found_secrets(with_keys(NEW), "cs-7") == found_secrets(with_keys(NEW), "cs-249") == (sample.SECRET,)


def test_sealing_keeps_the_order_of_secrets_and_leaves_an_app_that_no_key_opens(
    with_keys: With, opened: Callable[[Settings], Apps]
) -> None:
    bring(with_keys(OTHER), sample.app(appId="cs-lost"))
    bring(with_keys(OLD), sample.app(secrets=["n" * 64, sample.SECRET]))
    lost = stored(with_keys())["cs-lost"]

    sealed = opened(with_keys(NEW, OLD)).store.seal_all()

    assert sealed == Sealed(renewed=2, kept=0, unopenable=["cs-lost"])
    assert found_secrets(with_keys(NEW)) == ("n" * 64, sample.SECRET)
    assert stored(with_keys())["cs-lost"] == lost


def test_the_doctor_names_apps_that_no_key_opens_and_those_in_clear_beside_a_key(with_keys: With) -> None:
    bring(with_keys(OTHER), sample.app(appId="cs-lost"))
    bring(with_keys(), sample.app(appId="cs-clear"))
    bring(with_keys(NEW), sample.app())

    def named(settings: Settings) -> dict[str, str]:
        with closing(open_audit(settings)) as audit:
            return {one.subject.partition("/")[2]: one.detail for one in audit.violations()}

    with_one, with_none = named(with_keys(NEW)), named(with_keys())

    assert with_one.keys() == {"cs-lost", "cs-clear"}
    assert SETTING in with_one["cs-lost"]
    assert "handoff apps seal" in with_one["cs-clear"]
    assert with_none.keys() == {"cs-lost", sample.APP}
