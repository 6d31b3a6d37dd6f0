"""The least that posting costs: a bare aiohttp loop on uvloop, with no store, no signature and no judgement.

`python -m bench.bare N URL…` posts N bodies in turn to the URLs, 64 at a time, and prints its CPU seconds as JSON.
"""

import asyncio
import json
import resource
import sys
from collections.abc import Iterator, Sequence

import aiohttp
import uvloop

from rigs.backlog import body_of

_AT_A_TIME = 64


def _cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


async def _post_all(urls: Sequence[str], count: int) -> float:
    numbers = iter(range(count))
    headers = {"content-type": "application/json"}
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=_AT_A_TIME), headers=headers) as session:
        began_s = _cpu_s()
        await asyncio.gather(*(_post_some(session, urls, numbers) for _ in range(_AT_A_TIME)))
        return _cpu_s() - began_s


async def _post_some(session: aiohttp.ClientSession, urls: Sequence[str], numbers: Iterator[int]) -> None:
    for number in numbers:
        async with session.post(urls[number % len(urls)], data=body_of(number)) as answer:
            await answer.read()


if __name__ == "__main__":
    print(json.dumps({"cpu_s": uvloop.run(_post_all(sys.argv[2:], int(sys.argv[1])))}))
