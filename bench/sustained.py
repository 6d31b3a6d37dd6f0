"""Calls with every callback delivered, end to end: from the first call to the last callback, all on two cores.

`python -m bench.sustained` interleaves Handoff and the naive peers that post callbacks. See docs/benchmarks.md.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack

from bench import machine, report
from bench.load import generator
from bench.rounds import Ask, Measured, Series, interleave, spread
from bench.sides import sides

_ASK = Ask(connections=64, count=10_000, seconds=10)
_WARM_UPS = 2_000


def _delivered(one: Measured) -> float:
    """Calls a second, counted up to the last callback."""
    assert one.outcome.delivered_s is not None
    return one.outcome.count / one.outcome.delivered_s


def rows(by_side: Mapping[str, Series], peers: Sequence[str]) -> Iterator[Sequence[str]]:
    """A row for each side, with how many times each peer it is."""
    for name, series in by_side.items():
        times = [spread(series.ratios(by_side[peer], _delivered), ".1f") for peer in peers]
        yield (
            name,
            f"{series.rate():,.0f}",
            f"{series.median(_delivered):,.0f}",
            *times,
            f"{series.median(lambda one: one.server_us):.0f}",
            f"{series.median(lambda one: one.store_us):.0f}",
        )


def main() -> None:
    chosen = report.parser("sustained").parse_args()
    told = report.Report(
        "sustained",
        "Sustained, with every callback delivered",
        "64 connections; the clock stops when the last callback has come. Here every process may use both cores, "
        "the load generator and the receiver too.",
    )
    with ExitStack() as stack:
        asking = stack.enter_context(generator(machine.BOTH))
        start = stack.enter_context(sides(machine.BOTH, {1: _ASK.count * chosen.rounds + _WARM_UPS}))
        peers = [start.naive("each"), start.naive("shared")]
        ours = [
            start.handoff("SQLite", "inline"),
            start.handoff("PostgreSQL", "inline"),
            start.handoff("PostgreSQL", "apart"),
        ]
        (by_side,) = interleave(asking, [*peers, *ours], {"all": _ASK}, chosen.rounds).values()
    names = [peer.name for peer in peers]
    heads = (
        "side",
        "answered/s",
        "delivered/s",
        *(f"times the {name}" for name in names),
        "CPU, µs",
        "of database, µs",
    )
    told.table(heads, rows(by_side, names))
    if chosen.keep:
        told.keep()


if __name__ == "__main__":
    main()
