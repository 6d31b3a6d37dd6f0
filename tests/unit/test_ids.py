import hashlib
from typing import Any

import pytest

from fakes import FakeIds
from handoff.domain.ids import (
    agent_id,
    callback_id,
    callback_id_at,
    conversation_id,
    conversation_id_at,
    is_id,
    is_row_id,
    queue_id,
    transfer_id,
    transfer_id_at,
    user_id,
)

UUID = FakeIds().fresh()
URL = "https://receiver.example/größer"


@pytest.mark.parametrize(
    "text", ["a", "Z", "0", "a-_9", "650d9eb6da96d0bc0d23xxxx", "cs-50febaa3-743f-55b3-8956-718e96f6bb90", "x" * 128]
)
def test_letters_digits_hyphens_and_underscores_make_an_id(text: str) -> None:
    assert is_id(text)


@pytest.mark.parametrize(
    "text",
    ["", "-a", "_a", "a b", "a/b", "a.b", "a:b", "a\n", "\na", "a\x00", "ä", "aä", "\u0663", "a\u212a", "x" * 129],
)
def test_anything_else_makes_none(text: str) -> None:
    assert not is_id(text)


def test_a_transfers_id_is_its_uuid_with_a_prefix() -> None:
    made = transfer_id(UUID)

    assert made == f"tr_{UUID}"
    assert is_id(made)


def test_a_transfers_callback_has_the_same_uuid() -> None:
    made = callback_id(transfer_id(UUID))

    assert made == f"msg_{UUID}"
    assert is_id(made)


def test_a_copy_for_another_url_names_that_url_by_sixteen_digits_of_its_digest() -> None:
    copy = callback_id(transfer_id(UUID), URL)

    assert copy == f"msg_{UUID}_{hashlib.sha256(URL.encode()).hexdigest()[:16]}"
    assert is_id(copy)


def test_copies_for_two_urls_have_two_ids_and_for_one_url_one() -> None:
    first, again, other = (callback_id(transfer_id(UUID), url) for url in (URL, URL, f"{URL}/"))

    assert first == again
    assert first != other


@pytest.mark.parametrize("prefixed", [(transfer_id, transfer_id_at), (conversation_id, conversation_id_at)])
def test_an_id_lies_between_its_time_and_the_next_millisecond(prefixed: tuple[Any, Any]) -> None:
    id_of, id_at = prefixed
    made = id_of("0190a1b2-c3d4-7fff-bfff-ffffffffffff")

    assert id_at(0x0190A1B2C3D4) < made < id_at(0x0190A1B2C3D5)
    assert id_at(-1) == id_at(0) < id_at(1)


def test_a_callback_begins_with_its_time() -> None:
    assert callback_id_at(0x0190A1B2C3D4) == "msg_0190a1b2-c3d4"


def test_an_id_of_ours_that_is_made_from_the_longest_of_a_callers_is_that_of_a_row() -> None:
    longest = "c-" + "x" * 128

    assert (is_id(longest), is_row_id(longest)) == (False, True)
    assert not is_row_id("x" * 200)
    assert not is_row_id("c-\x00")


def test_the_ids_of_agents_and_queues_have_the_vendors_shape() -> None:
    assert agent_id(UUID) == "a-190a1b2-c3d4-7000-8000-000000000001"
    assert queue_id(UUID) == "qu-190a1b2-c3d4-7000-8000-000000000001"
    assert user_id(UUID) == f"u-{UUID}"
    assert all(is_id(make(UUID)) for make in (agent_id, queue_id, user_id))
