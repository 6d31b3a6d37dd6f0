"""Giving a use back never makes a call fail, and never holds it up for long."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable

import pytest

from handoff.domain.claims import TokenUse
from handoff.service.committer import Overloaded
from handoff.service.ports import StoreUnavailable
from handoff.service.used_tokens import GiveBack, Spend, TokenRequest, UsedTokens

USE = TokenUse("acc-1", "cs-1", "0" * 64, 1)


def failing(error: Exception) -> Callable[[TokenRequest], Awaitable[bool]]:
    async def submit(_request: TokenRequest) -> bool:
        raise error

    return submit


@pytest.mark.anyio
async def test_a_use_is_asked_for_and_given_back_as_it_is() -> None:
    asked: list[TokenRequest] = []

    async def submit(request: TokenRequest) -> bool:
        asked.append(request)
        return False

    tokens = UsedTokens(submit)
    is_first = await tokens.spend(USE)
    await tokens.give_back(USE)

    assert not is_first
    assert asked == [Spend(USE), GiveBack(USE)]


@pytest.mark.anyio
async def test_why_a_use_was_not_given_back_can_be_read_where_one_looks_closely(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with caplog.at_level(logging.DEBUG):
        await UsedTokens(failing(StoreUnavailable("away"))).give_back(USE)

    told = [(record.message, vars(record)["reason"]) for record in caplog.records if record.name.startswith("handoff")]
    assert told == [("token not given back", "away")]


@pytest.mark.anyio
@pytest.mark.parametrize("error", [StoreUnavailable("away"), Overloaded("full")], ids=["away", "full"])
async def test_a_use_that_cannot_be_given_back_is_no_fault(error: Exception) -> None:
    tokens = UsedTokens(failing(error))

    await tokens.give_back(USE)

    with pytest.raises(type(error)):
        await tokens.spend(USE)


@pytest.mark.anyio
async def test_giving_back_is_waited_for_a_second_at_most() -> None:
    async def never(_request: TokenRequest) -> bool:
        await asyncio.sleep(60)
        return True

    began = time.monotonic()
    await UsedTokens(never).give_back(USE)

    assert 0.9 < time.monotonic() - began < 5
