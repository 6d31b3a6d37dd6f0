"""Bringing a directory in: every good row, a transaction for each thousand, and a line for each bad one."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

from handoff.service.directory_file import DirectoryFileError, Entry
from handoff.service.ports import Unwritable

_ROWS_PER_TRANSACTION: Final = 1_000


class RowError(Exception):
    """A row cannot be taken: {reason}."""


class DirectoryWriter(Protocol):
    """Where rows go. Synchronous."""

    def upsert(self, section: str, rows: Sequence[Mapping[str, Any]]) -> None:
        """Insert or renew, all or none. Raises Unwritable."""
        ...


@dataclass(slots=True)
class ImportReport:
    """How many rows of each section were written, and a sentence with its line for each that was not."""

    written: dict[str, int] = field(default_factory=dict)
    errors: list[str] = field(default_factory=list)


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
                report.errors.append(f"line {entry.line}: {entry.section}: {error}")
    except DirectoryFileError as error:
        report.errors.append(str(error))
    if batch:
        _write(batch, writer, report)
    return report


def _write(batch: Sequence[tuple[Entry, Mapping[str, Any]]], writer: DirectoryWriter, report: ImportReport) -> None:
    section = batch[0][0].section
    try:
        writer.upsert(section, [row for _, row in batch])
    except Unwritable as error:
        if len(batch) == 1:
            report.errors.append(f"line {batch[0][0].line}: {section}: {error}")
            return
        for one in batch:
            _write([one], writer, report)
        return
    report.written[section] = report.written.get(section, 0) + len(batch)
