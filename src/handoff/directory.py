"""The part of the composition root that brings directories in and writes them out."""

from collections.abc import Callable, Iterable, Mapping, Sequence

from handoff.api.directory_schemas import Stamp, to_line, to_row
from handoff.migrating import prepare_store
from handoff.service.directory_file import Entry
from handoff.service.exporting import SECTIONS, export_entries
from handoff.service.importing import ImportReport, import_entries
from handoff.settings import Settings
from handoff.stores import open_directory_writer, open_export
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

    writer = open_directory_writer(settings)
    try:
        return import_entries(found, stamped, writer, on_progress)
    finally:
        writer.close()


def export_directory(
    settings: Settings,
    write: Callable[[str], object],
    *,
    sections: Sequence[str] = SECTIONS,
    account_id: str | None = None,
    with_secrets: bool = False,
    on_progress: Callable[[int], None] = lambda _count: None,
) -> Mapping[str, int]:
    """Write the store's directory out in the form that `import_directory` reads. Raises StoreError."""
    prepare_store(settings)
    export = open_export(settings, with_secrets=with_secrets)
    try:
        with export.snapshot() as snapshot:
            return export_entries(
                snapshot, to_line, write, sections=sections, account_id=account_id, on_progress=on_progress
            )
    finally:
        export.close()
