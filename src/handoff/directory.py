"""The part of the composition root that brings directories in."""

from collections.abc import Callable, Iterable, Mapping, Sequence

from handoff.api.directory_schemas import Stamp, to_row
from handoff.migrating import prepare_store
from handoff.service.directory_file import Entry
from handoff.service.importing import ImportReport, import_entries
from handoff.settings import Settings
from handoff.store.directory import SqlDirectoryWriter
from handoff.stores import open_store
from handoff.system import SystemClock, SystemIds


def load_directory(settings: Settings, directory: Mapping[str, Sequence[Mapping[str, object]]]) -> None:
    """Bring a directory, of the shape of `handoff import`'s file, into the store that the settings name.

    For tests and small set-ups. Raises ValueError with a sentence for each row that cannot be taken.
    """
    found = (Entry(section, line=0, value=row) for section, rows in directory.items() for row in rows)
    report = import_directory(settings, found)
    if report.errors:
        raise ValueError("\n".join(sentence.removeprefix("line 0: ") for sentence in report.errors))


def import_directory(
    settings: Settings, found: Iterable[Entry], on_progress: Callable[[ImportReport], None] = lambda _report: None
) -> ImportReport:
    """Bring the entries of a directory file into the store. Raises StoreError and DirectoryFileError."""
    prepare_store(settings)
    clock = SystemClock()
    fresh = SystemIds()

    def stamped(entry: Entry) -> Mapping[str, object]:
        return to_row(entry, Stamp(fresh.fresh(), clock.now_ms()))

    writer = SqlDirectoryWriter(open_store(settings))
    try:
        return import_entries(found, stamped, writer, on_progress)
    finally:
        writer.close()
