"""What `handoff doctor` finds out: which invariant the stored rows break, and where."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Violation:
    """A row that breaks an invariant: I1 to I6 of `docs/architecture.md`, or that the feed has no gap.

    Or an app with secrets amiss. `subject` names it: account and id; in the feed, its oldest position.
    """

    invariant: str
    subject: str
    detail: str


class Audit(Protocol):
    """Looks at the store as of one moment. Synchronous."""

    def violations(self) -> Sequence[Violation]:
        """Every violation there is, by invariant."""
        ...

    def repair_counters(self) -> int:
        """Set every agent's `active_sessions` to the sessions it holds; how many were wrong."""
        ...
