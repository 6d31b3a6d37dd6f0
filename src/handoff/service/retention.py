"""How long callbacks are kept once they are over, and uses of tokens once nobody takes those any more."""

import asyncio
import logging
from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import dataclass
from functools import partial
from typing import Final, Protocol

from handoff.service.ports import Clock, StoreError

log = logging.getLogger(__name__)

_PURGE_EVERY_S: Final = 600.0
# Between two steps others get at the store, which on SQLite is one thread for all who write.
_PAUSE_S: Final = 0.1
# By more than this no two clocks of one installation differ: what the one forgets, none takes any more.
_TOKENS_KEPT_MS: Final = 3_600_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Cutoffs:
    """Delivered callbacks that ended before the one, dead and cancelled ones before the other (epoch ms), are over."""

    delivered_before: int
    dead_before: int


@dataclass(frozen=True, slots=True)
class Place:
    """Where a purge stands: behind this callback of this account. The empty one is where it begins."""

    account_id: str = ""
    callback_id: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """How many callbacks a step purged, and where the next one begins (None: that was the last)."""

    purged: int
    behind: Place | None


class RetentionStore(Protocol):
    """Where callbacks are purged. Synchronous."""

    def purge_step(self, cutoffs: Cutoffs, behind: Place) -> Step:
        """Purge what is over among the next rows, with its attempts, in a transaction of its own."""
        ...

    def forget_tokens(self, expired_before: int) -> int:
        """Forget uses of tokens that expired before (epoch ms), up to some number in one transaction. How many."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Retention:
    """Delivered callbacks are kept for `delivered_ms` after their end, dead and cancelled ones for `dead_ms`."""

    store: RetentionStore
    clock: Clock
    delivered_ms: int
    dead_ms: int

    def step(self, behind: Place) -> Step:
        """Purge one step. Raises StoreError."""
        now_ms = self.clock.now_ms()
        cutoffs = Cutoffs(delivered_before=now_ms - self.delivered_ms, dead_before=now_ms - self.dead_ms)
        return self.store.purge_step(cutoffs, behind)

    def forget_tokens(self) -> int:
        """Forget uses of tokens that nobody takes any more, a step of them. How many. Raises StoreError."""
        return self.store.forget_tokens(self.clock.now_ms() - _TOKENS_KEPT_MS)

    def purge(self, on_step: Callable[[int], None] = lambda _purged: None) -> int:
        """Purge all there is, telling the sum after every step. How many. Raises StoreError."""
        purged = 0
        behind: Place | None = Place()
        while behind is not None:
            step = self.step(behind)
            purged, behind = purged + step.purged, step.behind
            on_step(purged)
        while self.forget_tokens():
            pass
        return purged


async def purge_for_ever(retention: Retention, executor: Executor) -> None:
    """Purge every ten minutes, in steps with a pause between them, until cancelled."""
    while True:
        purged = 0
        behind: Place | None = Place()
        try:
            while behind is not None:
                step = await asyncio.get_running_loop().run_in_executor(executor, partial(retention.step, behind))
                purged, behind = purged + step.purged, step.behind
                await asyncio.sleep(_PAUSE_S)
            has_more = True
            while has_more:
                has_more = await asyncio.get_running_loop().run_in_executor(executor, retention.forget_tokens) > 0
                await asyncio.sleep(_PAUSE_S)
        except StoreError as error:
            log.warning("purge broke off", extra={"reason": str(error)})
        if purged:
            log.info("purged", extra={"callbacks": purged})
        await asyncio.sleep(_PURGE_EVERY_S)
