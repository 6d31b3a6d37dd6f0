"""Callbacks and events are deleted when their time is over, and not before, on both databases."""

from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import pytest
from sqlalchemy import func, select, update

from fakes import FakeClock
from handoff import Settings
from handoff.domain.ids import callback_id_at
from handoff.service.callbacks import CallbackState
from handoff.service.ports import Changes, TransferStore
from handoff.service.retention import Purged, Retention
from handoff.store.engine import open_writer
from handoff.store.retention import SqlRetention
from handoff.store.tables import callback_attempts, callbacks, events
from handoff.stores import open_audit
from rigs import facts, feed, sample

DAY_MS = 86_400_000
NOW = 1_700_000_000_000


@pytest.fixture
def retention(stored: Settings) -> Iterator[Retention]:
    store = SqlRetention(open_writer(stored.database_url))
    yield Retention(
        store=store, clock=FakeClock(NOW), delivered_ms=7 * DAY_MS, dead_ms=30 * DAY_MS, events_ms=7 * DAY_MS
    )
    store.close()


def write(
    transfers: TransferStore,
    stored: Settings,
    state: CallbackState,
    *,
    age_days: float,
    count: int = 1,
    account_id: str = sample.ACCOUNT,
) -> None:
    """Callbacks that were recorded, and ended if they did, so long ago, with an attempt each."""
    at = NOW - int(age_days * DAY_MS)
    ids = [f"{callback_id_at(at)}-7000-8000-{number:012x}" for number in range(count)]
    changes: dict[str, Any] = {"account_id": account_id}
    with transfers.begin() as transaction:
        transaction.write(Changes(callbacks=[facts.callback(0, callback_id=one, **changes) for one in ids]))
    is_over = state not in {CallbackState.PENDING, CallbackState.SENDING}
    engine = open_writer(stored.database_url)
    with engine.begin() as connection:
        connection.execute(
            update(callbacks)
            .where(callbacks.c.callback_id.in_(ids), callbacks.c.account_id == account_id)
            .values(state=state.value, ended_at=at if is_over else None)
        )
        connection.execute(
            callback_attempts.insert(),
            [{**changes, "callback_id": one, "claim": 1, "started_at": at, "duration_ms": 1} for one in ids],
        )
    engine.dispose()


def left(stored: Settings) -> tuple[int, int]:
    """How many callbacks and attempts there are."""
    engine = open_writer(stored.database_url)
    with engine.begin() as connection:
        counts = [
            connection.scalar(select(func.count()).select_from(table)) or 0 for table in (callbacks, callback_attempts)
        ]
    engine.dispose()
    return counts[0], counts[1]


def kept_events(stored: Settings) -> dict[str, list[int]]:
    """The positions that are left, by account."""
    engine = open_writer(stored.database_url)
    found: dict[str, list[int]] = {}
    with engine.begin() as connection:
        for account_id, position in connection.execute(
            select(events.c.account_id, events.c.position).order_by(events.c.account_id, events.c.position)
        ):
            found.setdefault(account_id, []).append(position)
    engine.dispose()
    return found


@pytest.mark.parametrize(
    ("state", "age_days", "is_purged"),
    [
        (CallbackState.DELIVERED, 7.01, True),
        (CallbackState.DELIVERED, 6.99, False),
        (CallbackState.DEAD, 30.01, True),
        (CallbackState.DEAD, 29.99, False),
        (CallbackState.CANCELLED, 30.01, True),
        (CallbackState.CANCELLED, 29.99, False),
        (CallbackState.PENDING, 400, False),
        (CallbackState.SENDING, 400, False),
    ],
)
def test_what_is_over_goes_with_its_attempts_and_what_is_not_stays(
    transfers: TransferStore,
    stored: Settings,
    retention: Retention,
    state: CallbackState,
    age_days: float,
    is_purged: bool,  # noqa: FBT001 (a case)
) -> None:
    write(transfers, stored, state, age_days=age_days)

    purged = retention.purge()

    assert purged == Purged(callbacks=int(is_purged))
    assert left(stored) == ((0, 0) if is_purged else (1, 1))


def test_many_steps_reach_every_account_and_leave_what_stands_between(
    transfers: TransferStore, stored: Settings, retention: Retention
) -> None:
    for account in ("acc-1", "acc-2", "acc-3"):
        write(transfers, stored, CallbackState.DELIVERED, age_days=20, count=1_200, account_id=account)
        write(transfers, stored, CallbackState.DEAD, age_days=19, count=3, account_id=account)
        write(transfers, stored, CallbackState.DELIVERED, age_days=1, count=2, account_id=account)
    steps: list[int] = []

    purged = retention.purge(lambda so_far: steps.append(so_far.callbacks))
    again = retention.purge()

    assert (purged, again) == (Purged(callbacks=3_600), Purged())
    assert left(stored) == (15, 15)
    assert len(steps) > 6
    assert steps == sorted(steps)


def test_one_that_was_sent_anew_counts_from_its_new_end(
    transfers: TransferStore, stored: Settings, retention: Retention
) -> None:
    write(transfers, stored, CallbackState.DELIVERED, age_days=20)
    engine = open_writer(stored.database_url)
    with engine.begin() as connection:
        connection.execute(update(callbacks).values(ended_at=NOW - DAY_MS))
    engine.dispose()

    assert retention.purge() == Purged()


def test_events_go_from_the_oldest_on_up_to_the_first_that_is_not_over(stored: Settings, retention: Retention) -> None:
    old, new = NOW - 7 * DAY_MS - 1, NOW - 7 * DAY_MS
    with feed.writer(stored.database_url) as writer:
        writer.write(*(feed.event(at=at) for at in (old, old, old, new, old, new)))
        writer.write(*(feed.event(at=at, account_id="acc-2") for at in (new, old)))
        writer.write(*(feed.event(at=at, account_id="acc-3") for at in (old, old)))

    purged, again = retention.purge(), retention.purge()

    assert (purged, again) == (Purged(events=5), Purged())
    assert kept_events(stored) == {sample.ACCOUNT: [4, 5, 6], "acc-2": [1, 2]}


def test_many_old_events_of_many_accounts_go_in_steps_and_their_feeds_go_on(
    stored: Settings, retention: Retention
) -> None:
    accounts = ("acc-1", "acc-2", "acc-3")
    with feed.writer(stored.database_url) as writer:
        for account in accounts:
            writer.write(*(feed.event(at=1, account_id=account) for _ in range(2_500)))
        writer.write(feed.event(at=NOW, account_id="acc-2"))
        steps: list[int] = []

        purged = retention.purge(lambda so_far: steps.append(so_far.events))
        writer.write(*(feed.event(at=NOW, account_id=account) for account in accounts))

    audit = open_audit(stored)
    violations = audit.violations()
    audit.close()
    assert purged == Purged(events=7_500)
    assert max(after - before for before, after in pairwise([0, *steps])) == 1_000
    assert kept_events(stored) == {"acc-1": [2_501], "acc-2": [2_501, 2_502], "acc-3": [2_501]}
    assert violations == []


def test_the_doctor_misses_no_callback_that_was_purged(stored: Settings, transfers: TransferStore) -> None:
    at = {"old": 1_000, "new": NOW * 2}
    with transfers.begin() as transaction:
        transaction.write(
            Changes(
                transfers=[
                    facts.transfer(0, transfer_id=f"tr_{name}", status=409, completed_at=when)
                    for name, when in at.items()
                ]
            )
        )
    audit = open_audit(stored)

    violations = audit.violations()
    audit.close()

    assert [(one.invariant, one.subject) for one in violations] == [("I4", f"{sample.ACCOUNT}/tr_new")]
