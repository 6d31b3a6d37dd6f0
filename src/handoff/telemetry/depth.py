"""Asking the store how deep the outbox is, within bounds: of the store's time, and of the asker's."""

import logging
import threading
from concurrent.futures import Future, ThreadPoolExecutor, wait
from time import monotonic
from typing import Final

from handoff.service.meter import DepthStore, OutboxDepth
from handoff.service.ports import StoreError

log = logging.getLogger(__name__)

# What the store said is good for so many seconds, and for so many times the time it took to say it: watching an
# outbox of millions costs one connection a twentieth of its time at the most.
_TRUST_S: Final = 3.0
_TRUST_FACTOR: Final = 20
# Prometheus gives a scrape up after ten seconds.
_PATIENCE_S: Final = 2.0
# Counting millions takes seconds: until then what was said last will do. PostgreSQL breaks a statement off by then.
_LONGEST_S: Final = 10.0


class DepthWatch:
    """The outbox's depth, seconds old at most as long as the store is quick.

    Who asks waits `patience_s` at most; a store that says nothing for `longest_s` is away.
    """

    def __init__(
        self,
        store: DepthStore,
        *,
        patience_s: float = _PATIENCE_S,
        longest_s: float = _LONGEST_S,
        trust_s: float = _TRUST_S,
    ) -> None:
        self._store = store
        self._patience_s = patience_s
        self._longest_s = longest_s
        self._trust_s = trust_s
        self._executor = ThreadPoolExecutor(1, thread_name_prefix="depth")
        self._lock = threading.Lock()
        self._asking: Future[OutboxDepth | None] | None = None
        self._known: OutboxDepth | None = None
        self._asked_at = 0.0
        self._trusted_until = 0.0

    def depth(self) -> OutboxDepth | None:
        """What the store said last; None where it cannot be asked, or does not answer in time. From any thread."""
        with self._lock:  # whoever comes meanwhile waits for the same answer
            if self._asking is None and monotonic() >= self._trusted_until:
                self._asked_at = monotonic()
                self._asking = self._executor.submit(self._ask)
            if self._asking is not None:
                if not wait([self._asking], timeout=self._patience_s).done:
                    return self._known if monotonic() < self._asked_at + self._longest_s else None
                self._known = self._asking.result()
                self._asking = None
            return self._known

    def close(self) -> None:
        """Ask no more; wait for what is being asked."""
        self._executor.shutdown()

    def _ask(self) -> OutboxDepth | None:
        began = monotonic()
        try:
            return self._store.read()
        except StoreError as error:
            log.warning("outbox not read", extra={"reason": str(error)})
            return None
        finally:
            now = monotonic()
            self._trusted_until = now + max(self._trust_s, _TRUST_FACTOR * (now - began))
