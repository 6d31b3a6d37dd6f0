"""The durable queue of callbacks, on the same rows that the transfers' transactions append."""

from collections.abc import Sequence
from typing import Any, Final

from sqlalchemy import (
    Connection,
    Engine,
    and_,
    bindparam,
    case,
    func,
    literal_column,
    select,
    text,
    update,
)

from handoff.domain.retry import MAX_CLAIMS_WITHOUT_ATTEMPT, Again, Dead, DeadReason, Delivered, Verdict
from handoff.service.ports import AttemptResult, Claim, ClaimedCallback, ClaimPlan, LaneShare, Reclaimed
from handoff.store.batch import Append, Batch, Change, Row
from handoff.store.due import DueRow, LaneScan, claim_rows
from handoff.store.engine import ThreadConnection
from handoff.store.tables import callback_attempts, callbacks

# Lapsed leases that are returned, and expired messages that are buried, in one transaction at most.
_RECLAIM_LIMIT: Final = 1_000
_BURY_LIMIT: Final = 1_000

_is_this: Final = and_(
    callbacks.c.account_id == bindparam("this_account"), callbacks.c.callback_id == bindparam("this_callback")
)

# Written out, not bound: only so can a planner know that the partial index applies.
_is_leased: Final = callbacks.c.state == literal_column("'sending'")

# A success is a fact whoever held the lease; it ends the message, and a late failure changes nothing any more. Told to
# the driver as it is: on the way of every message, what SQLAlchemy takes for a parameter costs more than SQLite does.
_SQLITE_DELIVERED: Final = """
UPDATE callbacks
SET state = 'delivered', attempts = attempts + 1, lost_leases = 0, last_status = ?, last_error = NULL,
    dead_reason = NULL, lease_token = NULL, lease_until = NULL, ended_at = ?
WHERE account_id = ? AND callback_id = ? AND state <> 'delivered'
"""
# The same in one round trip, where a statement for each message would take one each.
_POSTGRES_DELIVERED: Final = text("""
UPDATE callbacks c
SET state = 'delivered', attempts = c.attempts + 1, lost_leases = 0, last_status = k.status, last_error = NULL,
    dead_reason = NULL, lease_token = NULL, lease_until = NULL, ended_at = :now
FROM unnest(cast(:accounts AS text[]), cast(:ids AS text[]), cast(:statuses AS smallint[])) AS k(account, id, status)
WHERE c.account_id = k.account AND c.callback_id = k.id AND c.state <> 'delivered'
""")
_mark_failed: Final = (
    update(callbacks)
    .where(_is_this, callbacks.c.state == "sending", callbacks.c.lease_token == bindparam("token"))
    .values(
        state=bindparam("state_after"),
        is_retry=True,
        attempts=callbacks.c.attempts + 1,
        lost_leases=0,
        due_at=func.coalesce(bindparam("due"), callbacks.c.due_at),
        last_status=bindparam("status"),
        last_error=bindparam("error"),
        dead_reason=bindparam("reason"),
        lease_token=None,
        lease_until=None,
        ended_at=bindparam("ended"),
    )
)

_release: Final = (
    update(callbacks)
    .where(_is_this, callbacks.c.state == "sending", callbacks.c.lease_token == bindparam("token"))
    .values(state="pending", claims=callbacks.c.claims - 1, lease_token=None, lease_until=None)
)

_is_poison: Final = callbacks.c.lost_leases + 1 >= MAX_CLAIMS_WITHOUT_ATTEMPT
_lapsed: Final = (
    select(callbacks.c.account_id, callbacks.c.callback_id, _is_poison.label("is_poison"))
    .where(_is_leased, callbacks.c.lease_until <= bindparam("now"))
    .order_by(callbacks.c.lease_until)
    .limit(_RECLAIM_LIMIT)
    .with_for_update(skip_locked=True)
)
_return: Final = (
    update(callbacks)
    .where(_is_this)
    .values(
        state=case((_is_poison, "dead"), else_="pending"),
        lost_leases=callbacks.c.lost_leases + 1,
        dead_reason=case((_is_poison, DeadReason.POISON.value), else_=None),
        ended_at=case((_is_poison, bindparam("now")), else_=None),
        lease_token=None,
        lease_until=None,
    )
)


class SqlOutbox:
    """See `handoff.service.ports.Outbox`. Used from one thread, with a connection of its own."""

    def __init__(self, engine: Engine, batch: Batch) -> None:
        self._connection = ThreadConnection(engine)
        self._batch = batch
        self._lanes = LaneScan()

    def claim(self, plan: ClaimPlan, *, now_ms: int, lease_ms: int, lease_token: str) -> Claim:
        """Lease what the plan wants of the due lanes; bury what has expired among it."""
        with self._connection.transaction() as connection:
            lanes = self._lanes.scan(connection, now_ms)
            due = claim_rows(connection, plan.shares(lanes.due), now_ms) if lanes.due else ()
            live = [row for row in due if row.expires_at > now_ms]
            if live:
                leased = [_leased(row, lease_token, now_ms + lease_ms) for row in live]
                self._batch.write(connection, [Change(callbacks, leased)])
            expired = self._bury(connection, due, now_ms) if len(live) < len(due) else 0
        return Claim(
            callbacks=[_claimed(row, lease_token) for row in live], next_due_at=lanes.next_due_at, expired=expired
        )

    def _bury(self, connection: Connection, due: Sequence[DueRow], now_ms: int) -> int:
        """Bury what has expired at the head of these messages' lanes: behind one there are often many. How many."""
        kinds = {(row.lane, bool(row.is_retry)) for row in due if row.expires_at <= now_ms}
        most = max(1, _BURY_LIMIT // len(kinds))
        heads = {
            lane: LaneShare(
                fresh=most if (lane, False) in kinds else 0,
                retries=most if (lane, True) in kinds else 0,
            )
            for lane, _ in kinds
        }
        expired = [row for row in claim_rows(connection, heads, now_ms) if row.expires_at <= now_ms]
        self._batch.write(connection, [Change(callbacks, [_expired(row, now_ms) for row in expired])])
        return len(expired)

    def record(self, results: Sequence[AttemptResult], *, now_ms: int) -> None:
        """Write the attempts and what follows from them."""
        delivered = [result for result in results if isinstance(result.verdict, Delivered)]
        failed = [result for result in results if not isinstance(result.verdict, Delivered)]
        with self._connection.transaction() as connection:
            attempts = [_attempt_row(result) for result in results]
            self._batch.write(connection, [Append(callback_attempts, attempts, once=True)])
            if delivered:
                _deliver(connection, delivered, now_ms)
            if failed:
                connection.execute(_mark_failed, [_failed_row(result, now_ms) for result in failed])

    def release(self, claimed: Sequence[ClaimedCallback]) -> None:
        """Give messages back under the lease they were claimed with."""
        with self._connection.transaction() as connection:
            connection.execute(_release, [_key_of(one) | {"token": one.lease_token} for one in claimed])

    def reclaim(self, *, now_ms: int) -> Reclaimed:
        """Return messages whose lease ran out to pending, and bury those that only ever lose their lease."""
        with self._connection.transaction() as connection:
            lapsed = connection.execute(_lapsed, {"now": now_ms}).mappings().all()
            if lapsed:
                connection.execute(
                    _return, [_this(row["account_id"], row["callback_id"]) | {"now": now_ms} for row in lapsed]
                )
        return Reclaimed(len(lapsed), sum(row["is_poison"] for row in lapsed))

    def close(self) -> None:
        """Let go of the connection."""
        self._connection.close()


def _this(account_id: str, callback_id: str) -> dict[str, Any]:
    return {"this_account": account_id, "this_callback": callback_id}


def _leased(row: DueRow, token: str, until: int) -> Row:
    return {
        "account_id": row.account_id,
        "callback_id": row.callback_id,
        "state": "sending",
        "claims": row.claims + 1,
        "lease_token": token,
        "lease_until": until,
    }


def _expired(row: DueRow, now_ms: int) -> Row:
    return {
        "account_id": row.account_id,
        "callback_id": row.callback_id,
        "state": "dead",
        "dead_reason": DeadReason.EXPIRED.value,
        "ended_at": now_ms,
    }


def _claimed(row: DueRow, lease_token: str) -> ClaimedCallback:
    return ClaimedCallback(
        account_id=row.account_id,
        callback_id=row.callback_id,
        transfer_id=row.transfer_id,
        app_id=row.app_id,
        url=row.url,
        lane=row.lane,
        body=row.body.encode(),
        number=row.attempts + 1,
        is_retry=bool(row.is_retry),
        claim=row.claims + 1,
        expires_at=row.expires_at,
        lease_token=lease_token,
    )


def _attempt_row(result: AttemptResult) -> Row:
    attempt = result.attempt
    return {
        "account_id": result.claimed.account_id,
        "callback_id": result.claimed.callback_id,
        "claim": result.claimed.claim,
        "started_at": attempt.started_at,
        "duration_ms": attempt.duration_ms,
        "status": attempt.status,
        "error": attempt.error.value if attempt.error else None,
        "detail": attempt.detail,
        "remote_address": attempt.remote_address,
        "excerpt": attempt.excerpt,
    }


def _key_of(claimed: ClaimedCallback) -> dict[str, Any]:
    return _this(claimed.account_id, claimed.callback_id)


def _deliver(connection: Connection, delivered: Sequence[AttemptResult], now_ms: int) -> None:
    if connection.dialect.name == "postgresql":
        columns: dict[str, Any] = {
            "accounts": [result.claimed.account_id for result in delivered],
            "ids": [result.claimed.callback_id for result in delivered],
            "statuses": [result.attempt.status for result in delivered],
        }
        connection.execute(_POSTGRES_DELIVERED, columns | {"now": now_ms})
        return
    rows = [
        (result.attempt.status, now_ms, result.claimed.account_id, result.claimed.callback_id) for result in delivered
    ]
    connection.exec_driver_sql(_SQLITE_DELIVERED, rows)


def _failed_row(result: AttemptResult, now_ms: int) -> Row:
    return _key_of(result.claimed) | {
        "token": result.claimed.lease_token,
        "status": result.attempt.status,
        "error": result.attempt.error.value if result.attempt.error else None,
        **_after_failure(result.verdict, now_ms),
    }


def _after_failure(verdict: Verdict, now_ms: int) -> dict[str, Any]:
    match verdict:
        case Again(due_at=due_at):
            return {"state_after": "pending", "due": due_at, "reason": None, "ended": None}
        case Dead(reason=reason):
            return {"state_after": "dead", "due": None, "reason": reason.value, "ended": now_ms}
        case Delivered():
            raise AssertionError("a delivered message is not a failed one")
