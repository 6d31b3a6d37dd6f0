"""An old store against an empty one: 1,000,000 sessions with 5,000,000 transfers and events behind them.

`python -m bench.growth` needs some 6 GB for each store, and a few minutes to fill it. See docs/benchmarks.md.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack

from bench import fill, machine, report
from bench.load import generator
from bench.rounds import Ask, Series, interleave, spread
from bench.sides import Side, Sides, Store, sides

_ASK = Ask(connections=64, count=8_000)


def pair(start: Sides, kind: Store, past: int) -> tuple[Side, Side]:
    """A side with an empty store, and one with so many sessions in the past."""
    url = start.store(kind, past=past)
    return (
        start.handoff(kind, "off", name=f"{kind}, empty"),
        start.handoff(kind, "off", url=url, name=f"{kind}, old", first_session=past),
    )


def rows(by_side: Mapping[str, Series]) -> Iterator[Sequence[str]]:
    """Each old store against the empty one of its kind."""
    for name, series in by_side.items():
        base = by_side[name.replace(", old", ", empty")]
        yield (
            name,
            f"{series.rate():,.0f}",
            spread(series.ratios(base, lambda one: one.outcome.rate)),
            f"{series.median(lambda one: one.outcome.p99_ms):.2f}",
            f"{series.median(lambda one: one.server_us):.0f}",
            f"{series.median(lambda one: one.store_us):.0f}",
        )


def main() -> None:
    options = report.parser("growth")
    options.add_argument("--sessions", type=int, default=1_000_000)
    options.add_argument("--stores", nargs="+", choices=("SQLite", "PostgreSQL"), default=("SQLite", "PostgreSQL"))
    chosen = options.parse_args()
    told = report.Report(
        "growth",
        "Growth",
        f"Empty stores against stores with {chosen.sessions:,} closed sessions, {chosen.sessions * fill.MOVES:,} "
        "transfers and as many events; 64 connections, callbacks written, the server on one core.",
    )
    fresh = _ASK.count * chosen.rounds + 4_000
    heads = ("store", "calls/s", "of the empty one's", "p99, ms", "CPU of the side, µs", "of its database, µs")
    found: dict[str, Series] = {}
    for kind in chosen.stores:
        with ExitStack() as stack:
            asking = stack.enter_context(generator())
            both = pair(stack.enter_context(sides(machine.SERVER, {1: fresh})), kind, chosen.sessions)
            found |= interleave(asking, both, {"all": _ASK}, chosen.rounds)["all"]
    told.table(heads, rows(found))
    if chosen.keep:
        told.keep()


if __name__ == "__main__":
    main()
