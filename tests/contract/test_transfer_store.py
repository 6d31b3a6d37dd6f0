"""What the committer's store promises, on both databases."""

from dataclasses import replace

import pytest

from handoff.domain.model import AgentStatus, SessionState
from handoff.service.ports import Changes, TransferStore, Unwritable
from handoff.store.outbox import SqlOutbox
from rigs import facts, sample

SESSION = (sample.ACCOUNT, sample.SESSION)
AGENT = (sample.ACCOUNT, sample.AGENT)
OTHER = (sample.ACCOUNT, sample.OTHER_AGENT)


def test_reads_give_what_exists_and_leave_out_what_does_not(transfers: TransferStore) -> None:
    with transfers.begin() as transaction:
        sessions = transaction.sessions({SESSION, (sample.ACCOUNT, "nobody"), ("other-account", sample.SESSION)})
        agents = transaction.agents({AGENT, OTHER})
        queues = transaction.queues({(sample.ACCOUNT, sample.QUEUE)})

    assert set(sessions) == {SESSION}
    assert sessions[SESSION].state is SessionState.BOT
    assert sessions[SESSION].version == 0
    assert set(agents) == {AGENT, OTHER}
    assert agents[AGENT].status is AgentStatus.AVAILABLE
    assert agents[AGENT].max_sessions == 5
    assert [queue.org_id for queue in queues.values()] == [sample.ORG]


def test_what_is_written_is_read_back_by_the_next_transaction(transfers: TransferStore) -> None:
    with transfers.begin() as transaction:
        session = transaction.sessions({SESSION})[SESSION]
        agent = transaction.agents({AGENT})[AGENT]
        held = replace(session, state=SessionState.AGENT, holder_id=sample.AGENT, version=1, transfer_id="tr_1")
        busier = replace(agent, active_sessions=1)
        transaction.write(
            Changes(
                sessions=[held],
                agents=[busier],
                transfers=[facts.TRANSFER],
                callbacks=[facts.CALLBACK],
                keys=[facts.KEY],
            )
        )

    with transfers.begin() as transaction:
        assert transaction.sessions({SESSION}) == {SESSION: held}
        assert transaction.agents({AGENT}) == {AGENT: busier}
        assert list(transaction.transfers({(sample.ACCOUNT, "tr_1")}).values()) == [facts.TRANSFER]
        assert list(transaction.keys({(sample.ACCOUNT, sample.APP, "k")}).values()) == [facts.KEY]


def test_a_block_that_fails_leaves_nothing(transfers: TransferStore) -> None:
    with pytest.raises(ZeroDivisionError), transfers.begin() as transaction:
        transaction.write(Changes(transfers=[facts.TRANSFER], callbacks=[facts.CALLBACK]))
        raise ZeroDivisionError

    with transfers.begin() as transaction:
        assert transaction.transfers({(sample.ACCOUNT, "tr_1")}) == {}


def test_a_transfer_cannot_be_recorded_twice(transfers: TransferStore) -> None:
    with transfers.begin() as transaction:
        transaction.write(Changes(transfers=[facts.TRANSFER]))

    with pytest.raises(Unwritable), transfers.begin() as transaction:
        transaction.write(Changes(transfers=[facts.TRANSFER]))


def test_a_callback_that_is_there_already_is_left_alone(transfers: TransferStore, outbox: SqlOutbox) -> None:
    with transfers.begin() as transaction:
        transaction.write(Changes(callbacks=[facts.CALLBACK]))
    with transfers.begin() as transaction:
        transaction.write(Changes(callbacks=[replace(facts.CALLBACK, url="http://elsewhere/"), facts.callback(2)]))

    claimed = outbox.claim(facts.UpTo(10), now_ms=facts.CALLBACK.due_at, lease_ms=1_000, lease_token="one").callbacks
    assert {callback.callback_id: callback.url for callback in claimed} == {
        "msg_1": facts.CALLBACK.url,
        "msg_2": facts.CALLBACK.url,
    }


def test_an_agent_can_never_hold_fewer_than_no_sessions(transfers: TransferStore) -> None:
    with pytest.raises(Unwritable), transfers.begin() as transaction:
        agent = transaction.agents({AGENT})[AGENT]
        transaction.write(Changes(agents=[replace(agent, active_sessions=-1)]))


def test_a_session_is_with_somebody_exactly_when_its_state_says_so(transfers: TransferStore) -> None:
    with pytest.raises(Unwritable), transfers.begin() as transaction:
        session = transaction.sessions({SESSION})[SESSION]
        transaction.write(Changes(sessions=[replace(session, holder_id=sample.AGENT)]))


def test_what_the_store_says_of_a_bad_row_quotes_nothing_of_it(transfers: TransferStore) -> None:
    secret = "http://localhost:8009/?token=secret"
    row = replace(facts.CALLBACK, url=secret, lane=None)  # type: ignore[arg-type] # so that the row is refused
    with pytest.raises(Unwritable) as caught, transfers.begin() as transaction:
        transaction.write(Changes(callbacks=[row]))

    assert "lane" in str(caught.value)
    assert secret not in str(caught.value)
    assert secret not in str(caught.value.__cause__).partition("DETAIL")[0]


def test_the_store_goes_on_after_a_transaction_that_failed(transfers: TransferStore) -> None:
    with pytest.raises(Unwritable), transfers.begin() as transaction:
        transaction.write(Changes(transfers=[facts.TRANSFER, facts.TRANSFER]))

    with transfers.begin() as transaction:
        transaction.write(Changes(transfers=[facts.TRANSFER]))


def test_many_rows_are_written_and_read_in_one_batch(transfers: TransferStore) -> None:
    numbers = range(1, 301)
    with transfers.begin() as transaction:
        transaction.write(
            Changes(
                transfers=[facts.transfer(number) for number in numbers],
                callbacks=[facts.callback(number) for number in numbers],
            )
        )

    with transfers.begin() as transaction:
        found = transaction.transfers({(sample.ACCOUNT, f"tr_{number}") for number in numbers})
    assert len(found) == len(numbers)
    assert found[sample.ACCOUNT, "tr_7"] == facts.transfer(7)
