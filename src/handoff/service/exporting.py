"""Writing a directory out: the file that `handoff import` reads, a line for each entry, in constant memory."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final, Protocol

# What names another thing stands behind it, so that a file can be brought in from its beginning to its end.
SECTIONS: Final = ("apps", "streams", "queues", "agents", "sessions")
_PROGRESS_ROWS: Final = 1_000


class DirectoryReader(Protocol):
    """Where rows come from, all as of one moment. Synchronous."""

    def rows(self, section: str, account_id: str | None) -> Iterator[Mapping[str, Any]]:
        """The rows of one section, of an account or of all, in the order of their keys. Raises StoreError."""
        ...


def export_entries(
    reader: DirectoryReader,
    to_line: Callable[[str, Mapping[str, Any]], str],
    write: Callable[[str], object],
    *,
    sections: Sequence[str] = SECTIONS,
    account_id: str | None = None,
    on_progress: Callable[[int], None] = lambda _count: None,
) -> Mapping[str, int]:
    """Write the directory as one JSON object of arrays; how many entries each has.

    `to_line` makes the JSON of an entry of its row. The sections come in the order in which an import needs them.
    """
    written: dict[str, int] = {}
    write("{")
    for section in (name for name in SECTIONS if name in sections):
        write(f'{"," if written else ""}\n"{section}": [')
        written[section] = 0
        for row in reader.rows(section, account_id):
            write(f"{',' if written[section] else ''}\n{to_line(section, row)}")
            written[section] += 1
            if written[section] % _PROGRESS_ROWS == 0:
                on_progress(sum(written.values()))
        write("\n]")
    write("\n}\n")
    return written
