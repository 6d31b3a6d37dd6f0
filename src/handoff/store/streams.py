"""Streams for operators: listed, written and deleted."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any, Final

from sqlalchemy import Engine, bindparam, delete, func, select
from sqlalchemy.dialects import postgresql, sqlite

from handoff.domain.model import Stream
from handoff.store.accounts import accounts_in
from handoff.store.errors import translated
from handoff.store.tables import sessions, streams

_of_account: Final = streams.c.account_id == bindparam("account")
_is_this: Final = _of_account & (streams.c.stream_id == bindparam("stream"))
_page: Final = select(streams).where(_of_account).order_by(streams.c.stream_id).limit(bindparam("rows"))
_delete: Final = delete(streams).where(_is_this)
_known: Final = select(func.count()).select_from(streams).where(_is_this)
# There is no index for this question: it is asked when an operator deletes a stream, and reads the account's sessions.
_open_sessions: Final = (
    select(func.count())
    .select_from(sessions)
    .where(
        sessions.c.account_id == bindparam("account"),
        sessions.c.stream_id == bindparam("stream"),
        sessions.c.state != "closed",
    )
)


class SqlStreams:
    """See `handoff.service.apps.StreamStore`. Each call is a transaction of its own."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def find(self, account_id: str | None, *, limit: int) -> Sequence[Stream]:
        """The streams of an account, or of all, in the order of their keys."""
        found: list[Stream] = []
        with translated(), self._engine.begin() as connection:
            for account in accounts_in(connection, streams, account_id):
                params = {"account": account, "rows": limit - len(found)}
                found += [Stream(**row) for row in connection.execute(_page, params).mappings()]
                if len(found) == limit:
                    break
        return found

    def put(self, stream: Stream) -> bool:
        """Write the stream, over what there is of it; whether it is new."""
        key = {"account": stream.account_id, "stream": stream.stream_id}
        with translated(), self._engine.begin() as connection:
            is_new = connection.scalar(_known, key) == 0
            connection.execute(_PUT[connection.dialect.name], asdict(stream))
        return is_new

    def delete(self, account_id: str, stream_id: str) -> int | None:
        """Delete the stream unless sessions of it are not closed; how many are. None where there is no stream.

        One that is opened in the seconds in which a server still trusts its memory of the stream is not seen.
        """
        key = {"account": account_id, "stream": stream_id}
        with translated(), self._engine.begin() as connection:
            if connection.scalar(_known, key) == 0:
                return None
            count: int = connection.scalar(_open_sessions, key) or 0
            if count == 0:
                connection.execute(_delete, key)
        return count

    def close(self) -> None:
        """Let go of the connection."""
        self._engine.dispose()


def _put(insert: Any) -> Any:  # noqa: ANN401 (two dialects' Insert)
    statement = insert(streams)
    renewed = {"org_id": statement.excluded.org_id, "name": statement.excluded.name}
    return statement.on_conflict_do_update(index_elements=list(streams.primary_key), set_=renewed)


_PUT: Final = {"sqlite": _put(sqlite.insert), "postgresql": _put(postgresql.insert)}
