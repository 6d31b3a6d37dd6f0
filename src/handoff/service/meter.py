"""What the service tells whoever measures it. Where nobody does, Unmeasured listens."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal, Protocol

from handoff.domain.retry import Attempt, DeadReason

# The parts of the service that have work in the store of their own; the store of the rates is another.
Part = Literal["transfers", "outbox", "feed", "tokens", "rates"]


class Meter(Protocol):
    """Counts and times what the service does, in seconds. Called from any thread, often: cheap, and never raising."""

    def answered(self, code: str, seconds: float) -> None:
        """An assignment call was answered, so long after it came: `transferred` or the refusal's code."""
        ...

    def committed(self, waits: Sequence[float], seconds: float) -> None:
        """A batch is done, well or not. `waits` tells how long each of its requests had waited when it began."""
        ...

    def cut_short(self) -> None:
        """A batch took too long and was broken off."""
        ...

    def claimed(self, seconds: float) -> None:
        """A dispatcher looked for what is due and leased it."""
        ...

    def attempted(self, attempt: Attempt) -> None:
        """A callback was posted, or it was tried."""
        ...

    def died(self, reason: DeadReason, count: int = 1) -> None:
        """So many callbacks will not be tried again."""
        ...

    def under_way(self, *, in_flight: int, open_lanes: int) -> None:
        """How many callbacks are being posted now, and how many lanes the breaker holds back."""
        ...

    def streaming(self, streams: int) -> None:
        """How many streams of events are open now."""
        ...

    def store_failed(self, part: Part) -> None:
        """The store did not do what this part asked of it."""
        ...


class Unmeasured:
    """A Meter that lets everything pass."""

    def answered(self, code: str, seconds: float) -> None:
        """Nothing."""

    def committed(self, waits: Sequence[float], seconds: float) -> None:
        """Nothing."""

    def cut_short(self) -> None:
        """Nothing."""

    def claimed(self, seconds: float) -> None:
        """Nothing."""

    def attempted(self, attempt: Attempt) -> None:
        """Nothing."""

    def died(self, reason: DeadReason, count: int = 1) -> None:
        """Nothing."""

    def under_way(self, *, in_flight: int, open_lanes: int) -> None:
        """Nothing."""

    def streaming(self, streams: int) -> None:
        """Nothing."""

    def store_failed(self, part: Part) -> None:
        """Nothing."""


UNMEASURED: Final[Meter] = Unmeasured()


@dataclass(frozen=True, slots=True, kw_only=True)
class OutboxDepth:
    """How many callbacks wait and how many are leased, and when the first that waits was due (epoch ms)."""

    pending: int
    sending: int
    oldest_due_at: int | None


class DepthStore(Protocol):
    """Where the outbox's depth is asked. Synchronous, from any thread."""

    def read(self) -> OutboxDepth:
        """The depth now. Raises StoreError."""
        ...
