"""Memory and throughput of one process under load for minutes.

`python -m bench.soak --minutes 10` moves sessions from agent to agent, over and over, with every callback delivered.
"""

import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass

from bench import machine, report
from bench.load import Generator, Load, Outcome, generator
from bench.sides import Side, sides
from bench.world import Calls

_SESSIONS = 20_000
_CONNECTIONS = 64
# Calls made ready at a time: more than any side answers in the seconds.
_STRETCH_S = 10.0
_STRETCH_CALLS = 100_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Stretch:
    """Ten seconds of a soak."""

    outcome: Outcome
    resident_mb: float
    peak_mb: float


def soak(asking: Generator, side: Side, minutes: float) -> Iterator[Stretch]:
    """Stretch after stretch, until the minutes are over."""
    until = time.monotonic() + minutes * 60
    shift = 0
    while time.monotonic() < until:
        calls = Calls(
            first=0,
            count=_STRETCH_CALLS,
            accounts=1,
            tokens="one",
            callback_url=asking.callback_url,
            shift=shift,
            cycle=_SESSIONS,
        )
        load = Load(
            ports=side.ports,
            connections=_CONNECTIONS,
            calls=calls,
            seconds=_STRETCH_S,
            has_callbacks=side.has_callbacks,
        )
        outcome = asking.run(load)
        assert set(outcome.statuses) == {"200"}, f"{side.name} answered {outcome.statuses}"
        shift += _STRETCH_CALLS // _SESSIONS
        yield Stretch(
            outcome=outcome,
            resident_mb=machine.resident_mb(side.pids[0], "VmRSS"),
            peak_mb=machine.resident_mb(side.pids[0], "VmHWM"),
        )


def rows(stretches: Sequence[Stretch], lines: int = 10) -> Iterator[Sequence[str]]:
    """The first stretch and some after it, as far apart as each other, up to the last."""
    step = max(1, (len(stretches) - 1) // lines)
    for place in range(0, len(stretches), step):
        one = stretches[place]
        yield (
            f"{(place + 1) * _STRETCH_S / 60:.1f}",
            f"{one.outcome.rate:,.0f}",
            f"{one.outcome.p99_ms:.1f}",
            f"{one.resident_mb:.1f}",
            f"{one.peak_mb:.1f}",
        )


def main() -> None:
    options = report.parser("soak")
    options.add_argument("--minutes", type=float, default=10)
    options.add_argument("--stores", nargs="+", choices=("SQLite", "PostgreSQL"), default=("SQLite",))
    chosen = options.parse_args()
    told = report.Report(
        "soak",
        "Soak",
        f"{chosen.minutes:g} minutes of {_CONNECTIONS} connections that move {_SESSIONS:,} sessions from agent to "
        "agent (`HANDOFF_REASSIGN=always`), every callback delivered by the same process, on one core.",
    )
    for kind in chosen.stores:
        with ExitStack() as stack:
            asking = stack.enter_context(generator())
            start = stack.enter_context(sides(machine.SERVER, {1: _SESSIONS}))
            side = start.handoff(kind, "inline", reassign="always")
            stretches = list(soak(asking, side, chosen.minutes))
        told.table((f"minute, {kind}", "calls/s", "p99, ms", "resident, MB", "at the peak"), rows(stretches))
    if chosen.keep:
        told.keep()


if __name__ == "__main__":
    main()
