"""Budgets that several processes count together, in Redis. Loaded only where the settings name one.

Each budget is a list of the moments of the calls that still count, by the server's own clock. Those that lie more than
a period ahead were counted before that clock was set back, and count no more.
"""

import logging
from collections.abc import Callable
from typing import Final

from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError, RedisError  # noqa: A004 (its own)

from handoff.domain.rate import Quota, Rate
from handoff.service.meter import Meter
from handoff.service.rates import OwnBudgets

log = logging.getLogger(__name__)

# A healthy server answers in less than a millisecond. What is left is for a burst to find its connections.
_WAIT_S: Final = 1.0
# How often one call asks after a server that is away, while the others go by.
_RETRY_S: Final = 1.0
_CONNECTIONS: Final = 8

_TAKE: Final = """
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local limit, period = tonumber(ARGV[1]), tonumber(ARGV[2])
local newest = redis.call('LINDEX', KEYS[1], 0)
while newest and tonumber(newest) > now + period do
    redis.call('LPOP', KEYS[1])
    newest = redis.call('LINDEX', KEYS[1], 0)
end
local oldest = redis.call('LINDEX', KEYS[1], -1)
while oldest and tonumber(oldest) <= now - period do
    redis.call('RPOP', KEYS[1])
    oldest = redis.call('LINDEX', KEYS[1], -1)
end
local counted = redis.call('LLEN', KEYS[1])
if counted >= limit then
    return {0, 0, tonumber(oldest) + period - now, now}
end
redis.call('LPUSH', KEYS[1], string.format('%.0f', now))
redis.call('PEXPIRE', KEYS[1], period)
return {1, limit - counted - 1, tonumber(oldest or now) + period - now, now}
"""


class SharedBudgets:
    """See `handoff.service.rates.Budgets`. While Redis is away, this process counts by itself.

    One call a second then finds out whether it is back; the others do not wait for it.
    """

    def __init__(self, url: str, rate: Rate, now_s: Callable[[], float], meter: Meter) -> None:
        self._stand_in = OwnBudgets(rate, now_s)
        self._now_s = now_s
        self._meter = meter
        self._ask_at_s: float | None = None  # while Redis is away: when to ask after it next
        self._told_at_s = -_RETRY_S
        pool = BlockingConnectionPool.from_url(
            url,
            max_connections=_CONNECTIONS,
            timeout=_WAIT_S,
            socket_timeout=_WAIT_S,
            socket_connect_timeout=_WAIT_S,
            # A connection that the server has closed meanwhile is no sign that it is away.
            retry=Retry(NoBackoff(), 1, supported_errors=(ConnectionError,)),
        )
        self._redis = Redis.from_pool(pool)
        self._take = self._redis.register_script(_TAKE)

    @property
    def rate(self) -> Rate:
        """The rate of every budget."""
        return self._stand_in.rate

    async def take(self, name: str) -> Quota:
        """See Budgets."""
        if self._may_ask():
            try:
                quota = await self._take_shared(name)
            except (RedisError, OSError) as error:
                self._note(error)
            else:
                self._ask_at_s = None
                return quota
        return (await self._stand_in.take(name))._replace(is_stand_in=True)

    def _may_ask(self) -> bool:
        if self._ask_at_s is None:
            return True
        now_s = self._now_s()
        if now_s < self._ask_at_s:
            return False
        self._ask_at_s = now_s + _RETRY_S
        return True

    async def _take_shared(self, name: str) -> Quota:
        args = [self.rate.limit, self.rate.period_s * 1_000]
        is_granted, remaining, reset_ms, at_ms = await self._take(keys=[_key(name)], args=args)
        return Quota(bool(is_granted), remaining, reset_ms, at_ms)

    async def give_back(self, name: str, quota: Quota) -> None:
        """See Budgets."""
        if quota.is_stand_in:
            await self._stand_in.give_back(name, quota)
        elif quota.is_granted and self._ask_at_s is None:
            try:
                await self._redis.lrem(_key(name), 1, str(quota.at_ms))
            except (RedisError, OSError) as error:
                self._note(error)

    async def close(self) -> None:
        """Let go of the connections."""
        await self._redis.aclose()

    def _note(self, error: Exception) -> None:
        """Tell of it, once a second, and leave Redis alone for a while."""
        self._meter.store_failed("rates")
        now_s = self._now_s()
        if now_s >= self._told_at_s + _RETRY_S:
            self._told_at_s = now_s
            log.warning("rate limit counted by this process alone", extra={"reason": str(error)})
        self._ask_at_s = now_s + _RETRY_S


def _key(name: str) -> str:
    return f"handoff:rate:{name}"
