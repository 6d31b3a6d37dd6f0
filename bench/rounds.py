"""Sides in turn, round after round; medians, their ranges, and ratios within each round."""

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from bench import machine
from bench.load import Generator, Load, Outcome
from bench.sides import Side
from bench.world import ACCOUNTS, Calls, Tokens

_PAUSE_S = 0.2


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """What a side is asked: so many calls over so many connections, for `seconds` at most.

    Where `is_fresh`, the sessions are still with the bot; else they are those of the warm-up, and another agent than
    the one who has them is named. `status` is what all must be answered.
    """

    connections: int
    count: int
    seconds: float = 5.0
    tokens: Tokens = "one"
    is_fresh: bool = True
    status: str = "200"


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """One run: what the generator saw, and the CPU seconds of the side and of its database."""

    outcome: Outcome
    cpu_s: float
    store_cpu_s: float

    @property
    def server_us(self) -> float:
        """CPU microseconds of the side for each answer."""
        return self.cpu_s / self.outcome.count * 1e6

    @property
    def store_us(self) -> float:
        """CPU microseconds of its database for each answer."""
        return self.store_cpu_s / self.outcome.count * 1e6


@dataclass(slots=True)
class Series:
    """The runs of one side that were asked the same, by round."""

    runs: list[Measured] = field(default_factory=list)

    def rate(self) -> float:
        """Answers a second."""
        return self.median(lambda one: one.outcome.rate)

    def median(self, figure: Callable[[Measured], float]) -> float:
        """The median of a figure."""
        return statistics.median(map(figure, self.runs))

    def ratios(self, base: "Series", figure: Callable[[Measured], float]) -> list[float]:
        """The figure against the base's of the same round."""
        return [figure(one) / figure(other) for one, other in zip(self.runs, base.runs, strict=True)]


def warm_up(generator: Generator, side: Side) -> None:
    """Let the side assign the sessions that the refused calls are for."""
    measure(generator, side, Ask(connections=64, count=side.warm_up, seconds=60))


def measure(generator: Generator, side: Side, ask: Ask) -> Measured:
    """Run it once. Raises AssertionError where the side answers anything but what it should."""
    accounts = ACCOUNTS if ask.tokens in {"many", "each"} else 1
    calls = Calls(
        first=side.take(ask.count, accounts) if ask.is_fresh else side.first_session,
        count=ask.count,
        accounts=accounts,
        tokens=ask.tokens,
        callback_url=generator.callback_url,
        shift=0 if ask.is_fresh else 1,
        cycle=ask.count if ask.is_fresh else side.warm_up,
    )
    load = Load(
        ports=side.ports,
        connections=ask.connections,
        calls=calls,
        seconds=ask.seconds,
        has_callbacks=side.has_callbacks and ask.status == "200",
    )
    cpu_before, store_before = machine.cpu_s(side.pids), machine.cpu_s(side.store_pids)
    outcome = generator.run(load)
    cpu_s, store_cpu_s = machine.cpu_s(side.pids) - cpu_before, machine.cpu_s(side.store_pids) - store_before
    assert set(outcome.statuses) == {ask.status}, f"{side.name} answered {outcome.statuses}, not {ask.status}"
    time.sleep(_PAUSE_S)
    return Measured(outcome=outcome, cpu_s=cpu_s, store_cpu_s=store_cpu_s)


def interleave(
    generator: Generator, sides: Sequence[Side], asks: Mapping[str, Ask], rounds: int
) -> dict[str, dict[str, Series]]:
    """Ask every side everything, `rounds` times over: the runs by the name of what was asked, and by side."""
    for side in sides:
        warm_up(generator, side)
    found = {name: {side.name: Series() for side in sides} for name in asks}
    for _ in range(rounds):
        for name, ask in asks.items():
            for side in sides:
                found[name][side.name].runs.append(measure(generator, side, ask))
    return found


def spread(figures: Sequence[float], form: str = ".2f") -> str:
    """The median, and in brackets the least and the most."""
    return f"{statistics.median(figures):{form}} ({min(figures):{form}} to {max(figures):{form}})"
