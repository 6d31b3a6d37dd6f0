"""Callbacks as callers and operators see them, and what they may do: look, send again, cancel.

CallbackRefusal
├── CallbackNotFound    there is no such callback here
├── CallbackInFlight    a dispatcher has it just now
└── CallbackEnded       it was delivered or is dead, so there is nothing to cancel
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final, Protocol

from handoff.domain.ids import is_id
from handoff.domain.retry import LIFETIME_MS
from handoff.service.ports import Clock
from handoff.service.scope import Scope

# The most rows of one page, and of one step of a redelivery.
MAX_PAGE: Final = 1_000
# The host of a filter: a name, an IPv4 address, or an IPv6 address in brackets; with its port or without.
HOST_PATTERN: Final = r"([A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(:[0-9]{1,5})?"


class CallbackState(StrEnum):
    """Where a callback stands."""

    PENDING = "pending"
    SENDING = "sending"
    DELIVERED = "delivered"
    DEAD = "dead"
    CANCELLED = "cancelled"


class CallbackRefusal(Exception):  # noqa: N818 (a refusal)
    """What was asked cannot be done to callback {callback_id}."""

    def __init__(self, sentence: str) -> None:
        super().__init__(sentence)
        self.sentence = sentence


class CallbackNotFound(CallbackRefusal):
    """There is no such callback, or it is another's: one answer."""


class CallbackInFlight(CallbackRefusal):
    """A dispatcher has leased it: what becomes of it is known when the attempt ends."""


class CallbackEnded(CallbackRefusal):
    """It is delivered or dead: there is nothing to cancel."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CallbackFilter:
    """Which of them: in this state, for this host (`name` or `name:port`), recorded at or after `since` (epoch ms)."""

    state: CallbackState | None = None
    host: str | None = None
    since: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredCallback:
    """A callback as it stands. Times are epoch milliseconds; `completed_at` is that of its transfer.

    `attempts` counts those of the present budget. `body` is the message, byte for byte.
    """

    account_id: str
    callback_id: str
    transfer_id: str
    session_id: str
    stream_id: str
    app_id: str
    url: str
    body: bytes
    state: CallbackState
    completed_at: int
    due_at: int
    expires_at: int
    attempts: int
    last_status: int | None
    last_error: str | None
    dead_reason: str | None
    ended_at: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredAttempt:
    """One attempt that was made: when (epoch ms), how long it took (ms), and how it ended.

    `excerpt` is the beginning of the answer, kept of public addresses only.
    """

    started_at: int
    duration_ms: int
    status: int | None
    error: str | None
    detail: str | None
    remote_address: str | None
    excerpt: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class CallbackPage:
    """Callbacks, the newest first. `next_before` is where the next page begins; None: this was the last.

    A page may be short, or empty, and not the last: a search stops after so many rows.
    """

    callbacks: Sequence[StoredCallback]
    next_before: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Redelivered:
    """How many callbacks of one step will be sent again, the last of them at `last_due_at`, and where to go on."""

    count: int
    last_due_at: int
    next_before: str | None


class CallbackStore(Protocol):
    """Where callbacks are looked up and set going again. Synchronous, from any thread."""

    def accounts(self) -> Sequence[str]:
        """Every account that has callbacks."""
        ...

    def find(self, scope: Scope, wanted: CallbackFilter, *, before: str | None, limit: int) -> CallbackPage:
        """A page of callbacks whose ids come before `before`."""
        ...

    def get(self, scope: Scope, callback_id: str) -> StoredCallback | None:
        """The callback, if it is there and in scope."""
        ...

    def of_transfer(self, scope: Scope, transfer_id: str, *, limit: int) -> Sequence[StoredCallback]:
        """The transfer's callback, and its copies for other URLs; the first `limit` of them."""
        ...

    def attempts(self, account_id: str, callback_id: str) -> Sequence[StoredAttempt]:
        """The attempts made, the first one first."""
        ...

    def renew(self, account_id: str, due: Mapping[str, int], *, state: CallbackState | None, lifetime_ms: int) -> int:
        """Make these callbacks pending, each due at its time and with a fresh budget; how many.

        Those that are being sent, or no longer in `state` where that is given, are left alone.
        """
        ...

    def cancel(self, account_id: str, callback_id: str, *, now_ms: int) -> bool:
        """Cancel the callback if it is pending; whether it was."""
        ...

    def close(self) -> None:
        """Let go of the connections."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Callbacks:
    """The use cases. `wake` is called when something has become due."""

    store: CallbackStore
    clock: Clock
    wake: Callable[[], object] = field(default=lambda: None)

    def get(self, scope: Scope, callback_id: str) -> StoredCallback:
        """The callback. Raises CallbackNotFound and StoreError, as do all of these."""
        found = self.store.get(scope, callback_id) if is_id(callback_id) else None
        if found is None:
            raise CallbackNotFound(f"There is no callback {callback_id}.")
        return found

    def redeliver(self, scope: Scope, callback_id: str) -> StoredCallback:
        """Send the callback again, whatever became of it: now, under the same id, with a fresh budget.

        Raises CallbackInFlight while it is being sent.
        """
        callback = self.get(scope, callback_id)
        due = {callback_id: self.clock.now_ms()}
        if not self.store.renew(callback.account_id, due, state=None, lifetime_ms=LIFETIME_MS):
            raise CallbackInFlight(f"Callback {callback_id} is being sent: ask again when its attempt has ended.")
        self.wake()
        return self.get(scope, callback_id)

    def redeliver_page(
        self, scope: Scope, wanted: CallbackFilter, *, per_second: float, before: str | None, not_before: int
    ) -> Redelivered:
        """Send a page of callbacks again, spread out over time, `per_second` of them.

        `not_before` (epoch ms) is the `last_due_at` of the page before, so that pages follow each other in time.
        """
        page = self.store.find(scope, wanted, before=before, limit=MAX_PAGE)
        step_ms = 1_000 / per_second
        begin = max(self.clock.now_ms(), not_before)
        due = {one.callback_id: begin + int(place * step_ms) for place, one in enumerate(page.callbacks, start=1)}
        count = self.store.renew(scope.account_id, due, state=wanted.state, lifetime_ms=LIFETIME_MS) if due else 0
        if count:
            self.wake()
        return Redelivered(count=count, last_due_at=max(due.values(), default=not_before), next_before=page.next_before)

    def cancel(self, scope: Scope, callback_id: str) -> StoredCallback:
        """Never send the callback again. Raises CallbackInFlight and CallbackEnded; again, it changes nothing."""
        callback = self.get(scope, callback_id)
        if not self.store.cancel(callback.account_id, callback_id, now_ms=self.clock.now_ms()):
            callback = self.get(scope, callback_id)
            if callback.state is CallbackState.SENDING:
                raise CallbackInFlight(f"Callback {callback_id} is being sent: ask again when its attempt has ended.")
            if callback.state is not CallbackState.CANCELLED:
                raise CallbackEnded(f"Callback {callback_id} is {callback.state.value}: there is nothing to cancel.")
        return self.get(scope, callback_id)
