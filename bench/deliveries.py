"""Deliveries per CPU-second of a dispatcher, against a bare aiohttp loop that posts the same bodies.

`python -m bench.deliveries` alternates the two sides and prints medians. See docs/benchmarks.md.
"""

import argparse
import os
import statistics
import time
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import Engine, select

from bench.processes import STORES, bare_cpu_s, fresh_store, sinks
from handoff.store.engine import open_reader
from handoff.store.tables import callbacks
from handoff.system import SystemClock
from rigs.backlog import queue_up
from rigs.service import Service

_SECRET = "whsec_" + "QUJD" * 10
# The backlog is written and the dispatcher started before the first message is due: so much time for that.
_START_MS = 6_000
_WRITE_MS_EACH = 0.3
_POLL_S = 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """What a dispatcher took for a backlog: CPU and wall seconds, resident MB before and at the peak."""

    cpu_s: float
    wall_s: float
    idle_mb: float
    peak_mb: float


def deliver(kind: str, urls: list[str], messages: int) -> Delivery:
    """Have a fresh dispatcher deliver a fresh backlog; measured from the first due time to the last record."""
    own = {"callback_secrets": _SECRET, "log_format": "json"}
    with fresh_store(kind) as (settings, folder):
        due_at = SystemClock().now_ms() + _START_MS + int(messages * _WRITE_MS_EACH)
        queue_up(settings, [urls[n % len(urls)] for n in range(messages)], first_number=0, due_at=due_at)
        store = open_reader(settings.database_url)
        dispatch = Service(settings.database_url, folder=folder, command=("handoff", "dispatch"), settings=own)
        with dispatch as dispatcher:
            while "dispatching" not in dispatcher.log.read_text():
                time.sleep(_POLL_S)
            left_s = (due_at - SystemClock().now_ms()) / 1_000
            if left_s < _POLL_S:
                raise RuntimeError("the backlog was due before the dispatcher was ready")
            time.sleep(left_s - _POLL_S / 2)
            idle_s, idle_mb, began = _cpu_s(dispatcher.pid), _resident_mb(dispatcher.pid, "VmRSS"), time.monotonic()
            while _has_undelivered(store):
                time.sleep(_POLL_S)
            wall_s, cpu_s = time.monotonic() - began, _cpu_s(dispatcher.pid) - idle_s
            peak_mb = _resident_mb(dispatcher.pid, "VmHWM")
        store.dispose()
    return Delivery(cpu_s=cpu_s, wall_s=wall_s, idle_mb=idle_mb, peak_mb=peak_mb)


def _cpu_s(pid: int) -> float:
    """User and system seconds of the process, all its threads (proc(5): fields 14 and 15)."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _resident_mb(pid: int, name: str) -> float:
    """VmRSS or VmHWM, the peak, in MB."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    (kilobytes,) = (line.split()[1] for line in lines if line.startswith(name))
    return int(kilobytes) * 1_024 / 1_000_000


def _has_undelivered(store: Engine) -> bool:
    with store.connect() as connection:
        # One state a question: each has a partial index, which makes it cheap.
        return any(
            connection.scalar(select(1).select_from(callbacks).where(callbacks.c.state == state).limit(1))
            for state in ("pending", "sending")
        )


def compare(kind: str, receivers: int, messages: int, rounds: int) -> str:
    """One row of the table: medians over alternating rounds, the ratio with its range."""
    bare, ours = [], []
    with sinks(receivers) as urls:
        for _ in range(rounds):
            bare.append(messages / bare_cpu_s(urls, messages))
            ours.append(deliver(kind, urls, messages))
    rates = [messages / one.cpu_s for one in ours]
    ratios = [rate / base for rate, base in zip(rates, bare, strict=True)]
    wall = statistics.median(messages / one.wall_s for one in ours)
    return (
        f"| {kind} | {receivers} | {statistics.median(bare):,.0f} | {statistics.median(rates):,.0f} "
        f"| {statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f}) | {wall:,.0f} "
        f"| {max(one.idle_mb for one in ours):.0f} MB, {max(one.peak_mb for one in ours):.0f} MB |"
    )


def main() -> None:
    parser = argparse.ArgumentParser(prog="bench.deliveries")
    parser.add_argument("--messages", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--receivers", type=int, nargs="+", default=[1, 16])
    parser.add_argument("--stores", nargs="+", choices=STORES, default=STORES)
    chosen = parser.parse_args()
    print(f"{chosen.messages:,} messages a round, {chosen.rounds} rounds of each side in turn\n")
    print(
        "| store | receivers | bare, per CPU-s | dispatcher, per CPU-s | ratio (range) | per wall s "
        "| resident: idle, peak |"
    )
    print("|---|---|---|---|---|---|---|")
    for kind in chosen.stores:
        for receivers in chosen.receivers:
            print(compare(kind, receivers, chosen.messages, chosen.rounds), flush=True)


if __name__ == "__main__":
    main()
