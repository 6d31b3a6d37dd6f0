import json
from enum import StrEnum
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from handoff.domain.encoding import as_json, json_text

NAMES = st.from_regex(r"[A-Za-z][A-Za-z_]{0,12}", fullmatch=True)
PLAIN = st.none() | st.booleans() | st.integers() | st.floats() | st.text()
VALUES = st.recursive(PLAIN, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=6)


class Word(StrEnum):
    YES = "yes"


@given(st.dictionaries(NAMES, VALUES))
def test_an_object_is_written_as_the_standard_encoder_writes_it(members: dict[str, Any]) -> None:
    written = json_text(members)

    assert written == json.dumps(members, ensure_ascii=False, separators=(",", ":"))


def test_text_leaves_in_utf_8_unescaped() -> None:
    assert as_json({"reason": "Zoë\n"}) == '{"reason":"Zoë\\n"}'.encode()


def test_a_word_of_a_fixed_set_is_written_as_its_text() -> None:
    assert as_json({"state": Word.YES}) == b'{"state":"yes"}'


def test_what_json_does_not_know_is_left_to_the_encoder_given() -> None:
    assert json_text({"error": ValueError("no")}, lambda value: f'"{value}"') == '{"error":"no"}'
