import json
from collections.abc import Mapping

import pytest
from cryptography.fernet import Fernet
from hypothesis import given
from hypothesis import strategies as st

from handoff.service.ports import StoreUnavailable
from handoff.store.sealing import Seals, Unopenable, is_sealed
from rigs.keys import NEW, OLD, OTHER

SECRET = "a secret of a test, long enough for every HMAC that the service knows"


def sealed(*keys: str, account: str = "acc-1", app: str = "cs-1", secret: str = SECRET) -> Mapping[str, str]:
    stored = Seals(keys).seal(account, app, secret)
    assert not isinstance(stored, str)
    return stored


@given(secret=st.text())
def test_what_is_sealed_is_opened_again_and_shows_nothing_meanwhile(secret: str) -> None:
    stored = sealed(NEW, secret=secret)

    assert is_sealed(stored)
    assert Seals([NEW]).open("acc-1", "cs-1", stored) == secret
    assert not secret or len(secret) < 8 or secret not in json.dumps(stored)


def test_each_sealing_is_another_though_the_secret_is_the_same() -> None:
    assert sealed(NEW) != sealed(NEW)


def test_without_keys_a_secret_stays_in_clear() -> None:
    assert Seals().seal("acc-1", "cs-1", SECRET) == SECRET
    assert not is_sealed(SECRET)
    assert not Seals().are_set


@pytest.mark.parametrize("keys", [(), (NEW,)])
def test_a_secret_in_clear_from_before_there_were_keys_is_still_read(keys: tuple[str, ...]) -> None:
    assert Seals(keys).open("acc-1", "cs-1", SECRET) == SECRET


def test_the_first_key_seals_and_every_key_opens() -> None:
    both = Seals([NEW, OLD])

    assert both.open("acc-1", "cs-1", sealed(OLD)) == SECRET
    assert Seals([NEW]).open("acc-1", "cs-1", both.seal("acc-1", "cs-1", SECRET)) == SECRET


@pytest.mark.parametrize("keys", [(), (OTHER,), (OTHER, OLD)])
def test_no_other_key_opens_it_and_the_sentence_names_app_and_setting(keys: tuple[str, ...]) -> None:
    with pytest.raises(Unopenable) as caught:
        Seals(keys).open("acc-1", "cs-1", sealed(NEW))

    assert str(caught.value) == "none of HANDOFF_SECRET_KEYS opens the secrets of app cs-1"
    assert isinstance(caught.value, StoreUnavailable)
    assert Seals(keys).peek("acc-1", "cs-1", sealed(NEW)) is None


@pytest.mark.parametrize(("account", "app"), [("acc-2", "cs-1"), ("acc-1", "cs-2"), ("cs-1", "acc-1")])
def test_a_secret_of_one_app_opens_nothing_in_the_row_of_another(account: str, app: str) -> None:
    with pytest.raises(Unopenable):
        Seals([NEW]).open(account, app, sealed(NEW))


@pytest.mark.parametrize(
    "token",
    [
        "",
        "no token",
        Fernet(NEW).encrypt(b'{"account": "acc-1", "app": "cs-2", "secret": "x"}').decode(),
        Fernet(NEW).encrypt(b'{"secret": "x"}').decode(),
    ],
    ids=["empty", "no token", "of another app", "of no app"],
)
def test_a_token_that_is_broken_or_names_no_app_opens_nothing(token: str) -> None:
    with pytest.raises(Unopenable):
        Seals([NEW]).open("acc-1", "cs-1", {"sealed": token})


def test_what_the_newest_key_sealed_needs_no_new_seal() -> None:
    both = Seals([NEW, OLD])

    assert both.is_newest(sealed(NEW))
    assert not both.is_newest(sealed(OLD))
    assert not both.is_newest(SECRET)
    assert Seals().is_newest(SECRET)
    assert not Seals().is_newest(sealed(NEW))
