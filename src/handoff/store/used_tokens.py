"""Recording the uses of tokens: the primary key lets one of them in."""

from collections.abc import Collection
from typing import Any, Final

from sqlalchemy import Engine, bindparam, delete
from sqlalchemy.dialects import postgresql, sqlite

from handoff.domain.claims import TokenUse
from handoff.store.engine import ThreadConnection
from handoff.store.tables import used_tokens

_COLUMNS: Final = tuple(column.name for column in used_tokens.columns)
_FORGET: Final = delete(used_tokens).where(*(key == bindparam(f"old_{key.name}") for key in used_tokens.primary_key))


class SqlUsedTokens:
    """See `handoff.service.used_tokens.UsedTokenStore`. Used from one thread."""

    def __init__(self, engine: Engine) -> None:
        self._connection = ThreadConnection(engine)

    def change(self, spent: Collection[TokenUse], given_back: Collection[TokenUse]) -> Collection[TokenUse]:
        """See UsedTokenStore."""
        with self._connection.transaction() as connection:
            if given_back:
                connection.execute(_FORGET, [_key(use) for use in given_back])
            if not spent:
                return ()
            # In the order of keys, so that no two processes can wait for each other.
            rows = [use._asdict() for use in sorted(spent)]
            found = connection.execute(_RECORD[connection.dialect.name], rows)
            return [TokenUse(*row) for row in found]

    def abort(self) -> None:
        """Make the transaction that is open in the other thread fail."""
        self._connection.abort()

    def close(self) -> None:
        """Let go of the connection."""
        self._connection.close()


def _record(insert: Any) -> Any:  # noqa: ANN401 (two dialects' Insert)
    return insert(used_tokens).on_conflict_do_nothing().returning(*(used_tokens.c[name] for name in _COLUMNS))


_RECORD: Final = {"sqlite": _record(sqlite.insert), "postgresql": _record(postgresql.insert)}


def _key(use: TokenUse) -> dict[str, str]:
    return {"old_account_id": use.account_id, "old_app_id": use.app_id, "old_jti_digest": use.jti_digest}
