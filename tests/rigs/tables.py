"""The store's rows, seen and changed past everything of ours."""

import json
from collections.abc import Mapping
from typing import Any

from sqlalchemy import Table, insert, select, update

from handoff.store import tables
from handoff.store.engine import open_reader


class Tables:
    """The tables of one store."""

    def __init__(self, url: str) -> None:
        self._engine = open_reader(url)

    def rows(self, table: Table, **where: Any) -> list[dict[str, Any]]:
        """The rows of a table whose columns are as given, in the order of their keys."""
        wanted = select(table).filter_by(**where).order_by(*table.primary_key)
        with self._engine.begin() as connection:
            return [dict(row) for row in connection.execute(wanted).mappings()]

    def change(self, table: Table, where: Mapping[str, Any], **values: Any) -> None:
        """Write to the one row whose columns are as `where` says."""
        with self._engine.begin() as connection:
            assert connection.execute(update(table).filter_by(**where).values(**values)).rowcount == 1

    def insert(self, table: Table, *rows: Mapping[str, Any]) -> None:
        """Add rows, all with the same columns."""
        with self._engine.begin() as connection:
            connection.execute(insert(table), [dict(row) for row in rows])

    def events(self) -> list[tuple[str, dict[str, Any]]]:
        """Kind and body of every event, in the order of the feed, whose positions are looked at on the way."""
        rows = self.rows(tables.events)
        assert [row["position"] for row in rows] == list(range(1, len(rows) + 1))
        return [(row["kind"], json.loads(row["body"])) for row in rows]

    def close(self) -> None:
        """Let go of the connections."""
        self._engine.dispose()
