"""How long a claim takes while one dead lane has 100,000 due messages, and how long with none of them.

`python -m bench.claims` times claims of the outbox alone and prints a table. See docs/benchmarks.md.
"""

import argparse
import statistics
import time
from collections.abc import Iterator
from dataclasses import dataclass

from bench.processes import STORES, fresh_store
from handoff import Settings
from handoff.domain.retry import Attempt, ErrorClass
from handoff.outboxes import open_outbox
from handoff.service.lanes import Lanes
from handoff.service.ports import Outbox
from handoff.system import SystemClock
from rigs.backlog import queue_up

_HEALTHY_LANES = 16
_PER_LANE = 200
_LEASE_MS = 60_000
# Failures that open the breaker, so late that it stays open for all claims of a row.
_ERRORS_TO_OPEN = 5
_HELD_BACK_MS = 60_000
_WARM_UP = 20
_DEAD = "http://127.0.0.1:9/"


@dataclass(frozen=True, slots=True, kw_only=True)
class Timed:
    """One claim: milliseconds by the clock and of this process's CPU, and how many messages it took."""

    wall_ms: float
    cpu_ms: float
    taken: int


def timed_claims(outbox: Outbox, lanes: Lanes, claims: int) -> Iterator[Timed]:
    """So many claims, each after the one before has given back what it took."""
    clock = SystemClock()
    for number in range(claims + _WARM_UP):
        began, began_cpu = time.perf_counter(), time.process_time()
        now_ms = clock.now_ms()
        claim = outbox.claim(lanes.plan(now_ms), now_ms=now_ms, lease_ms=_LEASE_MS, lease_token=str(number))
        wall_ms, cpu_ms = (time.perf_counter() - began) * 1_000, (time.process_time() - began_cpu) * 1_000
        if claim.callbacks:
            outbox.release(claim.callbacks)
        if number >= _WARM_UP:
            yield Timed(wall_ms=wall_ms, cpu_ms=cpu_ms, taken=len(claim.callbacks))


def lanes_of(slots: int, *, is_blocked: bool) -> Lanes:
    """Lanes as a dispatcher knows them, the dead one held back by its breaker or not known yet."""
    lanes = Lanes(slots)
    if is_blocked:
        later_ms = SystemClock().now_ms() + _HELD_BACK_MS
        failure = Attempt(started_at=later_ms, duration_ms=1, error=ErrorClass.CONNECT)
        for _ in range(_ERRORS_TO_OPEN):
            lanes.learn(_DEAD.rstrip("/"), failure, later_ms)
    return lanes


def tell(outbox: Outbox, kind: str, dead: int, claims: int) -> None:
    for slots in (1, 16, 128):
        for is_blocked in (False, True) if dead else (False,):
            found = list(timed_claims(outbox, lanes_of(slots, is_blocked=is_blocked), claims))
            times = sorted(one.wall_ms for one in found)
            state = ("held back by its breaker" if is_blocked else "claimed from") if dead else "empty"
            print(
                f"| {kind} | {dead:,} | {state} | {statistics.median(one.taken for one in found):.0f} "
                f"| {statistics.median(times):.2f} ms | {times[int(len(times) * 0.99)]:.2f} ms "
                f"| {statistics.median(one.cpu_ms for one in found):.2f} ms |",
                flush=True,
            )


def fill(settings: Settings, dead: int) -> None:
    healthy = [f"http://127.0.0.1:{10 + number % _HEALTHY_LANES}/" for number in range(_HEALTHY_LANES * _PER_LANE)]
    queue_up(settings, [_DEAD] * dead + healthy, first_number=0)


def main() -> None:
    parser = argparse.ArgumentParser(prog="bench.claims")
    parser.add_argument("--dead", type=int, nargs="+", default=[0, 100_000])
    parser.add_argument("--claims", type=int, default=300)
    parser.add_argument("--stores", nargs="+", choices=STORES, default=STORES)
    chosen = parser.parse_args()
    print(f"{chosen.claims} claims each, with {_PER_LANE} due messages in each of {_HEALTHY_LANES} healthy lanes\n")
    print("| store | due in the dead lane | the dead lane is | claimed | median | p99 | CPU of the client |")
    print("|---|---|---|---|---|---|---|")
    for kind in chosen.stores:
        for dead in chosen.dead:
            with fresh_store(kind) as (settings, _):
                fill(settings, dead)
                outbox = open_outbox(settings)
                tell(outbox, kind, dead, chosen.claims)
                outbox.close()


if __name__ == "__main__":
    main()
