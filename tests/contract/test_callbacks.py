"""Looking callbacks up, sending them again and cancelling them, on both databases."""

from collections.abc import Sequence
from typing import Any

import pytest

from handoff import Settings
from handoff.domain import ids as ids_of
from handoff.domain.ids import callback_id_at
from handoff.domain.retry import MAX_ATTEMPTS, Again, Attempt, Dead, DeadReason, Delivered, ErrorClass, Verdict
from handoff.service.callbacks import CallbackFilter, CallbackState, CallbackStore
from handoff.service.ports import AttemptResult, Changes, ClaimedCallback, TransferStore
from handoff.service.scope import Scope
from handoff.store.callbacks import SqlCallbacks
from handoff.store.engine import open_reader
from handoff.store.outbox import SqlOutbox
from rigs import facts, sample

LEASE_MS = 60_000
LIFETIME_MS = 1_000_000
NOW = 5_000
HERE = Scope(account_id=sample.ACCOUNT)
ANY = CallbackFilter()


def write(transfers: TransferStore, *numbers: int, transfer: dict[str, Any] | None = None, **changes: Any) -> None:
    """Callbacks with their transfers, told apart by three digits so that their order is that of the numbers."""
    account = {"account_id": changes.get("account_id", sample.ACCOUNT)}
    with transfers.begin() as transaction:
        transaction.write(
            Changes(
                transfers=[
                    facts.transfer(number, transfer_id=f"tr_{number:03}", **account, **(transfer or {}))
                    for number in numbers
                ],
                callbacks=[
                    facts.callback(number, callback_id=f"msg_{number:03}", transfer_id=f"tr_{number:03}", **changes)
                    for number in numbers
                ],
            )
        )


def claim(outbox: SqlOutbox, *, now_ms: int = NOW, limit: int = 1_000) -> Sequence[ClaimedCallback]:
    return outbox.claim(facts.UpTo(limit), now_ms=now_ms, lease_ms=LEASE_MS, lease_token="one").callbacks


def end(outbox: SqlOutbox, verdict: Verdict, *, now_ms: int = NOW) -> None:
    """Claim all that is due, and let each attempt end so."""
    is_delivered = isinstance(verdict, Delivered)
    attempt = Attempt(
        started_at=now_ms,
        duration_ms=3,
        status=204 if is_delivered else None,
        error=None if is_delivered else ErrorClass.CONNECT,
        detail=None if is_delivered else "refused",
    )
    results = [AttemptResult(claimed=one, attempt=attempt, verdict=verdict) for one in claim(outbox, now_ms=now_ms)]
    outbox.record(results, now_ms=now_ms)


def ids(callbacks: CallbackStore, wanted: CallbackFilter = ANY, scope: Scope = HERE) -> list[str]:
    return [one.callback_id for one in callbacks.find(scope, wanted, before=None, limit=100).callbacks]


def in_every_state(transfers: TransferStore, outbox: SqlOutbox, callbacks: CallbackStore) -> None:
    """One callback in each state, numbered in the order of `CallbackState`."""
    write(transfers, 2)
    claim(outbox)
    write(transfers, 3)
    end(outbox, Delivered())
    write(transfers, 4)
    end(outbox, Dead(DeadReason.GONE))
    write(transfers, 5)
    callbacks.cancel(sample.ACCOUNT, "msg_005", now_ms=NOW)
    write(transfers, 1)


def test_the_newest_come_first_with_what_their_transfers_say(
    transfers: TransferStore, callbacks: CallbackStore
) -> None:
    write(transfers, 1, 2, 3)

    page = callbacks.find(HERE, ANY, before=None, limit=10)

    assert [one.callback_id for one in page.callbacks] == ["msg_003", "msg_002", "msg_001"]
    assert page.next_before is None
    first = page.callbacks[0]
    assert (first.session_id, first.stream_id, first.completed_at) == (sample.SESSION, sample.STREAM, 1_000)
    assert (first.body, first.url, first.state) == (b"{}", facts.CALLBACK.url, CallbackState.PENDING)


def test_pages_follow_each_other_without_gap_or_repeat(transfers: TransferStore, callbacks: CallbackStore) -> None:
    write(transfers, *range(7))
    seen: list[str] = []
    before: str | None = None
    pages = 0

    while pages == 0 or before is not None:
        page = callbacks.find(HERE, ANY, before=before, limit=3)
        seen += [one.callback_id for one in page.callbacks]
        before, pages = page.next_before, pages + 1

    assert seen == [f"msg_{number:03}" for number in reversed(range(7))]
    assert pages == 3


@pytest.mark.parametrize("state", CallbackState)
def test_each_state_is_found_alone(
    transfers: TransferStore, outbox: SqlOutbox, callbacks: CallbackStore, state: CallbackState
) -> None:
    in_every_state(transfers, outbox, callbacks)

    (found,) = callbacks.find(HERE, CallbackFilter(state=state), before=None, limit=10).callbacks

    assert found.state is state
    assert found.callback_id == f"msg_{list(CallbackState).index(state) + 1:03}"


@pytest.mark.parametrize(
    ("host", "found"),
    [
        ("a.example", ["msg_003", "msg_002", "msg_001"]),
        ("A.example:443", ["msg_001"]),
        ("a.example:8443", ["msg_002"]),
        ("a.exampl", []),
        ("a%example", []),
        ("b.example", ["msg_004"]),
        ("[::1]", ["msg_005"]),
    ],
)
def test_a_host_is_found_with_its_port_or_with_any(
    transfers: TransferStore, callbacks: CallbackStore, host: str, found: list[str]
) -> None:
    lanes = (
        "https://a.example:443",
        "https://a.example:8443",
        "http://a.example:80",
        "https://b.example:443",
        "http://[::1]:80",
    )
    for number, lane in enumerate(lanes, start=1):
        write(transfers, number, lane=lane)

    assert ids(callbacks, CallbackFilter(host=host)) == found


def test_since_leaves_out_what_was_recorded_before(transfers: TransferStore, callbacks: CallbackStore) -> None:
    times = (1_700_000_000_000, 1_700_000_000_001, 1_800_000_000_000)
    stored = [callback_id_at(at) + "-7c61-8d7b-0c8d3e1f2a3b" for at in times]
    for number, callback_id in enumerate(stored):
        with transfers.begin() as transaction:
            transaction.write(
                Changes(transfers=[facts.transfer(number)], callbacks=[facts.callback(number, callback_id=callback_id)])
            )

    assert ids(callbacks, CallbackFilter(since=1_700_000_000_001)) == [stored[2], stored[1]]


def test_a_search_that_finds_little_stops_and_tells_where_to_go_on(transfers: TransferStore, stored: Settings) -> None:
    engine = open_reader(stored.database_url)
    callbacks = SqlCallbacks(engine, engine, most_scanned=5)
    write(transfers, 1, lane="https://rare.example:443")
    write(transfers, *range(2, 10))
    rare = CallbackFilter(host="rare.example")

    first = callbacks.find(HERE, rare, before=None, limit=10)
    second = callbacks.find(HERE, rare, before=first.next_before, limit=10)
    callbacks.close()

    assert (first.callbacks, first.next_before) == ([], "msg_005")
    assert ([one.callback_id for one in second.callbacks], second.next_before) == (["msg_001"], None)


def test_another_account_and_another_stream_see_nothing_and_change_nothing(
    transfers: TransferStore, callbacks: CallbackStore
) -> None:
    write(transfers, 1)
    strangers = (Scope(account_id="acc-2"), Scope(account_id=sample.ACCOUNT, stream_id="st-2"))

    seen = [ids(callbacks, scope=scope) for scope in strangers]
    got = [callbacks.get(scope, "msg_001") for scope in strangers]

    assert (seen, got) == ([[], []], [None, None])
    assert not callbacks.cancel("acc-2", "msg_001", now_ms=NOW)
    assert callbacks.renew("acc-2", {"msg_001": NOW}, state=None, lifetime_ms=1) == 0
    assert callbacks.attempts("acc-2", "msg_001") == []
    assert callbacks.get(Scope(account_id=sample.ACCOUNT, stream_id=sample.STREAM), "msg_001") is not None


def test_a_transfers_callback_is_found_with_its_copies_and_without_its_neighbours(
    transfers: TransferStore, callbacks: CallbackStore
) -> None:
    write(transfers, 1, 2)
    write(transfers, 1, account_id="acc-2")
    copies = [ids_of.callback_id("tr_001", f"http://localhost:{port}") for port in range(8_010, 8_013)]
    with transfers.begin() as transaction:
        mine = [facts.callback(1, callback_id=one, transfer_id="tr_001") for one in copies]
        longer = facts.callback(1, callback_id="msg_0010", transfer_id="tr_0010")
        transaction.write(Changes(callbacks=[*mine, longer], transfers=[facts.transfer(1, transfer_id="tr_0010")]))

    def found(scope: Scope, limit: int = 9) -> list[str]:
        return [one.callback_id for one in callbacks.of_transfer(scope, "tr_001", limit=limit)]

    assert found(HERE) == ["msg_001", *sorted(copies)]
    assert found(HERE, limit=2) == ["msg_001", min(copies)]
    assert found(Scope(account_id=sample.ACCOUNT, stream_id="st-2")) == []
    assert found(Scope(account_id="acc-2")) == ["msg_001"]


def test_every_account_with_callbacks_is_told(transfers: TransferStore, callbacks: CallbackStore) -> None:
    before = list(callbacks.accounts())
    for account in ("acc-2", "acc-1", "acc-3"):
        write(transfers, 1, account_id=account)
    write(transfers, 2, account_id="acc-1")

    assert (before, callbacks.accounts()) == ([], ["acc-1", "acc-2", "acc-3"])


@pytest.mark.parametrize("verdict", [Delivered(), Dead(DeadReason.GONE)])
def test_what_is_over_is_sent_again_under_its_id_with_a_fresh_budget(
    transfers: TransferStore, outbox: SqlOutbox, callbacks: CallbackStore, verdict: Verdict
) -> None:
    write(transfers, 1)
    end(outbox, verdict)

    renewed = callbacks.renew(sample.ACCOUNT, {"msg_001": NOW + 9}, state=None, lifetime_ms=LIFETIME_MS)

    stored = callbacks.get(HERE, "msg_001")
    assert renewed == 1
    assert stored is not None
    assert (stored.state, stored.due_at, stored.expires_at) == (CallbackState.PENDING, NOW + 9, NOW + 9 + LIFETIME_MS)
    assert (stored.attempts, stored.dead_reason, stored.ended_at) == (0, None, None)
    assert claim(outbox, now_ms=NOW + 8) == []
    (again,) = claim(outbox, now_ms=NOW + 9)
    assert (again.callback_id, again.number, again.claim, again.is_retry) == ("msg_001", 1, 2, True)


def test_a_second_budget_is_as_large_as_the_first_and_every_attempt_is_kept(
    transfers: TransferStore, outbox: SqlOutbox, callbacks: CallbackStore
) -> None:
    write(transfers, 1, expires_at=1 << 60)
    for _ in range(2):
        for _ in range(MAX_ATTEMPTS - 1):
            end(outbox, Again(NOW))
        end(outbox, Dead(DeadReason.EXHAUSTED))
        callbacks.renew(sample.ACCOUNT, {"msg_001": NOW}, state=None, lifetime_ms=1 << 60)

    end(outbox, Delivered())

    attempts = callbacks.attempts(sample.ACCOUNT, "msg_001")
    assert len(attempts) == 2 * MAX_ATTEMPTS + 1
    assert [attempt.error for attempt in attempts] == ["connect"] * 2 * MAX_ATTEMPTS + [None]
    stored = callbacks.get(HERE, "msg_001")
    assert stored is not None
    assert (stored.state, stored.attempts) == (CallbackState.DELIVERED, 1)


def test_leases_lost_before_it_was_sent_anew_do_not_make_it_poison(
    transfers: TransferStore, outbox: SqlOutbox, callbacks: CallbackStore
) -> None:
    write(transfers, 1, expires_at=1 << 60)
    for _ in range(5):
        claim(outbox)
        outbox.reclaim(now_ms=NOW + LEASE_MS)
    poisoned = callbacks.get(HERE, "msg_001")

    callbacks.renew(sample.ACCOUNT, {"msg_001": NOW}, state=CallbackState.DEAD, lifetime_ms=1 << 60)
    claim(outbox)
    outbox.reclaim(now_ms=NOW + LEASE_MS)

    assert poisoned is not None
    assert poisoned.dead_reason == "poison"
    assert ids(callbacks, CallbackFilter(state=CallbackState.PENDING)) == ["msg_001"]


def test_what_is_being_sent_is_left_alone(
    transfers: TransferStore, outbox: SqlOutbox, callbacks: CallbackStore
) -> None:
    write(transfers, 1)
    claim(outbox)

    renewed = callbacks.renew(sample.ACCOUNT, {"msg_001": NOW}, state=None, lifetime_ms=1)
    cancelled = callbacks.cancel(sample.ACCOUNT, "msg_001", now_ms=NOW)

    assert (renewed, cancelled) == (0, False)
    assert ids(callbacks, CallbackFilter(state=CallbackState.SENDING)) == ["msg_001"]


def test_only_those_still_in_the_state_that_was_asked_for_are_sent_again(
    transfers: TransferStore, outbox: SqlOutbox, callbacks: CallbackStore
) -> None:
    in_every_state(transfers, outbox, callbacks)
    due = {f"msg_{number:03}": NOW for number in range(1, 6)}

    renewed = callbacks.renew(sample.ACCOUNT, due, state=CallbackState.DEAD, lifetime_ms=1)

    assert renewed == 1
    assert ids(callbacks, CallbackFilter(state=CallbackState.PENDING)) == ["msg_004", "msg_001"]


def test_a_cancelled_callback_is_never_sent(
    transfers: TransferStore, outbox: SqlOutbox, callbacks: CallbackStore
) -> None:
    write(transfers, 1)

    cancelled = [callbacks.cancel(sample.ACCOUNT, "msg_001", now_ms=NOW) for _ in range(2)]

    stored = callbacks.get(HERE, "msg_001")
    assert cancelled == [True, False]
    assert stored is not None
    assert (stored.state, stored.ended_at) == (CallbackState.CANCELLED, NOW)
    assert claim(outbox, now_ms=1 << 60) == []
