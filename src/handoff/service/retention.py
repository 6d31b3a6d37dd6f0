"""How long callbacks are kept once they are over, events once they happened, and uses of tokens once those ended."""

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
    """Before when (epoch ms) a delivered callback, a dead or cancelled one, or an event ended that is over."""

    delivered_before: int
    dead_before: int
    events_before: int


@dataclass(frozen=True, slots=True)
class CallbackPlace:
    """Where a purge stands: behind this callback of this account. The empty one is where it begins."""

    account_id: str = ""
    callback_id: str = ""


@dataclass(frozen=True, slots=True)
class EventPlace:
    """Where a purge stands when the callbacks are done: at the oldest event of the first account behind this one."""

    account_id: str = ""


Place = CallbackPlace | EventPlace


@dataclass(frozen=True, slots=True)
class Purged:
    """How many rows were purged."""

    callbacks: int = 0
    events: int = 0

    def __add__(self, other: "Purged") -> "Purged":
        return Purged(self.callbacks + other.callbacks, self.events + other.events)


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """What a step purged, and where the next one begins (None: that was the last)."""

    purged: Purged
    behind: Place | None


class RetentionStore(Protocol):
    """Where callbacks and events are purged. Synchronous."""

    def purge_step(self, cutoffs: Cutoffs, behind: Place) -> Step:
        """Purge what is over among the next rows, callbacks with their attempts, in a transaction of its own.

        Events go from the oldest on, up to the first that is not over, so that no gap comes between those that stay.
        """
        ...

    def forget_tokens(self, expired_before: int) -> int:
        """Forget uses of tokens that expired before (epoch ms), up to some number in one transaction. How many."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Retention:
    """Delivered callbacks are kept for `delivered_ms` after their end, dead and cancelled ones for `dead_ms`.

    Events are kept for `events_ms`.
    """

    store: RetentionStore
    clock: Clock
    delivered_ms: int
    dead_ms: int
    events_ms: int

    def step(self, behind: Place) -> Step:
        """Purge one step. Raises StoreError."""
        now_ms = self.clock.now_ms()
        cutoffs = Cutoffs(
            delivered_before=now_ms - self.delivered_ms,
            dead_before=now_ms - self.dead_ms,
            events_before=now_ms - self.events_ms,
        )
        return self.store.purge_step(cutoffs, behind)

    def forget_tokens(self) -> int:
        """Forget uses of tokens that nobody takes any more, a step of them. How many. Raises StoreError."""
        return self.store.forget_tokens(self.clock.now_ms() - _TOKENS_KEPT_MS)

    def purge(self, on_step: Callable[[Purged], None] = lambda _purged: None) -> Purged:
        """Purge all there is, telling the sum after every step. How much. Raises StoreError."""
        purged = Purged()
        behind: Place | None = CallbackPlace()
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
        purged = Purged()
        behind: Place | None = CallbackPlace()
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
        if purged != Purged():
            log.info("purged", extra={"callbacks": purged.callbacks, "events": purged.events})
        await asyncio.sleep(_PURGE_EVERY_S)
