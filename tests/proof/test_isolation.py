"""One receiver that takes calls and says nothing delays nobody else's callbacks."""

import socket
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass

import pytest

from conftest import StartService
from handoff import Settings, load_directory
from handoff.domain.address_policy import lane_of
from rigs import sample
from rigs.backlog import Stored, queue_up, stored
from rigs.receiver import Receiver

pytestmark = pytest.mark.alone

# No attempt on the hole ends while the test runs, so a slot that the hole has is gone; and a stop waits for none.
LONG_TIMEOUT = {"callback_timeout_seconds": 100, "callback_lease_seconds": 210, "grace_seconds": 0}


@dataclass(frozen=True, slots=True)
class Run:
    """`in_the_hole` older messages for the hole, `per_lane` for each of `lanes` healthy receivers."""

    in_the_hole: int
    lanes: int
    per_lane: int
    wait_s: float


SHORT = Run(in_the_hole=500, lanes=8, per_lane=50, wait_s=60)
LONG = Run(in_the_hole=2_000, lanes=16, per_lane=200, wait_s=90)


@pytest.fixture
def run(*, is_long: bool) -> Run:
    return LONG if is_long else SHORT


@pytest.fixture
def black_hole(run: Run) -> Iterator[str]:
    """The URL of a listener that accepts connections and never answers."""
    with socket.create_server(("127.0.0.1", 0), backlog=run.in_the_hole) as listener:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/"


def in_lane(settings: Settings, lane: str) -> list[Stored]:
    return [message for message in stored(settings).values() if message.lane == lane]


def test_a_black_hole_that_came_first_holds_up_no_healthy_receiver(
    database_url: str, start_service: StartService, black_hole: str, run: Run
) -> None:
    settings = Settings(database_url=database_url)
    load_directory(settings, sample.directory())
    queue_up(settings, [black_hole] * run.in_the_hole, first_number=0)
    hole = lane_of(black_hole)
    dispatchers = 1 if database_url.startswith("sqlite") else 2

    with ExitStack() as stack:
        receivers = [stack.enter_context(Receiver()) for _ in range(run.lanes)]
        for _ in range(dispatchers):
            start_service(database_url, command=("handoff", "dispatch"), settings=LONG_TIMEOUT)
        while all(message.state == "pending" for message in in_lane(settings, hole)):
            time.sleep(0.05)
        queue_up(settings, [receiver.url() for receiver in receivers] * run.per_lane, first_number=run.in_the_hole)
        began = time.monotonic()
        received = [receiver.wait_for(run.per_lane, timeout_s=run.wait_s) for receiver in receivers]
        took_s = time.monotonic() - began

    waiting = in_lane(settings, hole)
    print(
        f"\n{database_url.partition(':')[0]}, {dispatchers} dispatching: {run.lanes * run.per_lane} messages for "
        f"{run.lanes} healthy lanes delivered in {took_s:.1f} s, "
        f"behind {run.in_the_hole} for the hole: {dict(Counter(message.state for message in waiting))}"
    )
    assert [len(lane) for lane in received] == [run.per_lane] * run.lanes
    assert [message.attempts for message in waiting] == [0] * run.in_the_hole
