"""What the outbox promises, on both databases: leases, fencing, and an end for every message (I5)."""

from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import psycopg
import pytest
from sqlalchemy import select

from handoff import Settings, load_directory
from handoff.domain.retry import Again, Attempt, Dead, DeadReason, Delivered, ErrorClass, Verdict
from handoff.outboxes import open_outbox
from handoff.service.ports import AttemptResult, Changes, ClaimedCallback, DueLane, LaneShare, Reclaimed, TransferStore
from handoff.store.engine import open_reader
from handoff.store.outbox import SqlOutbox
from handoff.store.tables import callback_attempts, callbacks
from handoff.stores import open_transfer_store
from rigs import facts, sample

LEASE_MS = 60_000
NOW = 5_000


def claim(outbox: SqlOutbox, *, now_ms: int = NOW, limit: int = 10, token: str = "one") -> Sequence[ClaimedCallback]:
    return outbox.claim(facts.UpTo(limit), now_ms=now_ms, lease_ms=LEASE_MS, lease_token=token).callbacks


def result(claimed: ClaimedCallback, verdict: Verdict) -> AttemptResult:
    if isinstance(verdict, Delivered):
        attempt = Attempt(started_at=NOW, duration_ms=3, status=204)
    else:
        attempt = Attempt(started_at=NOW, duration_ms=3, error=ErrorClass.CONNECT, detail="refused")
    return AttemptResult(claimed=claimed, attempt=attempt, verdict=verdict)


def write(transfers: TransferStore, *numbers: int, **changes: Any) -> None:
    with transfers.begin() as transaction:
        transaction.write(Changes(callbacks=[facts.callback(number, **changes) for number in numbers]))


def rows(settings: Settings, table: Any = callbacks) -> list[dict[str, Any]]:
    engine = open_reader(settings.database_url)
    with engine.connect() as connection:
        found = [dict(row) for row in connection.execute(select(table).order_by(*table.primary_key)).mappings()]
    engine.dispose()
    return found


def test_a_due_message_is_claimed_once_and_a_later_one_not_yet(transfers: TransferStore, outbox: SqlOutbox) -> None:
    write(transfers, 1)
    write(transfers, 2, due_at=NOW + 1)

    first = outbox.claim(facts.UpTo(10), now_ms=NOW, lease_ms=LEASE_MS, lease_token="one")
    second = outbox.claim(facts.UpTo(10), now_ms=NOW, lease_ms=LEASE_MS, lease_token="two")

    assert [claimed.callback_id for claimed in first.callbacks] == ["msg_1"]
    assert first.callbacks[0].body == facts.CALLBACK.body
    assert first.callbacks[0].number == 1
    assert second.callbacks == []
    assert second.next_due_at == NOW + 1
    assert second.next_due_at == NOW + 1


def test_the_oldest_due_come_first_and_no_more_than_asked_for(transfers: TransferStore, outbox: SqlOutbox) -> None:
    for number, due_at in ((1, 300), (2, 100), (3, 200)):
        write(transfers, number, due_at=due_at)

    claimed = claim(outbox, limit=2)

    assert {callback.callback_id for callback in claimed} == {"msg_2", "msg_3"}


def test_two_dispatchers_never_claim_the_same_message(
    transfers: TransferStore, outbox: SqlOutbox, stored: Settings
) -> None:
    write(transfers, *range(1, 21))
    other = open_outbox(stored)

    ours = claim(outbox, limit=10, token="one")
    theirs = claim(other, limit=10, token="two")
    other.close()

    both = [callback.callback_id for callback in (*ours, *theirs)]
    assert len(both) == len(set(both)) == 20


def test_dispatchers_that_claim_at_the_same_time_share_the_messages_out(
    transfers: TransferStore, stored: Settings
) -> None:
    write(transfers, *range(1, 401))

    def claim_all(token: str) -> list[str]:
        outbox, found = open_outbox(stored), list[str]()
        while claimed := claim(outbox, limit=5, token=token):
            found += [callback.callback_id for callback in claimed]
        outbox.close()
        return found

    with ThreadPoolExecutor(4) as threads:
        claimed = list(threads.map(claim_all, ("one", "two", "three", "four")))

    every = [callback_id for found in claimed for callback_id in found]
    assert len(every) == len(set(every)) == 400


def test_a_claim_waits_for_no_row_that_another_has_locked(postgres_url: str) -> None:
    settings = Settings(database_url=postgres_url)
    load_directory(settings, sample.directory())
    transfers, outbox = open_transfer_store(settings), open_outbox(settings)
    write(transfers, 1, 2)

    with psycopg.connect(postgres_url) as another:
        another.execute("SELECT 1 FROM callbacks WHERE callback_id = 'msg_1' FOR UPDATE")
        claimed = claim(outbox)
    outbox.close()
    transfers.close()

    assert [callback.callback_id for callback in claimed] == ["msg_2"]


def test_a_delivered_message_is_over(transfers: TransferStore, outbox: SqlOutbox, stored: Settings) -> None:
    write(transfers, 1)

    outbox.record([result(claim(outbox)[0], Delivered())], now_ms=NOW)

    assert claim(outbox, now_ms=NOW + 10 * LEASE_MS) == []
    (row,) = rows(stored)
    assert (row["state"], row["attempts"], row["last_status"], row["ended_at"]) == ("delivered", 1, 204, NOW)
    assert row["lease_token"] is None
    (attempt,) = rows(stored, callback_attempts)
    assert (attempt["status"], attempt["duration_ms"]) == (204, 3)


def test_a_failed_message_comes_back_when_it_is_due(transfers: TransferStore, outbox: SqlOutbox) -> None:
    write(transfers, 1)
    outbox.record([result(claim(outbox)[0], Again(NOW + 5_000))], now_ms=NOW)

    assert claim(outbox, now_ms=NOW + 4_999) == []
    (again,) = claim(outbox, now_ms=NOW + 5_000)
    assert (again.number, again.claim) == (2, 2)


def test_a_dead_message_is_kept_with_its_reason(transfers: TransferStore, outbox: SqlOutbox, stored: Settings) -> None:
    write(transfers, 1)

    outbox.record([result(claim(outbox)[0], Dead(DeadReason.GONE))], now_ms=NOW)

    (row,) = rows(stored)
    assert (row["state"], row["dead_reason"], row["last_error"], row["ended_at"]) == ("dead", "gone", "connect", NOW)
    assert claim(outbox, now_ms=NOW + 10 * LEASE_MS) == []


def test_a_lapsed_lease_returns_the_message_to_others(transfers: TransferStore, outbox: SqlOutbox) -> None:
    write(transfers, 1)
    claim(outbox)

    assert outbox.reclaim(now_ms=NOW + LEASE_MS - 1).lapsed == 0
    assert outbox.reclaim(now_ms=NOW + LEASE_MS).lapsed == 1
    (again,) = claim(outbox, now_ms=NOW + LEASE_MS, token="two")
    assert (again.number, again.claim) == (1, 2)


@pytest.mark.parametrize("verdict", [Again(NOW + 1), Dead(DeadReason.GONE)])
def test_a_failure_under_a_lease_that_was_lost_changes_nothing(
    transfers: TransferStore, outbox: SqlOutbox, stored: Settings, verdict: Verdict
) -> None:
    write(transfers, 1)
    late = claim(outbox)[0]
    outbox.reclaim(now_ms=NOW + LEASE_MS)
    claim(outbox, now_ms=NOW + LEASE_MS, token="two")

    outbox.record([result(late, verdict)], now_ms=NOW + LEASE_MS)

    (row,) = rows(stored)
    assert (row["state"], row["lease_token"], row["attempts"]) == ("sending", "two", 0)


def test_a_success_counts_whoever_holds_the_lease(
    transfers: TransferStore, outbox: SqlOutbox, stored: Settings
) -> None:
    write(transfers, 1)
    late = claim(outbox)[0]
    outbox.reclaim(now_ms=NOW + LEASE_MS)
    second = claim(outbox, now_ms=NOW + LEASE_MS, token="two")[0]

    outbox.record([result(late, Delivered())], now_ms=NOW + LEASE_MS)
    outbox.record([result(second, Again(NOW + 2 * LEASE_MS))], now_ms=NOW + LEASE_MS)

    (row,) = rows(stored)
    assert row["state"] == "delivered"
    assert len(rows(stored, callback_attempts)) == 2


@pytest.mark.parametrize("since", ["returned", "dead"])
def test_a_success_counts_where_the_message_was_returned_or_given_up_meanwhile(
    transfers: TransferStore, outbox: SqlOutbox, stored: Settings, since: str
) -> None:
    write(transfers, 1, expires_at=NOW + LEASE_MS if since == "dead" else 1 << 50)
    late = claim(outbox)[0]
    outbox.reclaim(now_ms=NOW + LEASE_MS)
    if since == "dead":
        assert claim(outbox, now_ms=NOW + LEASE_MS) == []

    outbox.record([result(late, Delivered())], now_ms=NOW + LEASE_MS)

    (row,) = rows(stored)
    assert (row["state"], row["dead_reason"], row["attempts"]) == ("delivered", None, 1)
    assert claim(outbox, now_ms=NOW + LEASE_MS) == []


def test_results_that_are_recorded_again_count_once(
    transfers: TransferStore, outbox: SqlOutbox, stored: Settings
) -> None:
    write(transfers, 1, 2)
    first, second = claim(outbox)
    results = [result(first, Delivered()), result(second, Again(NOW + 5_000))]

    outbox.record(results, now_ms=NOW)
    outbox.record(results, now_ms=NOW)

    assert [row["attempts"] for row in rows(stored)] == [1, 1]
    assert len(rows(stored, callback_attempts)) == 2


def test_a_message_past_its_time_is_buried_and_not_sent(
    transfers: TransferStore, outbox: SqlOutbox, stored: Settings
) -> None:
    write(transfers, 1, expires_at=NOW)

    assert claim(outbox) == []
    (row,) = rows(stored)
    assert (row["state"], row["dead_reason"], row["ended_at"]) == ("dead", "expired", NOW)


def test_behind_an_expired_message_all_that_expired_with_it_are_buried(
    transfers: TransferStore, outbox: SqlOutbox, stored: Settings
) -> None:
    write(transfers, *range(1, 41), expires_at=NOW)
    write(transfers, 41)
    write(transfers, 42, lane="http://elsewhere:80", expires_at=NOW)
    shares = {facts.CALLBACK.lane: LaneShare(fresh=1, retries=0)}

    found = outbox.claim(facts.Fixed(shares), now_ms=NOW, lease_ms=LEASE_MS, lease_token="one")
    after = outbox.claim(facts.Fixed(shares), now_ms=NOW, lease_ms=LEASE_MS, lease_token="two")

    assert (found.callbacks, found.expired) == ([], 40)
    assert [callback.callback_id for callback in after.callbacks] == ["msg_41"]
    assert Counter(row["state"] for row in rows(stored)) == {"dead": 40, "sending": 1, "pending": 1}


def test_a_message_whose_claims_end_without_an_attempt_five_times_is_poison(
    transfers: TransferStore, outbox: SqlOutbox, stored: Settings
) -> None:
    write(transfers, 1, expires_at=NOW + 100 * LEASE_MS)
    now = NOW
    told = []
    for _ in range(5):
        assert len(claim(outbox, now_ms=now)) == 1
        now += LEASE_MS
        told.append(outbox.reclaim(now_ms=now))

    assert told == [Reclaimed(1)] * 4 + [Reclaimed(1, poisonous=1)]
    assert claim(outbox, now_ms=now) == []
    (row,) = rows(stored)
    assert (row["state"], row["dead_reason"], row["claims"]) == ("dead", "poison", 5)


def test_each_lane_gets_its_share_and_a_blocked_one_nothing(transfers: TransferStore, outbox: SqlOutbox) -> None:
    for lane in ("http://a:80", "http://b:80", "http://c:80"):
        write(transfers, *(number + ord(lane[7]) * 100 for number in range(5)), lane=lane)
    shares = {"http://a:80": LaneShare(fresh=2, retries=0), "http://c:80": LaneShare(fresh=4, retries=0)}

    claimed = outbox.claim(facts.Fixed(shares), now_ms=NOW, lease_ms=LEASE_MS, lease_token="one").callbacks

    assert Counter(callback.lane for callback in claimed) == {"http://a:80": 2, "http://c:80": 4}


def test_first_attempts_and_retries_are_told_apart(transfers: TransferStore, outbox: SqlOutbox) -> None:
    write(transfers, 1)
    outbox.record([result(claim(outbox)[0], Again(NOW))], now_ms=NOW)
    write(transfers, 2)
    lane = facts.CALLBACK.lane
    seen = facts.UpTo(10)

    fresh = outbox.claim(
        facts.Fixed({lane: LaneShare(fresh=9, retries=0)}), now_ms=NOW, lease_ms=LEASE_MS, lease_token="one"
    )
    retries = outbox.claim(seen, now_ms=NOW, lease_ms=LEASE_MS, lease_token="two")

    assert [callback.callback_id for callback in fresh.callbacks] == ["msg_2"]
    assert [callback.callback_id for callback in retries.callbacks] == ["msg_1"]
    assert seen.due == [DueLane(name=lane, has_fresh=False, has_retries=True)]


def test_more_lanes_than_one_scan_sees_take_turns(transfers: TransferStore, outbox: SqlOutbox) -> None:
    with transfers.begin() as transaction:
        transaction.write(
            Changes(callbacks=[facts.callback(number, lane=f"http://host-{number}:80") for number in range(600)])
        )
    claimed: list[ClaimedCallback] = []

    for _ in range(3):
        claimed += claim(outbox, limit=1)

    assert len({callback.lane for callback in claimed}) == 600
