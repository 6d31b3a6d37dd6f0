"""The transfer itself: a batch of requests, one transaction, one outcome each."""

from collections.abc import Sequence
from typing import Final

from handoff.domain.rules import Reassign
from handoff.service.ledger import Ledger
from handoff.service.meter import Meter
from handoff.service.outcomes import Item, Request, Settled
from handoff.service.ports import Clock, Contended, Ids, Locked, StoreError, StoreUnavailable, TransferStore, Unwritable

# A deadlock or a lost race is over as soon as the winner has committed; more tries would only hide a standing fault.
_TRIES: Final = 4
# Where a batch met a locked row, its requests wait for locks a fifth of a second each, this often at the most: so that
# all of it is over in six seconds, and those who wait for the next batch are still there.
_BRIEF_WAITS: Final = 20

Outcome = Settled | StoreError


class Transfers:
    """Assigns, opens and closes conversations in batches. Synchronous: it runs in the committer's thread."""

    def __init__(self, store: TransferStore, *, clock: Clock, ids: Ids, reassign: Reassign, meter: Meter) -> None:
        self._store = store
        self._clock = clock
        self._ids = ids
        self._reassign = reassign
        self._meter = meter

    def settle(self, requests: Sequence[Request]) -> Sequence[Outcome]:
        """Decide the requests in order, in one transaction. One outcome each, in the same order.

        A request that the store cannot write fails alone; a store that is away fails all, and then nothing of
        the batch was recorded unless the connection was lost in the very commit.
        """
        items = [Item(request, self._ids.fresh()) for request in requests]
        try:
            return self._persist(items)
        except Unwritable as error:
            # Also for a single item: a key that another process took meanwhile is there to be read now.
            return self._one_by_one(items, error)
        except StoreError as error:
            return [self._failed(error)] * len(items)

    def _one_by_one(self, items: Sequence[Item], met: Unwritable) -> Sequence[Outcome]:
        """Each request alone, so that only those fail that must; past locks also the rest, when they are too many."""
        outcomes: list[Outcome] = []
        is_brief, waits = isinstance(met, Locked), 0
        for item in items:
            outcome = self._alone(item, is_brief=is_brief) if waits < _BRIEF_WAITS else met
            waits += is_brief and isinstance(outcome, Locked)
            outcomes.append(outcome)
        return [self._failed(one, was_lost=met.is_lost) if isinstance(one, StoreError) else one for one in outcomes]

    def _alone(self, item: Item, *, is_brief: bool) -> Outcome:
        try:
            return self._persist([item], is_retry=True, is_brief=is_brief)[0]
        except StoreError as error:
            return error

    def _failed(self, error: StoreError, *, was_lost: bool = False) -> StoreError:
        self._meter.store_failed("transfers")
        is_unknown = was_lost or (isinstance(error, Unwritable) and error.is_lost)
        return StoreUnavailable(str(error), is_lost=True) if is_unknown else error

    def _persist(self, items: Sequence[Item], *, is_retry: bool = False, is_brief: bool = False) -> Sequence[Outcome]:
        """Commit, trying again where a race was lost or the connection went away.

        A retry first looks for what an earlier try may have committed. Where a connection was lost and no retry
        got through, the outcome is unknown, and the error says so (`is_lost`).
        """
        was_lost = False
        for tries_left in reversed(range(_TRIES)):
            try:
                return self._commit(items, is_retry=is_retry or was_lost, is_brief=is_brief)
            except Contended as error:
                if not tries_left and was_lost:
                    raise StoreUnavailable(str(error), is_lost=True) from error
                if not tries_left:
                    raise
            except Unwritable as error:
                error.is_lost = was_lost
                raise
            except StoreUnavailable as error:
                if was_lost or not error.is_lost or not tries_left:
                    raise StoreUnavailable(error.reason, is_lost=was_lost or error.is_lost) from error
                was_lost = True
        raise AssertionError("the last try returns or raises")

    def _commit(self, items: Sequence[Item], *, is_retry: bool, is_brief: bool) -> Sequence[Outcome]:
        with self._store.begin() as tx:
            if is_brief:
                tx.wait_briefly()
            ledger = Ledger.read(tx, items, is_retry=is_retry, reassign=self._reassign)
            now_ms = self._clock.now_ms()
            outcomes = [ledger.settle(item, now_ms) for item in items]
            if ledger.has_changes:
                tx.write(ledger.changes())
        return outcomes
