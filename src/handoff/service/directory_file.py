"""Reading a directory file piece by piece: one JSON object of arrays, of any length, in constant memory."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, TextIO

_CHUNK: Final = 1 << 16
# Characters of one element: far more than any row needs, and a bound on what a broken file makes us read ahead.
_LONGEST_VALUE: Final = 1 << 20
_BLANK: Final = " \t\r\n"
_AFTER_VALUE: Final = frozenset(",:]}" + _BLANK)
_decoder: Final = json.JSONDecoder()


class DirectoryFileError(Exception):
    """Line {line}: {reason}."""

    def __init__(self, line: int, reason: str) -> None:
        super().__init__(f"line {line}: {reason}")
        self.line = line
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Entry:
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
            while self._place < len(self._window) and self._window[self._place] in _BLANK:
                self._advance(self._place + 1)
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
            # A number may go on in the next piece: what follows it must be there to be seen, and end it.
            is_whole = self._window[end : end + 1] in _AFTER_VALUE
            if (is_whole and end < len(self._window)) or not self._refill():
                self._advance(end)
                return value

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
