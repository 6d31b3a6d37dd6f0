"""One receiver that takes calls and says nothing delays nobody else's callbacks."""

import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack

import pytest
from sqlalchemy import select

from conftest import StartService
from handoff import Settings, load_directory
from handoff.domain.address_policy import lane_of
from handoff.store.engine import open_reader
from handoff.store.tables import callbacks
from rigs import sample
from rigs.messages import queue_up
from rigs.receiver import Receiver

IN_THE_HOLE = 500
HEALTHY_LANES = 8
PER_LANE = 50
# No attempt on the hole ends while the test runs, so a slot that the hole has is gone; and a stop waits for none.
LONG_TIMEOUT = {"callback_timeout_seconds": 100, "callback_lease_seconds": 210, "grace_seconds": 0}


@pytest.fixture
def black_hole() -> Iterator[str]:
    """The URL of a listener that accepts connections and never answers."""
    with socket.create_server(("127.0.0.1", 0), backlog=IN_THE_HOLE) as listener:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/"


def in_lane(settings: Settings, lane: str) -> list[tuple[str, int]]:
    """State and attempts of every message of the lane."""
    engine = open_reader(settings.database_url)
    with engine.connect() as connection:
        rows = connection.execute(select(callbacks.c.state, callbacks.c.attempts).where(callbacks.c.lane == lane))
        found = [(row.state, row.attempts) for row in rows]
    engine.dispose()
    return found


def test_a_black_hole_that_came_first_holds_up_no_healthy_receiver(
    database_url: str, start_service: StartService, black_hole: str
) -> None:
    settings = Settings(database_url=database_url)
    load_directory(settings, sample.directory())
    queue_up(settings, [black_hole] * IN_THE_HOLE, first_number=0)
    hole = lane_of(black_hole)

    with ExitStack() as stack:
        receivers = [stack.enter_context(Receiver()) for _ in range(HEALTHY_LANES)]
        for _ in range(1 if database_url.startswith("sqlite") else 2):
            start_service(database_url, command=("handoff", "dispatch"), settings=LONG_TIMEOUT)
        while all(state == "pending" for state, _ in in_lane(settings, hole)):
            time.sleep(0.05)
        queue_up(settings, [receiver.url() for receiver in receivers] * PER_LANE, first_number=IN_THE_HOLE)
        received = [receiver.wait_for(PER_LANE, timeout_s=60) for receiver in receivers]

    assert [len(lane) for lane in received] == [PER_LANE] * HEALTHY_LANES
    assert [attempts for _, attempts in in_lane(settings, hole)] == [0] * IN_THE_HOLE
