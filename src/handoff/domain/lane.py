"""How much of one receiver's traffic may be under way: a pure function of how its attempts end.

A lane is an origin, `scheme://host:port`. Its cap grows by addition while it answers and shrinks by half when it
cannot keep up (AIMD); a breaker holds everything back from a lane that is not reached at all.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

from handoff.domain.retry import Attempt, ErrorClass

MIN_CAP: Final = 8
MAX_CAP: Final = 64
# A lane begins low: an origin that nobody has heard of may be a black hole.
_FIRST_CAP: Final = 16
# Four answers in good order for one more at a time: from the first cap to the last in two hundred.
_GROWTH: Final = 0.25
_SHRINK: Final = 0.5

# Transport errors in a row that open the breaker: a restart makes a few, a receiver that is gone makes no others.
_ERRORS_TO_OPEN: Final = 5
_FIRST_OPEN_MS: Final = 2_000
_LONGEST_OPEN_MS: Final = 60_000
# Tenants share hosts, so one tenant's Retry-After may hold all of them back for this long at most.
_LONGEST_COOLING_MS: Final = 60_000
# A lane that seems blocked for longer than any is, was blocked before the clock was set back.
_LONGEST_BLOCK_MS: Final = max(_LONGEST_OPEN_MS, _LONGEST_COOLING_MS)

_BUSY: Final = frozenset({429, 503})
_TRANSPORT: Final = frozenset(ErrorClass) - {ErrorClass.ADDRESS}


@dataclass(frozen=True, slots=True, kw_only=True)
class Lane:
    """What is known of one origin.

    `cap` is how many attempts may be under way; `errors` counts transport errors in a row, `openings` how often the
    breaker opened since the lane last answered. Nothing is claimed before `blocked_until` (epoch milliseconds).
    """

    cap: float = _FIRST_CAP
    errors: int = 0
    openings: int = 0
    blocked_until: int = 0
    has_answered: bool = False

    def is_open(self, now_ms: int) -> bool:
        """Whether the breaker holds everything back."""
        return self.openings > 0 and self._is_blocked(now_ms)

    def room(self, in_flight: int, now_ms: int) -> int:
        """How many more attempts may begin. After the breaker was open it is one, the probe."""
        if self._is_blocked(now_ms):
            return 0
        cap = 1 if self.openings else int(self.cap)
        return max(0, cap - in_flight)

    def _is_blocked(self, now_ms: int) -> bool:
        return now_ms < self.blocked_until <= now_ms + _LONGEST_BLOCK_MS

    def after(self, attempt: Attempt, now_ms: int) -> "Lane":
        """The lane as this attempt leaves it."""
        if attempt.error in _TRANSPORT:
            return self._after_error(now_ms)
        if attempt.error is not None:
            return self
        cooling = min(attempt.retry_after_ms or 0, _LONGEST_COOLING_MS)
        return replace(
            self,
            cap=self._next_cap(attempt),
            errors=0,
            openings=0,
            blocked_until=now_ms + cooling if cooling else 0,
            has_answered=True,
        )

    def _next_cap(self, attempt: Attempt) -> float:
        if attempt.status in _BUSY:
            return max(MIN_CAP, self.cap * _SHRINK)
        return min(MAX_CAP, self.cap + _GROWTH) if attempt.succeeded else self.cap

    def _after_error(self, now_ms: int) -> "Lane":
        errors = self.errors + 1
        cap = max(MIN_CAP, self.cap * _SHRINK)
        if self.is_open(now_ms) or (errors < _ERRORS_TO_OPEN and not self.openings):
            return replace(self, cap=cap, errors=errors, has_answered=False)
        pause = min(_FIRST_OPEN_MS << min(self.openings, 10), _LONGEST_OPEN_MS)
        return replace(
            self,
            cap=cap,
            errors=errors,
            openings=self.openings + 1,
            blocked_until=now_ms + pause,
            has_answered=False,
        )


def share(slots: int, rooms: Mapping[str, int]) -> dict[str, int]:
    """Divide `slots` among lanes as evenly as their rooms allow (max-min fair); what one cannot use others get.

    Lanes come in the mapping's order when there are fewer slots than lanes; those that get nothing are left out.
    """
    shares = dict.fromkeys((lane for lane, room in rooms.items() if room > 0), 0)
    hungry = list(shares)
    while slots > 0 and hungry:
        portion = max(1, slots // len(hungry))
        for lane in hungry:
            given = min(portion, rooms[lane] - shares[lane], slots)
            shares[lane] += given
            slots -= given
        hungry = [lane for lane in hungry if shares[lane] < rooms[lane]]
    return {lane: given for lane, given in shares.items() if given}
