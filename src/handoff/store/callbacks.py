"""Callbacks looked up, set going again and cancelled."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from sqlalchemy import (
    Engine,
    Select,
    Subquery,
    bindparam,
    or_,
    select,
    text,
    update,
)
from sqlalchemy.engine import RowMapping

from handoff.domain import ids
from handoff.service.callbacks import (
    CallbackFilter,
    CallbackPage,
    CallbackState,
    StoredAttempt,
    StoredCallback,
)
from handoff.service.scope import Scope
from handoff.store.accounts import accounts_of
from handoff.store.errors import translated
from handoff.store.pages import MOST_SCANNED
from handoff.store.tables import callback_attempts, callbacks, transfers

# An id of ours is less than this, and none is less than the empty one.
_BEHIND_ALL: Final = "n"
# A digest is hexadecimal, and less than this.
_BEHIND_DIGESTS: Final = "g"

# The account's rows in a range of ids, the newest first. The state is written out, not bound: only so can a planner
# know that a partial index applies. SQLite, which keeps no statistics here, is told which one.
_CANDIDATES: Final = """
SELECT * FROM callbacks {index}
WHERE account_id = :account AND callback_id >= :since AND callback_id < :before {state}
ORDER BY callback_id DESC LIMIT :most_scanned
"""
_INDEX_OF_STATE: Final = {
    CallbackState.PENDING: "INDEXED BY callbacks_due",
    CallbackState.SENDING: "INDEXED BY callbacks_leased",
    CallbackState.DEAD: "INDEXED BY callbacks_dead",
}

_ACCOUNTS: Final = accounts_of(callbacks)

_is_this: Final = (callbacks.c.account_id == bindparam("account")) & (callbacks.c.callback_id == bindparam("callback"))
_renew: Final = (
    update(callbacks)
    .where(
        _is_this,
        callbacks.c.state != "sending",
        or_(bindparam("any_state"), callbacks.c.state == bindparam("from_state")),
    )
    .values(
        state="pending",
        is_retry=True,  # news goes before what is sent anew
        due_at=bindparam("due"),
        expires_at=bindparam("expires"),
        attempts=0,
        lost_leases=0,
        dead_reason=None,
        ended_at=None,
    )
)
_cancel: Final = (
    update(callbacks)
    .where(_is_this, callbacks.c.state == "pending")
    .values(state="cancelled", ended_at=bindparam("now"))
)
_attempts: Final = (
    select(callback_attempts)
    .where(
        callback_attempts.c.account_id == bindparam("account"), callback_attempts.c.callback_id == bindparam("callback")
    )
    .order_by(callback_attempts.c.claim)
)


class SqlCallbacks:
    """See `handoff.service.callbacks.CallbackStore`. A search looks at `most_scanned` rows for a page."""

    def __init__(self, reader: Engine, writer: Engine, *, most_scanned: int = MOST_SCANNED) -> None:
        self._reader = reader
        self._writer = writer
        self._most_scanned = most_scanned

    def accounts(self) -> Sequence[str]:
        """Every account that has callbacks."""
        with translated(), self._reader.connect() as connection:
            return list(connection.execute(_ACCOUNTS).scalars())

    def find(self, scope: Scope, wanted: CallbackFilter, *, before: str | None, limit: int) -> CallbackPage:
        """A page of callbacks, the newest first; a search goes no further than a bounded number of rows."""
        params = {
            "account": scope.account_id,
            "since": "" if wanted.since is None else ids.callback_id_at(wanted.since),
            "before": before or _BEHIND_ALL,
            "most_scanned": self._most_scanned,
        }
        with translated(), self._reader.connect() as connection:
            scanned = _candidates(wanted, connection.dialect.name)
            rows = connection.execute(_narrowed(scanned, scope, wanted).limit(limit + 1), params).mappings().all()
            found = [_stored(row) for row in rows[:limit]]
            if len(rows) > limit:
                return CallbackPage(callbacks=found, next_before=found[-1].callback_id)
            # Where the search looked at all that it may, it goes on behind the last one seen.
            last = select(scanned.c.callback_id).order_by(scanned.c.callback_id.desc()).offset(self._most_scanned - 1)
            next_before = connection.scalar(last, params)
        return CallbackPage(callbacks=found, next_before=next_before)

    def get(self, scope: Scope, callback_id: str) -> StoredCallback | None:
        """The callback, if it is there and in scope."""
        one = select(callbacks).where(_is_this).subquery("c")
        params = {"account": scope.account_id, "callback": callback_id}
        with translated(), self._reader.connect() as connection:
            row = connection.execute(_narrowed(one, scope, CallbackFilter()), params).mappings().first()
        return None if row is None else _stored(row)

    def of_transfer(self, scope: Scope, transfer_id: str, *, limit: int) -> Sequence[StoredCallback]:
        """The transfer's callback and its copies, which are told apart by what follows the callback's id."""
        first = ids.callback_id(transfer_id)
        c = callbacks.c
        those = select(callbacks).where(
            c.account_id == scope.account_id,
            c.callback_id >= first,
            c.callback_id < f"{first}_{_BEHIND_DIGESTS}",
            c.transfer_id == transfer_id,
        )
        found = _narrowed(those.subquery("c"), scope, CallbackFilter(), is_newest_first=False)
        with translated(), self._reader.connect() as connection:
            return [_stored(row) for row in connection.execute(found.limit(limit)).mappings()]

    def attempts(self, account_id: str, callback_id: str) -> Sequence[StoredAttempt]:
        """The attempts made, the first one first."""
        with translated(), self._reader.connect() as connection:
            rows = connection.execute(_attempts, {"account": account_id, "callback": callback_id}).mappings()
            return [StoredAttempt(**{name: row[name] for name in StoredAttempt.__slots__}) for row in rows]

    def renew(self, account_id: str, due: Mapping[str, int], *, state: CallbackState | None, lifetime_ms: int) -> int:
        """Make the callbacks pending, each due at its time and with a fresh budget; how many."""
        same = {"account": account_id, "any_state": state is None, "from_state": state.value if state else ""}
        rows = [same | {"callback": one, "due": at, "expires": at + lifetime_ms} for one, at in sorted(due.items())]
        with translated(), self._writer.begin() as connection:
            return sum(connection.execute(_renew, row).rowcount for row in rows)

    def cancel(self, account_id: str, callback_id: str, *, now_ms: int) -> bool:
        """Cancel the callback if it is pending; whether it was."""
        params = {"account": account_id, "callback": callback_id, "now": now_ms}
        with translated(), self._writer.begin() as connection:
            return connection.execute(_cancel, params).rowcount > 0

    def close(self) -> None:
        """Let go of the connections."""
        self._reader.dispose()
        self._writer.dispose()


def _candidates(wanted: CallbackFilter, dialect_name: str) -> Subquery:
    index = _INDEX_OF_STATE.get(wanted.state, "") if wanted.state and dialect_name == "sqlite" else ""
    state = f"AND state = '{wanted.state.value}'" if wanted.state else ""
    return text(_CANDIDATES.format(index=index, state=state)).columns(*callbacks.c).subquery("c")


def _narrowed(c: Subquery, scope: Scope, wanted: CallbackFilter, *, is_newest_first: bool = True) -> Select[Any]:
    """Those of the candidates that are wanted, with what their transfers say."""
    t = transfers
    found = (
        select(c, t.c.session_id, t.c.stream_id, t.c.completed_at)
        .join_from(c, t, (t.c.account_id == c.c.account_id) & (t.c.transfer_id == c.c.transfer_id))
        .order_by(c.c.callback_id.desc() if is_newest_first else c.c.callback_id)
    )
    if scope.stream_id is not None:
        found = found.where(t.c.stream_id == scope.stream_id)
    if wanted.host is not None:
        found = found.where(
            or_(*(match for scheme in ("http", "https") for match in _lane_is(c.c.lane, f"{scheme}://{wanted.host}")))
        )
    return found


def _lane_is(lane: Any, origin: str) -> tuple[Any, Any]:  # noqa: ANN401 (a column of a subquery)
    return lane == origin.lower(), lane.startswith(f"{origin.lower()}:", autoescape=True)


def _stored(row: RowMapping) -> StoredCallback:
    values = {name: row[name] for name in StoredCallback.__slots__}
    return StoredCallback(**values | {"state": CallbackState(row["state"]), "body": row["body"].encode()})
