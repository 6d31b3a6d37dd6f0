"""Two API processes on one PostgreSQL database against one, each with 64 connections.

`python -m bench.pair` compares their CPU time for each call, which tells what they could do on cores of their own.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace

from bench import machine, report
from bench.load import generator
from bench.rounds import Ask, Series, measure, spread, warm_up
from bench.sides import Side, sides

_ASK = Ask(connections=64, count=8_000)


def rows(one: Series, two: Series) -> Iterator[Sequence[str]]:
    """Both, and what two come to: twice what their CPU time for a call allows, against once that of one."""
    for name, series in (("one", one), ("two", two)):
        yield (
            name,
            f"{series.rate():,.0f}",
            f"{series.median(lambda run: run.server_us):.0f}",
            f"{series.median(lambda run: run.store_us):.0f}",
            spread([2 * ratio for ratio in one.ratios(two, lambda run: run.server_us)]) if series is two else "1",
        )


def compare(stack: ExitStack, rounds: int) -> tuple[Series, Series]:
    """Runs of one process and of two, in turn, on stores of their own."""
    asking = stack.enter_context(generator())
    start = stack.enter_context(sides(machine.SERVER, {1: 2 * _ASK.count * rounds + 4_000}))
    asks: Mapping[int, Ask] = {1: _ASK, 2: replace(_ASK, connections=128, count=2 * _ASK.count)}
    found: dict[int, tuple[Side, Series]] = {
        count: (start.handoff("PostgreSQL", "off", processes=count, name=f"{count}"), Series()) for count in asks
    }
    for side, _ in found.values():
        warm_up(asking, side)
    for _ in range(rounds):
        for count, (side, series) in found.items():
            series.runs.append(measure(asking, side, asks[count]))
    return found[1][1], found[2][1]


def main() -> None:
    chosen = report.parser("pair").parse_args()
    told = report.Report(
        "pair",
        "Two API processes on PostgreSQL",
        "64 connections for each process, callbacks written. All share one core here, so calls/s say little; CPU "
        "time for each call says what two could do on cores of their own.",
    )
    with ExitStack() as stack:
        one, two = compare(stack, chosen.rounds)
    heads = ("processes", "calls/s", "CPU, µs", "of the database, µs", "times one, by CPU time")
    told.table(heads, rows(one, two))
    if chosen.keep:
        told.keep()


if __name__ == "__main__":
    main()
