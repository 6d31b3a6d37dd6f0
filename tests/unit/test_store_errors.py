"""What the errors of SQLite's driver mean. Those of PostgreSQL's are provoked in tests of the store."""

from typing import Any

import pytest

from handoff.service.ports import StoreUnavailable, Unwritable
from handoff.store.engine import open_writer
from handoff.store.errors import translated


def run(url: str, statement: str, *values: Any) -> None:
    engine = open_writer(url)
    try:
        with translated(), engine.begin() as connection:
            connection.exec_driver_sql(statement, values)
    finally:
        engine.dispose()


@pytest.mark.parametrize(
    ("statement", "value"),
    [("SELECT ?", object()), ("SELECT zeroblob(?)", 2_000_000_000)],
    ids=["of no type that it has", "longer than it takes"],
)
def test_a_value_that_sqlite_cannot_take_makes_a_row_that_cannot_be_written(
    sqlite_url: str, statement: str, value: object
) -> None:
    with pytest.raises(Unwritable):
        run(sqlite_url, statement, value)


def test_a_table_that_is_not_there_is_a_store_that_cannot_be_used(sqlite_url: str) -> None:
    with pytest.raises(StoreUnavailable):
        run(sqlite_url, "SELECT * FROM nowhere")
