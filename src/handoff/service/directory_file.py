"""Reading a directory file piece by piece: one JSON object of arrays, of any length, in constant memory."""

import json
import re
from collections.abc import Iterator
from typing import Final, NamedTuple, TextIO

_CHUNK: Final = 1 << 16
# Characters of one element: far more than any row needs, and a bound on what a broken file makes us read ahead.
_LONGEST_VALUE: Final = 1 << 20
_skip_blanks: Final = re.compile(r"[ \t\r\n]*").match
_pass_comma: Final = re.compile(r"[ \t\r\n]*,[ \t\r\n]*(?=[^ \t\r\n])").match
_IN_NUMBER: Final = "0123456789.eE+-"
_decoder: Final = json.JSONDecoder()


class DirectoryFileError(Exception):
    """Line {line}: {reason}."""

    def __init__(self, line: int, reason: str) -> None:
        super().__init__(f"line {line}: {reason}")
        self.line = line
        self.reason = reason


class Entry(NamedTuple):
    """One element of one of the file's arrays, and the line where it begins (from 1)."""

    section: str
    line: int
    value: object


def entries(file: TextIO) -> Iterator[Entry]:
    """The elements of every array, in order. Raises DirectoryFileError with the line where reading failed."""
    text = _Text(file)
    text.expect("{")
    if not text.accept("}"):
        yield from _arrays(text)
        text.expect("}")
    if text.peek():
        raise text.error("expected the end of the file")


def _arrays(text: "_Text") -> Iterator[Entry]:
    while True:
        section = text.value()
        if not isinstance(section, str):
            raise text.error('expected the name of an array, such as "agents"')
        text.expect(":")
        text.expect("[")
        yield from _elements(text, section)
        if not text.accept(","):
            return


def _elements(text: "_Text", section: str) -> Iterator[Entry]:
    if text.accept("]"):
        return
    while True:
        text.peek()
        yield from text.whole_elements(section)
        line = text.line
        yield Entry(section, line, text.value())
        if text.accept("]"):
            return
        text.expect(",")


class _Text:
    """A window on the file that moves forward, refilled as needed."""

    def __init__(self, file: TextIO) -> None:
        self._file = file
        self._window = ""
        self._place = 0
        self._is_over = False
        self.line = 1

    def error(self, reason: str) -> DirectoryFileError:
        return DirectoryFileError(self.line, reason)

    def peek(self) -> str:
        """The next character that is not blank; empty at the end."""
        while True:
            found = _skip_blanks(self._window, self._place)
            if found and found.end() > self._place:
                self._advance(found.end())
            if self._place < len(self._window) or not self._refill():
                return self._window[self._place : self._place + 1]

    def accept(self, mark: str) -> bool:
        if self.peek() != mark:
            return False
        self._advance(self._place + 1)
        return True

    def expect(self, mark: str) -> None:
        if not self.accept(mark):
            found = self.peek()
            raise self.error(f"expected {mark!r}, found {found!r}" if found else f"expected {mark!r}, the file ends")

    def whole_elements(self, section: str) -> Iterator[Entry]:
        """The elements that lie in the window whole, each with its comma and the beginning of the next.

        The very same could be read by `value` and `accept`, at thrice the cost; here are all of them but a few.
        """
        window, place, line = self._window, self._place, self.line
        while True:
            try:
                value, end = _decoder.raw_decode(window, place)
            except (ValueError, RecursionError):
                break
            comma = _pass_comma(window, end)
            if comma is None:
                break
            yield Entry(section, line, value)
            line += window.count("\n", place, comma.end())
            place = comma.end()
        self._place, self.line = place, line

    def value(self) -> object:
        """The next JSON value, whole."""
        if not self.peek():
            raise self.error("expected a value, the file ends")
        while True:
            try:
                value, end = _decoder.raw_decode(self._window, self._place)
            except RecursionError:
                raise self.error("nested too deeply") from None
            except ValueError as error:  # also a number with too many digits, which is no JSONDecodeError
                broken_at = getattr(error, "pos", self._place) - self._place
                if len(self._window) - self._place > _LONGEST_VALUE or not self._refill():
                    self._advance(min(self._place + broken_at, len(self._window)))
                    raise self.error(f"not JSON: {getattr(error, 'msg', error)}") from None
                continue
            if not self._may_go_on(value, end) or not self._refill():
                self._advance(end)
                return value

    def _may_go_on(self, value: object, end: int) -> bool:
        """Whether this is the beginning of a number whose rest is in the next piece of the file."""
        if not isinstance(value, int | float):  # asked of every element, and true of hardly any
            return False
        return not self._window[end:].strip(_IN_NUMBER) and end - self._place < _LONGEST_VALUE

    def _refill(self) -> bool:
        if self._is_over:
            return False
        try:
            piece = self._file.read(max(_CHUNK, len(self._window) - self._place))
        except UnicodeDecodeError as error:
            raise self.error(f"not UTF-8, here or further down: {error.reason}") from None
        self._is_over = not piece
        self._window = self._window[self._place :] + piece
        self._place = 0
        return not self._is_over

    def _advance(self, place: int) -> None:
        self.line += self._window.count("\n", self._place, place)
        self._place = place
