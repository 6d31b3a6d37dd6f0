import pytest

from handoff import Settings
from handoff.service.meter import OutboxDepth
from handoff.service.ports import Changes, StoreError, TransferStore
from handoff.store.depth import SqlOutboxDepth
from handoff.store.engine import open_reader
from handoff.store.outbox import SqlOutbox
from rigs import facts
from rigs.ports import free_port


def depth(settings: Settings) -> OutboxDepth:
    store = SqlOutboxDepth(open_reader(settings.database_url))
    found = store.read()
    store.close()
    return found


def test_an_empty_outbox_has_no_depth(stored: Settings) -> None:
    assert depth(stored) == OutboxDepth(pending=0, sending=0, oldest_due_at=None)


def test_the_depth_counts_what_waits_and_what_is_leased(
    stored: Settings, transfers: TransferStore, outbox: SqlOutbox
) -> None:
    with transfers.begin() as transaction:
        due = [facts.callback(number, due_at=number * 1_000) for number in range(1, 6)]
        transaction.write(Changes(callbacks=due))
    outbox.claim(facts.UpTo(2), now_ms=2_000, lease_ms=1, lease_token="one")

    assert depth(stored) == OutboxDepth(pending=3, sending=2, oldest_due_at=3_000)


def test_a_store_that_is_away_has_no_depth() -> None:
    store = SqlOutboxDepth(open_reader(f"postgresql://nobody@127.0.0.1:{free_port()}/none"))
    with pytest.raises(StoreError):
        store.read()
    store.close()
