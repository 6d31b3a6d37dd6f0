"""What a call is let in for: a unit of its account's budget, and its token where that can be used only once.

`RateLimit` and `RateLimit-Policy` are those of draft-ietf-httpapi-ratelimit-headers-11, an Internet-Draft.
"""

from collections.abc import MutableMapping
from typing import Any, Final

from handoff.api.problems import Refuse
from handoff.domain.claims import TokenUse
from handoff.domain.rate import Quota
from handoff.domain.refusals import Refusal
from handoff.service.rates import Budgets
from handoff.service.used_tokens import UsedTokens

# An account's two budgets: reading lists takes nothing from what is there for transfers.
TRANSFERS: Final = "transfers"
OTHERS: Final = "others"

_UNAVAILABLE: Final = 503
_REPLAYED: Final = "error verifying the jwt: possibly a replay"


class Admission:
    """One call's way in, and what it gives back on its way out."""

    __slots__ = ("_budget", "_budgets", "_name", "_quota", "_use", "_used_tokens", "is_repeat")

    def __init__(self, budget: str, account_id: str, budgets: Budgets | None, used_tokens: UsedTokens) -> None:
        self._budget = budget
        self._name = f"{budget}:{account_id}"
        self._budgets = budgets
        self._used_tokens = used_tokens
        self._quota: Quota | None = None
        self._use: TokenUse | None = None
        self.is_repeat = False

    async def enter(self, use: TokenUse | None) -> None:
        """Take a unit of the budget, then use the token up. Raises Refuse, StoreError and Overloaded.

        In this order, so that a call that comes too soon can be repeated with its token.
        """
        if self._budgets is not None:
            self._quota = await self._budgets.take(self._name)
            if not self._quota.is_granted:
                raise Refuse(Refusal.RATE_LIMITED, _exceeded(self._budgets.rate.period))
        if use is not None:
            if not await self._used_tokens.spend(use):
                self.is_repeat = True  # whoever got hold of a used token uses up nobody's budget
                raise Refuse(Refusal.TOKEN_REPLAYED, _REPLAYED)
            self._use = use

    async def leave(self, answer: MutableMapping[str, Any]) -> None:
        """Before the answer's head is sent: give back what the call is not to cost, and tell what is left.

        A repeat costs nothing, and neither does a call that the service could not take, which leaves its token good.
        """
        is_unavailable = answer["status"] == _UNAVAILABLE
        if is_unavailable and self._use is not None:
            await self._used_tokens.give_back(self._use)
        if self._budgets is None or self._quota is None:
            return
        if (is_unavailable or self.is_repeat) and self._quota.is_granted:
            await self._budgets.give_back(self._name, self._quota)
            self._quota = self._quota._replace(remaining=self._quota.remaining + 1)
        answer["headers"] = [*answer["headers"], *self._headers(self._budgets, self._quota)]

    def _headers(self, budgets: Budgets, quota: Quota) -> list[tuple[bytes, bytes]]:
        wait_s = -(-quota.reset_ms // 1_000)
        rate = budgets.rate
        headers = [
            (b"ratelimit-policy", f'"{self._budget}";q={rate.limit};w={rate.period_s}'.encode()),
            (b"ratelimit", f'"{self._budget}";r={quota.remaining};t={wait_s}'.encode()),
        ]
        if not quota.is_granted:
            headers.append((b"retry-after", str(wait_s).encode()))
        return headers


def _exceeded(period: str) -> str:
    """The vendor's documented sentence, where the period is a minute."""
    return f"You've exceeded the per-{period} rate limit. Please wait for sometime before retrying."
