"""Budgets of calls: where each account's calls are counted against the rate that the operator set."""

from collections.abc import Callable
from typing import Protocol

from handoff.domain.rate import Budget, Quota, Rate


class Budgets(Protocol):
    """One budget for each name. Never raises for a place of counting that is out of reach."""

    @property
    def rate(self) -> Rate:
        """The rate of every budget."""
        ...

    async def take(self, name: str) -> Quota:
        """Count a call against the budget, unless it is used up."""
        ...

    async def give_back(self, name: str, quota: Quota) -> None:
        """Make a call that was counted as if it had not been made."""
        ...


class OwnBudgets:
    """Budgets that this process counts by itself. Used from the event loop; `now_s` is a clock that never goes back."""

    def __init__(self, rate: Rate, now_s: Callable[[], float]) -> None:
        self._rate = rate
        self._now_s = now_s
        self._budgets: dict[str, Budget] = {}
        self._sweep_at_ms = 0

    @property
    def rate(self) -> Rate:
        """The rate of every budget."""
        return self._rate

    async def take(self, name: str) -> Quota:
        """See Budgets."""
        now_ms = int(self._now_s() * 1_000)
        if now_ms >= self._sweep_at_ms:
            self._sweep(now_ms)
        budget = self._budgets.get(name)
        if budget is None:
            budget = self._budgets[name] = Budget()
        return budget.take(self._rate, now_ms)

    async def give_back(self, name: str, quota: Quota) -> None:
        """See Budgets."""
        budget = self._budgets.get(name)
        if budget is not None and quota.is_granted:
            budget.give_back(quota.at_ms)

    def __len__(self) -> int:
        """How many budgets are remembered."""
        return len(self._budgets)

    def _sweep(self, now_ms: int) -> None:
        """Once in a period, forget accounts that call no more."""
        self._budgets = {
            name: budget for name, budget in self._budgets.items() if not budget.is_idle(self._rate, now_ms)
        }
        self._sweep_at_ms = now_ms + self._rate.period_s * 1_000
