"""Tokens that can be used once only. Of any number of simultaneous uses, in whatever processes, one counts.

A use is a row of its own, written before the call is served; those that wait are written in one transaction, as
transfers are.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from handoff.domain.claims import TokenUse
from handoff.service.committer import Overloaded
from handoff.service.meter import Meter
from handoff.service.ports import StoreError

log = logging.getLogger(__name__)

# The caller waits for its answer meanwhile, which is that the service cannot do its work just now.
_GIVE_BACK_S: Final = 1.0


@dataclass(frozen=True, slots=True)
class Spend:
    """A token is to be used."""

    use: TokenUse


@dataclass(frozen=True, slots=True)
class GiveBack:
    """A use is to be forgotten."""

    use: TokenUse


TokenRequest = Spend | GiveBack


class UsedTokenStore(Protocol):
    """Where uses are recorded. Synchronous: used from one thread."""

    def change(self, spent: Collection[TokenUse], given_back: Collection[TokenUse]) -> Collection[TokenUse]:
        """Forget some uses, then record others, in one transaction; those of them that are the first of their token.

        No two uses of `spent` are of one token. Raises StoreError, and then nothing was done or, where the connection
        went away in the commit, all of it.
        """
        ...

    def abort(self) -> None:
        """Make the open transaction fail soon: it has taken too long. Called from any thread."""
        ...

    def close(self) -> None:
        """Let go of the connection."""
        ...


class TokenDesk:
    """Settles batches of requests about tokens. Synchronous: it runs in the store's thread."""

    def __init__(self, store: UsedTokenStore, meter: Meter) -> None:
        self._store = store
        self._meter = meter

    def settle(self, requests: Sequence[TokenRequest]) -> Sequence[bool | StoreError]:
        """Whether each use is the first of its token; of a use that is given back, that this was done."""
        spent = {_token_of(one.use): one.use for one in reversed(requests) if isinstance(one, Spend)}
        given_back = [one.use for one in requests if isinstance(one, GiveBack)]
        try:
            first = {_token_of(use) for use in self._store.change(spent.values(), given_back)}
        except StoreError as error:
            self._meter.store_failed("tokens")
            return [error] * len(requests)
        return [isinstance(one, GiveBack) or _is_first(one.use, first) for one in requests]


def _token_of(use: TokenUse) -> tuple[str, str, str]:
    return use[:3]


def _is_first(use: TokenUse, first: set[tuple[str, str, str]]) -> bool:
    """Whether this is the one use of its token that counts: the first of the batch, if none was before it."""
    token = _token_of(use)
    if token not in first:
        return False
    first.remove(token)
    return True


class UsedTokens:
    """Tokens as the front door sees them. `submit` waits for the request's transaction."""

    def __init__(self, submit: Callable[[TokenRequest], Awaitable[bool]]) -> None:
        self._submit = submit

    async def spend(self, use: TokenUse) -> bool:
        """Use the token up; whether it had not been used before. Raises StoreError and Overloaded."""
        return await self._submit(Spend(use))

    async def give_back(self, use: TokenUse) -> None:
        """Let the token be used once more, if the store can be had for it within a second."""
        try:
            async with asyncio.timeout(_GIVE_BACK_S):
                await self._submit(GiveBack(use))
        except (StoreError, Overloaded, TimeoutError) as error:
            log.debug("token not given back", extra={"reason": str(error)})
