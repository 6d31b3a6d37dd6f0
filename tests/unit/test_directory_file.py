import io
import json
from collections.abc import Sequence
from itertools import cycle
from typing import TextIO

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from handoff.service.directory_file import DirectoryFileError, Entry, entries

MEGABYTE = 1_000_000
BLANKS = ("", " ", "\n", "\t", "\r\n", "  \n\n ")


class Trickle(io.StringIO):
    """A file of which each read brings only a few characters."""

    def __init__(self, text: str, sizes: Sequence[int] = (1,)) -> None:
        super().__init__(text, newline="")
        self._sizes = cycle(sizes)

    def read(self, size: int | None = -1, /) -> str:
        few = next(self._sizes)
        return super().read(few if size is None or size < 0 else min(few, size))


class Counted(io.StringIO):
    """A file that counts the characters it has given out."""

    given = 0

    def read(self, size: int | None = -1, /) -> str:
        piece = super().read(size)
        self.given += len(piece)
        return piece


def read(text: str) -> list[Entry]:
    """What a file says, which is the same whether it comes at once or a character at a time."""
    at_once, slowly = list(entries(io.StringIO(text))), list(entries(Trickle(text)))

    assert at_once == slowly
    return at_once


def failure(file: TextIO) -> DirectoryFileError:
    with pytest.raises(DirectoryFileError) as caught:
        list(entries(file))
    return caught.value


def test_every_element_comes_with_its_section_and_the_line_where_it_begins() -> None:
    text = '{"agents": [{"id": "a-1"},\n  {"id":\n"a-2"}], "queues": [],\n\n"queues": [ "x"\n,\r\n 7 ]}\n\n'

    assert read(text) == [
        Entry("agents", 1, {"id": "a-1"}),
        Entry("agents", 2, {"id": "a-2"}),
        Entry("queues", 5, "x"),
        Entry("queues", 7, 7),
    ]


@pytest.mark.parametrize("text", ["{}", " { } ", "\n{\n}\n", '{"agents": []}', '{"agents":[ ],"queues":[\n]}'])
def test_an_empty_directory_has_no_elements(text: str) -> None:
    assert read(text) == []


@pytest.mark.parametrize("number", ["0", "-1", "12", "1.5", "-0.25", "1e5", "1E+5", "2e-3", "12.5e10"])
def test_a_number_that_falls_between_two_reads_is_still_one_number(number: str) -> None:
    whole = [Entry("agents", 1, json.loads(number))]

    assert read(f'{{"agents": [{number}]}}') == whole
    assert read(f'{{"agents": [{number} ]}}') == whole


blanks = st.lists(st.sampled_from(BLANKS), max_size=3).map("".join)
leaves = st.text(max_size=5) | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.booleans()
elements = st.recursive(leaves, lambda inner: st.dictionaries(st.text(max_size=3), inner, max_size=3), max_leaves=5)


@st.composite
def files(draw: st.DrawFn) -> tuple[str, list[Entry]]:
    """The text of a directory file, written with any white space, and what it says."""
    indent = draw(st.sampled_from([None, 0, 2]))
    text, said = draw(blanks) + "{" + draw(blanks), []
    for place, (section, values) in enumerate(draw(st.lists(st.tuples(st.text(max_size=5), st.lists(elements))))):
        text += f"{',' if place else ''}{draw(blanks)}{json.dumps(section)}{draw(blanks)}:{draw(blanks)}[{draw(blanks)}"
        for number, value in enumerate(values):
            text += f"{',' if number else ''}{draw(blanks)}"
            said.append(Entry(section, 1 + text.count("\n"), value))
            text += json.dumps(value, indent=indent, ensure_ascii=draw(st.booleans())) + draw(blanks)
        text += f"]{draw(blanks)}"
    return text + "}" + draw(blanks), said


@given(file=files(), sizes=st.lists(st.integers(1, 5), min_size=1, max_size=4))
@settings(deadline=None)
@example(file=('{"a":[1.5,{"b":-1e-7}]}', [Entry("a", 1, 1.5), Entry("a", 1, {"b": -1e-7})]), sizes=[1])
def test_any_directory_reads_back_as_it_was_written_however_it_is_cut_up(
    file: tuple[str, list[Entry]], sizes: list[int]
) -> None:
    text, said = file

    assert list(entries(Trickle(text, sizes))) == said


@pytest.mark.parametrize(
    ("text", "line", "reason"),
    [
        ("", 1, "expected '{', the file ends"),
        ("\n\n", 3, "expected '{', the file ends"),
        ("[]", 1, "expected '{', found '['"),
        ("\n x", 2, "expected '{', found 'x'"),
        ("{", 1, "expected a value, the file ends"),
        ("{\n1: []}", 2, 'expected the name of an array, such as "agents"'),
        ("{agents: []}", 1, "not JSON: Expecting value"),
        ('{"agents"\n}', 2, "expected ':', found '}'"),
        ('{"agents":\n{}}', 2, "expected '[', found '{'"),
        ('{"agents": [', 1, "expected a value, the file ends"),
        ('{"agents": [{}\n', 2, "expected ',', the file ends"),
        ('{"agents": [{}\n{}]}', 2, "expected ',', found '{'"),
        ('{"agents": [{},\n\n]}', 3, "not JSON: Expecting value"),
        ('{"agents": [{},\n{"id":\n"a" x}]}', 3, "not JSON: Expecting ',' delimiter"),
        ('{"agents": [\n"a]}', 2, "not JSON: Unterminated string starting at"),
        ('{"agents": [\n"a\tb"]}', 2, "not JSON: Invalid control character at"),
        ('{"agents": [\ntru]}', 2, "not JSON: Expecting value"),
        ('{"agents": [{},\n oops,\n\n\n{}]}\n\n', 2, "not JSON: Expecting value"),
        ('{"agents": [{},\n\n{"id": "a", "id": }\n\n\n]}\n\n', 3, "not JSON: Expecting value"),
        ('{"agents": [1x,\n\n2]}\n', 1, "expected ',', found 'x'"),
        ('{"agents": [{}, "a"b,\n\n2]}\n', 1, "expected ',', found 'b'"),
        ('{"agents": []', 1, "expected '}', the file ends"),
        ('{"agents": []\n"queues": []}', 2, "expected '}', found '\"'"),
        ('{"agents": [],\n}', 2, "not JSON: Expecting value"),
        ('{"agents": []}\n{', 2, "expected the end of the file"),
        ("{}\n\n,", 3, "expected the end of the file"),
        ('{"agents": [\n' + "[" * 100_000, 2, "nested too deeply"),
    ],
)
def test_a_broken_file_is_refused_with_the_line_and_the_reason(text: str, line: int, reason: str) -> None:
    for file in (io.StringIO(text), Trickle(text, [5, 1, 64_000])):
        error = failure(file)

        assert (error.line, error.reason) == (line, reason)
        assert str(error) == f"line {line}: {reason}"


def test_a_number_of_thousands_of_digits_is_refused_with_its_line_and_is_not_a_fault() -> None:
    assert failure(io.StringIO('{"agents": [\n' + "1" * 5_000 + "]}")).line == 2


def test_text_that_is_not_utf_8_is_refused_with_the_line_that_was_reached() -> None:
    file = io.TextIOWrapper(io.BytesIO(b'{"agents": [\n"' + b"x" * 200_000 + b"\xff"), encoding="utf-8")
    error = failure(file)

    assert error.line == 2
    assert "not UTF-8" in error.reason


def test_what_stands_before_a_mistake_is_read_all_the_same() -> None:
    found = entries(io.StringIO('{"agents": [1, 2, oops]}'))

    assert [next(found).value, next(found).value] == [1, 2]
    with pytest.raises(DirectoryFileError):
        next(found)


@pytest.mark.parametrize(
    "broken", ['{"agents": [{"id": "', '{"agents": [{"id": 1,, ', '{"agents": [[1, oops, "', '{"agents": [1']
)
def test_a_mistake_in_a_large_file_is_told_without_reading_all_of_it(broken: str) -> None:
    file = Counted(broken + "x" * 5 * MEGABYTE)

    assert failure(file).line == 1
    assert file.given < 3 * MEGABYTE


def test_elements_are_handed_out_before_the_rest_of_the_file_is_read() -> None:
    file = Counted('{"agents": [' + '{"id": "a"},' * 400_000 + "{}]}")
    found = entries(file)

    assert next(found) == Entry("agents", 1, {"id": "a"})
    assert file.given < MEGABYTE


def test_an_element_of_half_a_megabyte_is_read_whole() -> None:
    long = "x" * (MEGABYTE // 2)

    assert [entry.value for entry in entries(Counted(f'{{"agents": ["{long}", 1]}}'))] == [long, 1]
