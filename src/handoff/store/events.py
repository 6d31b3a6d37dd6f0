"""Reading the feed of events.

Positions are given out in the order of commits and without gaps (`handoff.store.feed`), so whoever reads a head may
read all that is at or before it; and the rows of a page are a range of the primary key, of bounded length.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Final

from sqlalchemy import BindParameter, Connection, Engine, RowMapping, Select, bindparam, func, or_, select

from handoff.service.feed import After, EventPage, EventsGone, StoredEvent, UnknownPosition, View
from handoff.store.batch import Batch
from handoff.store.errors import translated
from handoff.store.tables import event_heads, events

# Rows looked at for one page, wanted or not.
_MOST_SCANNED: Final = 10_000

_ACCOUNT: Final[BindParameter[str]] = bindparam("account")
_HEAD: Final = select(event_heads.c.position).where(event_heads.c.account_id == _ACCOUNT)
_OLDEST: Final = select(func.min(events.c.position)).where(events.c.account_id == _ACCOUNT)
_BETWEEN: Final = (
    select(events)
    .where(
        events.c.account_id == _ACCOUNT, events.c.position > bindparam("after"), events.c.position <= bindparam("upto")
    )
    .order_by(events.c.position)
)


class SqlFeed:
    """See `handoff.service.feed.FeedStore`."""

    def __init__(self, reader: Engine, batch: Batch, *, most_scanned: int = _MOST_SCANNED) -> None:
        self._reader = reader
        self._batch = batch
        self._most_scanned = most_scanned

    def locate(self, account_id: str, after: After) -> int:
        """The position that this names. Raises EventsGone and UnknownPosition."""
        with self._one_moment() as connection:
            return _located(connection, account_id, after)[0]

    def page(self, view: View, *, after: After, limit: int) -> EventPage:
        """The events behind that, of one moment. Raises EventsGone and UnknownPosition."""
        with self._one_moment() as connection:
            position, head = _located(connection, view.account_id, after)
            upto = min(head, position + self._most_scanned)
            params = {"account": view.account_id, "after": position, "upto": upto}
            rows = connection.execute(_seen_by(view).limit(limit), params).mappings().all()
        found = [_stored(row) for row in rows]
        return EventPage(events=found, next=found[-1].position if len(found) == limit else upto)

    def heads(self, account_ids: Collection[str]) -> Mapping[str, int]:
        """The last positions of those accounts that have any."""
        keys = [(account_id,) for account_id in account_ids]
        with translated(), self._reader.connect() as connection:
            rows = self._batch.read(connection, (event_heads.c.account_id, event_heads.c.position), keys, lock=False)
        return {row[0]: row[1] for row in rows}

    def between(self, account_id: str, after: int, upto: int) -> Sequence[StoredEvent]:
        """Every event behind the one position, up to the other, that is still kept."""
        params = {"account": account_id, "after": after, "upto": upto}
        with translated(), self._reader.connect() as connection:
            return [_stored(row) for row in connection.execute(_BETWEEN, params).mappings()]

    def close(self) -> None:
        """Let go of the connections."""
        self._reader.dispose()

    @contextmanager
    def _one_moment(self) -> Iterator[Connection]:
        """A transaction whose statements all see the same rows, so that a purge cannot come between them."""
        with translated(), self._reader.connect() as connection:
            if connection.dialect.name == "postgresql":
                connection.execution_options(isolation_level="REPEATABLE READ")
            with connection.begin():
                yield connection


def _located(connection: Connection, account_id: str, after: After) -> tuple[int, int]:
    """The position that is named, and the last one there is."""
    params = {"account": account_id}
    head = connection.scalar(_HEAD, params) or 0
    if after == "latest":
        return head, head
    # Where every event is purged, the next one will be the oldest.
    oldest = connection.scalar(_OLDEST, params) or head + 1
    if after == "oldest":
        return oldest - 1, head
    if after > head:
        raise UnknownPosition(after)
    if after < oldest - 1:
        raise EventsGone(after, oldest)
    return after, head


def _seen_by(view: View) -> Select[Any]:
    """The same as `View.shows`, for the database."""
    c = events.c
    seen = _BETWEEN.where(or_(c.stream_id == view.stream_id, c.stream_id.is_(None) & (c.org_id == view.org_id)))
    if view.agent_id is not None:
        seen = seen.where(or_(c.agent_id == view.agent_id, c.previous_agent_id == view.agent_id))
    return seen


def _stored(row: RowMapping) -> StoredEvent:
    values = {name: row[name] for name in StoredEvent.__slots__}
    return StoredEvent(**values | {"body": row["body"].encode()})
