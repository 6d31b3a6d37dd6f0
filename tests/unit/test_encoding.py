import json
from enum import StrEnum
from math import inf, nan
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from handoff.domain.encoding import as_json

PLAIN = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()
VALUES = st.recursive(PLAIN, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=6)


class Word(StrEnum):
    YES = "yes"


@given(st.dictionaries(st.text(), VALUES))
def test_whatever_is_written_is_read_as_what_it_was(members: dict[str, Any]) -> None:
    written = as_json(members)

    assert json.loads(written) == members
    assert b"\n" not in written


def test_members_keep_their_order_and_nothing_stands_between_them() -> None:
    assert as_json({"b": 1, "a": [True, None, 0.5]}) == b'{"b":1,"a":[true,null,0.5]}'


def test_text_leaves_in_utf_8_unescaped() -> None:
    assert as_json({"reason": "Zoë\n"}) == '{"reason":"Zoë\\n"}'.encode()


def test_a_word_of_a_fixed_set_is_written_as_its_text() -> None:
    assert as_json({"state": Word.YES}) == b'{"state":"yes"}'


def test_a_number_that_is_not_finite_is_written_as_null() -> None:
    assert as_json([nan, inf]) == b"[null,null]"


@pytest.mark.parametrize("value", [2**64, -(2**80), {1: "a key"}, "half of a pair: \ud800"])
def test_what_the_fast_encoder_does_not_take_is_written_all_the_same(value: object) -> None:
    assert as_json(value) == json.dumps(value, separators=(",", ":")).encode()


def test_what_json_does_not_know_is_asked_for() -> None:
    assert as_json({"error": ValueError("no"), "much": 2**64}, str) == b'{"error":"no","much":18446744073709551616}'
    with pytest.raises(TypeError):
        as_json(ValueError("no"))
