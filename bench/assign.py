"""The call itself: what it costs against the bare framework, and against a peer written as a tutorial would.

`python -m bench.assign` interleaves the sides, prints tables and keeps them with --keep. See docs/benchmarks.md.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack

from bench import machine, report
from bench.load import generator
from bench.rounds import Ask, Series, interleave, spread
from bench.sides import Side, sides
from bench.world import ACCOUNTS

_CALLS = 8_000
_ACCEPTED = {
    "1, one token": Ask(connections=1, count=500),
    "8, one token": Ask(connections=8, count=_CALLS // 2),
    "64, one token": Ask(connections=64, count=_CALLS),
    "256, one token": Ask(connections=256, count=_CALLS),
}
_TOKENS = {
    "64, one token": Ask(connections=64, count=_CALLS),
    "64, 5,000 tokens, 8 apps, 4 accounts": Ask(connections=64, count=_CALLS, tokens="many"),
    "64, a token for each call": Ask(connections=64, count=_CALLS, tokens="each"),
}
_REFUSED = {
    "200": Ask(connections=64, count=_CALLS),
    "409, held by another agent": Ask(connections=64, count=_CALLS, is_fresh=False, status="409"),
    "401, wrong signature": Ask(connections=64, count=_CALLS, tokens="forged", is_fresh=False, status="401"),
    "401, no such app": Ask(connections=64, count=_CALLS, tokens="unknown", is_fresh=False, status="401"),
}
_HEADS = (
    "connections",
    "side",
    "calls/s",
    "of the ceiling",
    "p50, ms",
    "p99, ms",
    "p99 of the ceiling's",
    "CPU of the side, µs",
    "of its database, µs",
)

Found = Mapping[str, Mapping[str, Series]]


def accepted(found: Found) -> Iterator[Sequence[str]]:
    """A row for each side and each thing that was asked; the first side is the ceiling."""
    for asked, by_side in found.items():
        base = next(iter(by_side.values()))
        for name, series in by_side.items():
            yield (
                asked,
                name,
                f"{series.rate():,.0f}",
                spread(series.ratios(base, lambda one: one.outcome.rate), ".3f"),
                f"{series.median(lambda one: one.outcome.p50_ms):.2f}",
                f"{series.median(lambda one: one.outcome.p99_ms):.2f}",
                spread(series.ratios(base, lambda one: one.outcome.p99_ms), ".1f"),
                f"{series.median(lambda one: one.server_us):.0f}",
                f"{series.median(lambda one: one.store_us):.0f}",
            )


def refused(found: Found) -> Iterator[Sequence[str]]:
    """A row for each side and each refusal; the first thing asked is the accepted call."""
    base = next(iter(found.values()))
    for asked, by_side in found.items():
        for name, series in by_side.items():
            yield (
                asked,
                name,
                f"{series.rate():,.0f}",
                spread(series.ratios(base[name], lambda one: one.outcome.rate)),
                f"{series.median(lambda one: one.outcome.p99_ms):.2f}",
                f"{series.median(lambda one: one.server_us):.0f}",
            )


def lone(found: Found) -> Iterator[Sequence[str]]:
    """What one connection waits for longer than at the ceiling, at the median."""
    by_side = found["1, one token"]
    base = next(iter(by_side.values()))
    for name, series in by_side.items():
        over = [one.outcome.p50_ms - other.outcome.p50_ms for one, other in zip(series.runs, base.runs, strict=True)]
        yield name, spread(over)


def naive_ratios(found: Found) -> Iterator[Sequence[str]]:
    """How many times the naive peer without callbacks."""
    for asked, by_side in found.items():
        base = next(series for name, series in by_side.items() if name.startswith("naive"))
        for name, series in by_side.items():
            if name.startswith("Handoff"):
                yield asked, name, spread(series.ratios(base, lambda one: one.outcome.rate), ".1f")


def memory(all_sides: Iterable[Side]) -> Iterator[Sequence[str]]:
    """Resident MB after everything."""
    for side in all_sides:
        for pid in side.pids:
            yield side.name, *(f"{machine.resident_mb(pid, name):.0f}" for name in ("VmRSS", "VmHWM"))


def main() -> None:
    options = report.parser("assign")
    chosen = options.parse_args()
    told = report.Report(
        "assign",
        "The call",
        "The ceiling is the same route with the same body model on the same server, without token, store and log. "
        "The naive peer is `bench/peers/naive.py`. Handoff is `handoff serve`. The server has one core for itself; "
        "load generator, database and receiver share another.",
    )
    asks = [_ACCEPTED, _TOKENS, _REFUSED]
    per_round = dict.fromkeys((1, ACCOUNTS), 0)
    for ask in (ask for group in asks for ask in group.values() if ask.is_fresh):
        per_round[ACCOUNTS if ask.tokens in {"many", "each"} else 1] += ask.count
    sessions = {accounts: count * chosen.rounds + 10_000 for accounts, count in per_round.items()}
    with ExitStack() as stack:
        asking = stack.enter_context(generator())
        start = stack.enter_context(sides(machine.SERVER, sessions))
        ours = [
            start.handoff("SQLite", "off"),
            start.handoff("PostgreSQL", "off"),
            start.handoff("SQLite", "inline"),
            start.handoff("PostgreSQL", "inline"),
        ]
        ceiling = start.ceiling()
        found = interleave(asking, [ceiling, start.naive("none"), *ours], _ACCEPTED, chosen.rounds)
        told.table(_HEADS, accepted(found))
        told.table(("one connection", "p50 over the ceiling's, ms"), lone(found))
        told.table(("connections", "side", "times the naive peer"), naive_ratios(found))
        found = interleave(asking, [ceiling, *ours[:2]], _TOKENS, chosen.rounds)
        told.table(_HEADS, accepted(found))
        found = interleave(asking, ours[:2], _REFUSED, chosen.rounds)
        heads = ("answer", "side", "calls/s", "of the accepted", "p99, ms", "CPU of the side, µs")
        told.table(heads, refused(found))
        told.table(("side", "resident, MB", "at the peak"), memory(ours))
    if chosen.keep:
        told.keep()


if __name__ == "__main__":
    main()
