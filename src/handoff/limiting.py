"""The part of the composition root about what a call may cost: budgets of calls, and tokens for a single use."""

import asyncio
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Final

from handoff.service.committer import Committer
from handoff.service.meter import Meter
from handoff.service.rates import Budgets, OwnBudgets
from handoff.service.used_tokens import TokenDesk, TokenRequest, UsedTokens
from handoff.settings import Settings, SettingsError
from handoff.store.engine import is_sqlite
from handoff.stores import open_used_tokens

if TYPE_CHECKING:
    from handoff.rates.shared import SharedBudgets

# A small statement, which the store itself bounds further.
_DEADLINE_S: Final = 10.0


@asynccontextmanager
async def checking_tokens(settings: Settings, writer: ThreadPoolExecutor, meter: Meter) -> AsyncIterator[UsedTokens]:
    """Tokens for a single use, recorded in batches: on SQLite in its one writer's thread, else in one of their own."""
    own = ThreadPoolExecutor(1, thread_name_prefix="tokens")
    executor = writer if is_sqlite(settings.database_url) else own
    store = open_used_tokens(settings)
    desk: Committer[TokenRequest, bool] = Committer(
        TokenDesk(store, meter).settle,
        executor=executor,
        queue_limit=settings.queue_limit,
        batch_limit=settings.batch_limit,
        patience_s=settings.patience_seconds,
        deadline_s=_DEADLINE_S,
        after_commit=lambda: None,
        abort=store.abort,
    )
    desk.start()
    try:
        yield UsedTokens(desk.submit)
    finally:
        await desk.stop()
        executor.submit(store.close).result()
        own.shutdown()


def require_rate_store(settings: Settings) -> None:
    """Raise SettingsError where the settings name a Redis and its package is not installed."""
    if settings.rate_limit_store is not None and find_spec("redis") is None:
        raise SettingsError("HANDOFF_RATE_LIMIT_STORE needs a package more: pip install 'handoff[redis]'")


@asynccontextmanager
async def limiting(settings: Settings, meter: Meter) -> AsyncIterator[Budgets | None]:
    """Budgets of calls, where the settings have a rate. Raises SettingsError."""
    require_rate_store(settings)
    rate, now_s = settings.rate, asyncio.get_running_loop().time
    if rate is None:
        yield None
    elif settings.rate_limit_store is None:
        yield OwnBudgets(rate, now_s)
    else:
        shared: type[SharedBudgets] = import_module("handoff.rates.shared").SharedBudgets
        budgets = shared(settings.rate_limit_store.get_secret_value(), rate, now_s, meter)
        try:
            yield budgets
        finally:
            await budgets.close()
