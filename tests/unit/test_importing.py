from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, select

from handoff.service.directory_file import DirectoryFileError, Entry
from handoff.service.importing import FreshSecret, ImportReport, RowError, import_entries
from handoff.service.ports import Contended, Unwritable
from handoff.store import tables
from handoff.store.bringing import SqlDirectoryWriter
from handoff.store.engine import open_writer
from handoff.store.sealing import Seals
from handoff.store.upgrade import migrate

Row = Mapping[str, Any]


class RecordingWriter:
    """Keeps the rows of each transaction, and refuses all of one that has a row with a number of `bad`."""

    def __init__(self, bad: Iterable[int] = ()) -> None:
        self._bad = set(bad)
        self.transactions: list[tuple[str, list[int]]] = []

    def upsert(self, section: str, rows: Sequence[Row]) -> Sequence[FreshSecret]:
        numbers = [row["number"] for row in rows]
        if self._bad.intersection(numbers):
            raise Unwritable("the store says no")
        self.transactions.append((section, numbers))
        return ()

    @property
    def written(self) -> list[int]:
        return [number for _, numbers in self.transactions for number in numbers]


def numbered(count: int, section: str = "agents", first: int = 1) -> list[Entry]:
    """Elements whose values are their line numbers."""
    return [Entry(section, number, number) for number in range(first, first + count)]


def to_row(entry: Entry) -> Row:
    if not isinstance(entry.value, int):
        raise RowError("id: this is no number")
    return {"number": entry.value}


def brought(entries: Iterable[Entry], writer: RecordingWriter) -> ImportReport:
    return import_entries(entries, to_row, writer)


def test_nothing_brings_in_nothing() -> None:
    writer = RecordingWriter()
    report = brought([], writer)

    assert (report.written, report.errors) == ({}, [])
    assert writer.transactions == []


@pytest.mark.parametrize(
    ("count", "sizes"),
    [(1, [1]), (999, [999]), (1_000, [1_000]), (1_001, [1_000, 1]), (2_500, [1_000, 1_000, 500])],
)
def test_a_thousand_rows_make_a_transaction(count: int, sizes: list[int]) -> None:
    writer = RecordingWriter()
    report = brought(numbered(count), writer)

    assert [len(rows) for _, rows in writer.transactions] == sizes
    assert writer.written == list(range(1, count + 1))
    assert report.written == {"agents": count}


def test_each_section_has_transactions_of_its_own_in_the_files_order() -> None:
    writer = RecordingWriter()
    report = brought([*numbered(2), *numbered(1, "queues", 3), *numbered(1, first=4)], writer)

    assert writer.transactions == [("agents", [1, 2]), ("queues", [3]), ("agents", [4])]
    assert report.written == {"agents": 3, "queues": 1}


def test_a_row_that_cannot_be_made_is_named_with_its_line_and_the_others_are_written() -> None:
    writer = RecordingWriter()
    entries = [Entry("apps", 1, "x"), *numbered(2, first=2), Entry("agents", 4, None), *numbered(1, first=5)]
    report = brought(entries, writer)

    assert report.errors == ["line 1: apps: id: this is no number", "line 4: agents: id: this is no number"]
    assert writer.transactions == [("agents", [2, 3, 5])]
    assert report.written == {"agents": 3}


def test_bad_rows_do_not_count_towards_a_transaction() -> None:
    writer = RecordingWriter()
    brought([*numbered(999), Entry("agents", 1_000, "x"), *numbered(2, first=1_001)], writer)

    assert [len(rows) for _, rows in writer.transactions] == [1_000, 1]


@pytest.mark.parametrize("bad", [[1], [3], [5], [2, 3], [1, 2, 3, 4, 5]])
def test_a_row_that_the_store_refuses_is_named_with_its_line_and_its_neighbours_are_written(bad: list[int]) -> None:
    writer = RecordingWriter(bad)
    report = brought(numbered(5), writer)
    good = [number for number in range(1, 6) if number not in bad]

    assert report.errors == [f"line {number}: agents: the store says no" for number in bad]
    assert writer.written == good
    assert report.written == ({"agents": len(good)} if good else {})


def test_a_refused_row_does_not_spoil_the_next_transaction() -> None:
    writer = RecordingWriter([1])
    report = brought(numbered(1_002), writer)

    assert writer.written == list(range(2, 1_003))
    assert writer.transactions[-1] == ("agents", [1_001, 1_002])
    assert report.written == {"agents": 1_001}


class ContendedWriter(RecordingWriter):
    """Loses to other transactions so often, then writes."""

    def __init__(self, losses: int) -> None:
        super().__init__()
        self.losses = losses

    def upsert(self, section: str, rows: Sequence[Row]) -> Sequence[FreshSecret]:
        if self.losses:
            self.losses -= 1
            raise Contended
        return super().upsert(section, rows)


def test_a_transaction_that_others_win_against_is_begun_again() -> None:
    writer = ContendedWriter(4)
    report = brought(numbered(2), writer)

    assert writer.transactions == [("agents", [1, 2])]
    assert (report.written, report.errors) == ({"agents": 2}, [])


def test_one_that_never_wins_ends_the_import() -> None:
    with pytest.raises(Contended):
        brought(numbered(2), ContendedWriter(5))


def test_progress_is_told_whenever_a_transaction_makes_room_for_the_next() -> None:
    seen: list[dict[str, int]] = []
    import_entries(numbered(2_001), to_row, RecordingWriter(), lambda report: seen.append(dict(report.written)))

    assert seen == [{"agents": 1_000}, {"agents": 2_000}]


def test_where_the_file_breaks_off_what_stands_before_is_written_and_the_line_is_named() -> None:
    def entries() -> Iterator[Entry]:
        yield from numbered(2)
        raise DirectoryFileError(3, "the file ends")

    writer = RecordingWriter()
    report = brought(entries(), writer)

    assert writer.written == [1, 2]
    assert (report.written, report.errors) == ({"agents": 2}, ["line 3: the file ends"])


def test_rows_are_written_while_the_file_is_still_being_read() -> None:
    writer = RecordingWriter()

    def entries() -> Iterator[Entry]:
        yield from numbered(1_001)
        assert len(writer.written) == 1_000
        yield from numbered(1, first=1_002)

    assert brought(entries(), writer).written == {"agents": 1_002}


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    made = open_writer(f"sqlite:///{tmp_path}/handoff.db")
    migrate(made)
    yield made
    made.dispose()


def agent_row(entry: Entry) -> Row:
    return {
        "account_id": "acc",
        "agent_id": f"a-{entry.line}",
        "org_id": "o-1",
        "user_id": f"u-{entry.line}",
        "custom_id": None,
        **dict.fromkeys(("first_name", "last_name", "email_id"), ""),
        "status": "AVAILABLE",
        "status_expires_at": None,
        "max_sessions": entry.value,
        "profile": None,
        "at": 1,
        "queues": None,
        "skills": None,
    }


def test_a_real_store_keeps_the_good_rows_of_a_transaction_and_refuses_the_bad_one(engine: Engine) -> None:
    entries = [Entry("agents", line, slots) for line, slots in enumerate([5, -1, 0, 7], start=1)]
    report = import_entries(entries, agent_row, SqlDirectoryWriter(engine, Seals(), str))
    with engine.connect() as connection:
        stored = connection.execute(select(tables.agents.c.agent_id, tables.agents.c.max_sessions)).all()

    assert [tuple(row) for row in stored] == [("a-1", 5), ("a-3", 0), ("a-4", 7)]
    assert report.written == {"agents": 3}
    assert len(report.errors) == 1
    assert report.errors[0].startswith("line 2: agents: ")
