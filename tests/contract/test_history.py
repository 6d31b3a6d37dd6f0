"""Recorded transfers looked up, on both databases."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from handoff import Settings
from handoff.domain.ids import transfer_id_at
from handoff.domain.model import PassedOver, SessionState, Target, TargetKind
from handoff.service.history import Outcome, TransferFilter
from handoff.service.ports import Changes, TransferStore
from handoff.service.scope import Scope
from handoff.store.engine import open_reader
from handoff.store.history import SqlHistory
from rigs import facts, sample

HERE = Scope(account_id=sample.ACCOUNT, stream_id=sample.STREAM)
ANY = TransferFilter()
OTHER = Target(TargetKind.AGENT, sample.OTHER_AGENT)
QUEUE = Target(TargetKind.QUEUE, sample.QUEUE)
BOT, END = Target(TargetKind.BOT, ""), Target(TargetKind.CLOSED, "")


@pytest.fixture
def history(stored: Settings) -> Iterator[SqlHistory]:
    opened = SqlHistory(open_reader(stored.database_url))
    yield opened
    opened.close()


def write(transfers: TransferStore, *numbers: int, **changes: Any) -> None:
    """Transfers that are told apart by three digits, so that their order is that of the numbers."""
    rows = [facts.transfer(number, **{"transfer_id": f"tr_{number:03}", **changes}) for number in numbers]
    with transfers.begin() as transaction:
        transaction.write(Changes(transfers=rows))


def refuse(transfers: TransferStore, *numbers: int, code: str = "agent_unavailable", **changes: Any) -> None:
    write(transfers, *numbers, status=409, code=code, version=None, **changes)


def found(history: SqlHistory, wanted: TransferFilter = ANY, scope: Scope = HERE) -> list[int]:
    page = history.find(scope, wanted, before=None, limit=100)
    return [int(one.transfer_id.removeprefix("tr_")) for one in page.transfers]


def test_a_transfer_is_read_as_it_was_recorded(transfers: TransferStore, history: SqlHistory) -> None:
    passed_over = (PassedOver(OTHER, "agent_unavailable"), PassedOver(QUEUE, "x"))
    write(transfers, 1, passed_over=passed_over, expected_agent_id="a-9")

    one = history.get(HERE, "tr_001")

    assert one == facts.transfer(1, transfer_id="tr_001", passed_over=passed_over, expected_agent_id="a-9")


def test_the_newest_come_first_and_pages_follow_each_other_without_gap_or_repeat(
    transfers: TransferStore, history: SqlHistory
) -> None:
    write(transfers, *range(7))
    seen: list[str] = []
    before: str | None = None
    pages = 0
    while pages == 0 or before is not None:
        page = history.find(HERE, ANY, before=before, limit=3)
        seen += [one.transfer_id for one in page.transfers]
        before, pages = page.next_from, pages + 1

    assert seen == [f"tr_{number:03}" for number in reversed(range(7))]
    assert pages == 3


def test_a_sessions_history_has_every_attempt_the_oldest_first(transfers: TransferStore, history: SqlHistory) -> None:
    write(transfers, 1)
    refuse(transfers, 2)
    write(transfers, 3, target=BOT, callback_url="")
    write(transfers, 4, target=END, callback_url="")
    write(transfers, 5, session_id="s-other")

    first = history.of_session(HERE, sample.SESSION, after=None, limit=3)
    assert first is not None
    second = history.of_session(HERE, sample.SESSION, after=first.next_from, limit=3)

    assert second is not None
    assert [one.transfer_id for page in (first, second) for one in page.transfers] == [
        "tr_001",
        "tr_002",
        "tr_003",
        "tr_004",
    ]
    assert second.next_from is None


def test_a_session_without_attempts_has_an_empty_history_and_one_that_is_not_there_has_none(
    transfers: TransferStore, history: SqlHistory
) -> None:
    refuse(transfers, 1, session_id="s-nobody", code="session_not_found")

    empty = history.of_session(HERE, sample.SESSION, after=None, limit=3)

    assert empty is not None
    assert (empty.transfers, empty.next_from) == ([], None)
    assert history.of_session(HERE, "s-nobody", after=None, limit=3) is None


def test_filters_narrow_the_list(transfers: TransferStore, history: SqlHistory) -> None:
    write(transfers, 1)
    write(transfers, 2, target=QUEUE, previous_state=SessionState.AGENT, previous_holder_id=sample.AGENT)
    write(transfers, 3, target=BOT, previous_state=SessionState.QUEUE, previous_holder_id=sample.QUEUE)
    write(transfers, 4, target=END, session_id="s-2")
    refuse(transfers, 5, target=OTHER)
    refuse(transfers, 6, target=OTHER, code="agent_at_capacity")

    assert found(history) == [6, 5, 4, 3, 2, 1]
    assert found(history, TransferFilter(session_id="s-2")) == [4]
    assert found(history, TransferFilter(agent_id=sample.AGENT)) == [2, 1]
    assert found(history, TransferFilter(agent_id=sample.OTHER_AGENT)) == [6, 5]
    assert found(history, TransferFilter(agent_id=sample.QUEUE)) == []
    assert found(history, TransferFilter(outcome=Outcome.TRANSFERRED)) == [2, 1]
    assert found(history, TransferFilter(outcome=Outcome.RELEASED)) == [3]
    assert found(history, TransferFilter(outcome=Outcome.CLOSED)) == [4]
    assert found(history, TransferFilter(outcome=Outcome.REFUSED)) == [6, 5]
    assert found(history, TransferFilter(code="agent_at_capacity")) == [6]
    assert found(history, TransferFilter(code="agent_at_capacity", outcome=Outcome.CLOSED)) == []
    assert found(history, TransferFilter(session_id=sample.SESSION, outcome=Outcome.REFUSED)) == [6, 5]


def test_since_leaves_out_what_was_recorded_before(transfers: TransferStore, history: SqlHistory) -> None:
    moment = 1_700_000_000_000
    ids: list[str] = []
    # The third was begun before that moment and committed after it.
    for began, completed_at in ((moment - 9, moment - 1), (moment, moment), (moment - 900, moment + 5)):
        ids.append(transfer_id_at(began) + f"-{len(ids)}")
        write(transfers, 1, transfer_id=ids[-1], completed_at=completed_at)

    page = history.find(HERE, TransferFilter(since=moment), before=None, limit=9)

    assert [one.transfer_id for one in page.transfers] == [ids[1], ids[2]]


def test_a_search_that_finds_little_stops_and_tells_where_to_go_on(transfers: TransferStore, stored: Settings) -> None:
    history = SqlHistory(open_reader(stored.database_url), most_scanned=5)
    refuse(transfers, 1)
    write(transfers, *range(2, 10))
    rare = TransferFilter(outcome=Outcome.REFUSED)

    first = history.find(HERE, rare, before=None, limit=10)
    second = history.find(HERE, rare, before=first.next_from, limit=10)
    history.close()

    assert (first.transfers, first.next_from) == ([], "tr_005")
    assert ([one.transfer_id for one in second.transfers], second.next_from) == (["tr_001"], None)


def test_a_history_among_many_attempts_of_another_stream_stops_and_goes_on_too(
    transfers: TransferStore, stored: Settings
) -> None:
    history = SqlHistory(open_reader(stored.database_url), most_scanned=5)
    refuse(transfers, *range(1, 9), stream_id="st-2", code="session_not_found")
    write(transfers, 9)

    first = history.of_session(HERE, sample.SESSION, after=None, limit=10)
    assert first is not None
    second = history.of_session(HERE, sample.SESSION, after=first.next_from, limit=10)
    history.close()

    assert (first.transfers, first.next_from) == ([], "tr_005")
    assert second is not None
    assert [one.transfer_id for one in second.transfers] == ["tr_009"]


def test_another_account_and_another_stream_see_nothing(transfers: TransferStore, history: SqlHistory) -> None:
    write(transfers, 1)
    for scope in (Scope(account_id="acc-2"), Scope(account_id=sample.ACCOUNT, stream_id="st-2")):
        assert found(history, scope=scope) == []
        assert found(history, TransferFilter(session_id=sample.SESSION), scope) == []
        assert history.get(scope, "tr_001") is None
        assert history.of_session(scope, sample.SESSION, after=None, limit=9) is None
    assert history.get(replace(HERE, stream_id=None), "tr_001") is not None


@pytest.mark.parametrize("code", ["session_not_found", "org_not_found"])
def test_a_call_that_was_refused_for_its_stream_does_not_tell_who_has_the_session(
    transfers: TransferStore, history: SqlHistory, code: str
) -> None:
    holder = {"previous_state": SessionState.AGENT, "previous_holder_id": sample.AGENT}
    refuse(transfers, 1, stream_id="st-2", target=OTHER, code=code, **holder)
    elsewhere = replace(HERE, stream_id="st-2")

    (listed,) = history.find(elsewhere, ANY, before=None, limit=9).transfers
    one = history.get(elsewhere, "tr_001")

    assert one == listed
    assert (listed.previous_state, listed.previous_holder_id) == (None, None)
    assert found(history, TransferFilter(agent_id=sample.AGENT), elsewhere) == []
    assert found(history, TransferFilter(agent_id=sample.OTHER_AGENT), elsewhere) == [1]


def test_every_account_with_transfers_is_told(transfers: TransferStore, history: SqlHistory) -> None:
    before = list(history.accounts())
    for account in ("acc-2", "acc-1"):
        write(transfers, 1, account_id=account)

    assert (before, history.accounts()) == ([], ["acc-1", "acc-2"])
