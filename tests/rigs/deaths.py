"""Processes that are killed again and again: at named points of their work, and at random."""

import asyncio
import random
import signal
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from rigs.service import Service

# Where a process may die, and at which passage of the point at the latest: within a second under load.
POINTS: Final[Mapping[str, Mapping[str, int]]] = {
    "serve": {
        "before_begin": 12,
        "after_begin": 12,
        "before_write": 12,
        "after_write": 12,
        "before_commit": 12,
        "after_commit": 12,
        "before_answer": 16,
        "after_answer": 16,
    },
    "dispatch": {
        "before_claim": 8,
        "after_claim": 8,
        "before_post": 20,
        "after_post": 20,
        "before_record": 8,
        "after_record": 8,
    },
}

# From a process's start to a death at random: some die before they serve, most while they do.
_RANDOM_DEATH_S: Final = (0.8, 3.0)
# Longer than any process takes to come to its point, on a machine that has much else to do.
_PATIENCE_S: Final = 120.0


@dataclass(frozen=True, slots=True)
class Death:
    """At this passage of a point; with no point from outside, `after_s` seconds from the process's start."""

    point: str | None
    passage: int = 0
    after_s: float = 0.0

    def __str__(self) -> str:
        return self.point or "random"


def deaths(part: str, points: Sequence[str], at_random: int, chance: random.Random) -> list[Death]:
    """One at each of these points, and some at random, in any order."""
    named = [Death(point, passage=chance.randint(1, POINTS[part][point])) for point in points]
    drawn = named + [Death(None, after_s=chance.uniform(*_RANDOM_DEATH_S)) for _ in range(at_random)]
    chance.shuffle(drawn)
    return drawn


async def die(service: Service, part: str, those: Sequence[Death], *, is_back: bool = False) -> None:
    """Start the process anew for each of the deaths, by which it must end; and once more for good if it `is_back`."""
    for death in those:
        if death.point is None:
            service.launch(("handoff", part))
            await asyncio.sleep(death.after_s)
            service.kill()
            continue
        service.launch(("programs.dies_at", death.point, str(death.passage), part))
        ended = await asyncio.to_thread(service.wait, _PATIENCE_S)
        assert ended == -signal.SIGKILL, f"{death}: {ended}\n{service.log.read_text()[-2_000:]}"
    if is_back:
        await asyncio.to_thread(service.start)
