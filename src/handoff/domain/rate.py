"""How often an account may call: so many times in any span of a rate's period, counted call by call."""

import re
from collections import deque
from dataclasses import dataclass
from typing import Final, NamedTuple

_PERIODS_S: Final = {"second": 1, "minute": 60, "hour": 3_600, "day": 86_400}
# Each call that counts is remembered: some megabytes for an account that uses up a limit of this size.
_HIGHEST: Final = 100_000
_is_rate = re.compile(rf"(\d{{1,6}})/({'|'.join(_PERIODS_S)})", re.ASCII).fullmatch


@dataclass(frozen=True, slots=True)
class Rate:
    """At most `limit` calls in any `period`, which is one of second, minute, hour and day."""

    limit: int
    period: str

    @property
    def period_s(self) -> int:
        """The period in seconds."""
        return _PERIODS_S[self.period]


def parse_rate(text: str) -> Rate:
    """The rate that is written as `60/minute`. Raises ValueError."""
    found = _is_rate(text)
    if found is None or not 1 <= int(found[1]) <= _HIGHEST:
        raise ValueError(f"write 1 to {_HIGHEST}, a slash and one of {', '.join(_PERIODS_S)}, such as 60/minute")
    return Rate(int(found[1]), found[2])


class Quota(NamedTuple):
    """Whether a call may be made, and what is left of its budget.

    `remaining` calls may follow at once. In `reset_ms` milliseconds the oldest call that counts will count no more.
    `at_ms` is the moment that the call counts from, by the clock of the budget that it was taken from. `is_stand_in`
    tells that this was not the budget meant, which was out of reach.
    """

    is_granted: bool
    remaining: int
    reset_ms: int
    at_ms: int
    is_stand_in: bool = False


class Budget:
    """The calls of one account that still count, by the moment (ms of a clock that never goes back), oldest first."""

    __slots__ = ("_moments",)

    def __init__(self) -> None:
        self._moments: deque[int] = deque()

    def take(self, rate: Rate, now_ms: int) -> Quota:
        """Count a call that is made now, unless there are as many already as may be."""
        moments, period_ms = self._moments, rate.period_s * 1_000
        while moments and moments[0] <= now_ms - period_ms:
            moments.popleft()
        is_granted = len(moments) < rate.limit
        if is_granted:
            moments.append(now_ms)
        return Quota(is_granted, rate.limit - len(moments), moments[0] + period_ms - now_ms, now_ms)

    def give_back(self, at_ms: int) -> None:
        """Forget a call that was counted at that moment, if it counts still."""
        if at_ms in self._moments:
            self._moments.remove(at_ms)

    def is_idle(self, rate: Rate, now_ms: int) -> bool:
        """Whether no call counts any more."""
        return not self._moments or self._moments[-1] <= now_ms - rate.period_s * 1_000
