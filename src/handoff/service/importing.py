"""Bringing a directory in: every good row, a transaction for each thousand, and a line for each bad one."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

from handoff.service.directory_file import DirectoryFileError, Entry
from handoff.service.ports import Contended, Unwritable

_ROWS_PER_TRANSACTION: Final = 1_000
# Sentences that are kept: a file of a million rows that are all wrong is told without a million sentences in memory.
MOST_ERRORS: Final = 10_000
# A transaction that others win against is begun again so often; by then something else is wrong.
_TRIES: Final = 5


class RowError(Exception):
    """A row cannot be taken: {reason}."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FreshSecret:
    """A secret that was made for an app: told this once."""

    account_id: str
    app_id: str
    secret: str = field(repr=False)


class DirectoryWriter(Protocol):
    """Where rows go. Synchronous."""

    def upsert(self, section: str, rows: Sequence[Mapping[str, Any]]) -> Sequence[FreshSecret]:
        """Insert or renew, all or none; the secrets that were made for apps. Raises Unwritable and Contended."""
        ...


@dataclass(slots=True)
class ImportReport:
    """How many rows of each section were written, and a sentence with its line for each that was not.

    `refused` counts those; `errors` has the first 10,000 of the sentences.
    """

    written: dict[str, int] = field(default_factory=dict)
    secrets: list[FreshSecret] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    refused: int = 0

    @property
    def rows(self) -> int:
        """The rows seen to so far, good and bad."""
        return sum(self.written.values()) + self.refused

    def refuse(self, sentence: str) -> None:
        """Tell of a row that cannot be taken."""
        self.refused += 1
        if len(self.errors) < MOST_ERRORS:
            self.errors.append(sentence)


Batch = Sequence[tuple[Entry, Mapping[str, Any]]]


def import_entries(
    entries: Iterable[Entry],
    to_row: Callable[[Entry], Mapping[str, Any]],
    writer: DirectoryWriter,
    on_progress: Callable[[ImportReport], None] = lambda _report: None,
) -> ImportReport:
    """Write every entry that `to_row` can turn into a row (it raises RowError otherwise).

    Where the file breaks off, what stands before that is written. Importing the same file again changes nothing, so
    an import that was broken off is simply begun again.
    """
    report = ImportReport()
    batch: list[tuple[Entry, Mapping[str, Any]]] = []
    try:
        for entry in entries:
            if batch and (batch[0][0].section != entry.section or len(batch) == _ROWS_PER_TRANSACTION):
                _write(batch, writer, report)
                on_progress(report)
                batch = []
            try:
                batch.append((entry, to_row(entry)))
            except RowError as error:
                report.refuse(f"line {entry.line}: {entry.section}: {error}")
    except DirectoryFileError as error:
        report.refuse(str(error))
    if batch:
        _write(batch, writer, report)
    return report


def _write(batch: Batch, writer: DirectoryWriter, report: ImportReport) -> None:
    """Write the batch; where it has rows that cannot be written, by halves, down to each of these alone."""
    section = batch[0][0].section
    try:
        report.secrets += _upsert(section, [row for _, row in batch], writer)
    except Unwritable as error:
        if len(batch) == 1:
            report.refuse(f"line {batch[0][0].line}: {section}: {error}")
            return
        middle = len(batch) // 2
        _write(batch[:middle], writer, report)
        _write(batch[middle:], writer, report)
        return
    report.written[section] = report.written.get(section, 0) + len(batch)


def _upsert(section: str, rows: Sequence[Mapping[str, Any]], writer: DirectoryWriter) -> Sequence[FreshSecret]:
    for _ in range(_TRIES - 1):
        try:
            return writer.upsert(section, rows)
        except Contended:
            pass
    return writer.upsert(section, rows)
