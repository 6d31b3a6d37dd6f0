"""One receiver that takes calls and says nothing delays nobody else's callbacks."""

import socket
from collections.abc import Iterator
from contextlib import ExitStack

import pytest
from sqlalchemy import func, select

from conftest import StartService
from handoff import Settings, load_directory
from handoff.bootstrap import open_transfer_store
from handoff.domain.address_policy import lane_of
from handoff.service.ports import Changes
from handoff.store.engine import open_reader
from handoff.store.tables import callbacks
from handoff.system import SystemClock
from rigs import facts, sample
from rigs.receiver import Receiver

IN_THE_HOLE = 500
HEALTHY_LANES = 8
PER_LANE = 50


@pytest.fixture
def black_hole() -> Iterator[str]:
    """The URL of a listener that accepts connections and never answers."""
    with socket.create_server(("127.0.0.1", 0), backlog=IN_THE_HOLE) as listener:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/"


def queue_up(settings: Settings, urls: list[str]) -> None:
    """Write due messages, the first URL's first."""
    now_ms = SystemClock().now_ms()
    store = open_transfer_store(settings)
    with store.begin() as transaction:
        transaction.write(
            Changes(
                callbacks=[
                    facts.callback(number, url=url, lane=lane_of(url), due_at=number, expires_at=now_ms + facts.HOUR_MS)
                    for number, url in enumerate(urls)
                ]
            )
        )
    store.close()


def count(settings: Settings, *, lane: str, state: str) -> int:
    engine = open_reader(settings.database_url)
    wanted = select(func.count()).where(callbacks.c.lane == lane, callbacks.c.state == state)
    with engine.connect() as connection:
        found = connection.scalar(wanted) or 0
    engine.dispose()
    return found


def test_a_black_hole_with_the_oldest_backlog_holds_up_no_healthy_receiver(
    database_url: str, start_service: StartService, black_hole: str
) -> None:
    settings = Settings(database_url=database_url)
    load_directory(settings, sample.directory())
    receivers = [Receiver() for _ in range(HEALTHY_LANES)]
    queue_up(settings, [black_hole] * IN_THE_HOLE + [receiver.url() for receiver in receivers] * PER_LANE)
    dispatchers = 1 if database_url.startswith("sqlite") else 2

    with ExitStack() as stack:
        for receiver in receivers:
            stack.enter_context(receiver)
        for _ in range(dispatchers):
            start_service(database_url, command=("handoff", "dispatch"))
        received = [receiver.wait_for(PER_LANE, timeout_s=60) for receiver in receivers]

    assert [len(lane) for lane in received] == [PER_LANE] * HEALTHY_LANES
    assert count(settings, lane=lane_of(black_hole), state="pending") > IN_THE_HOLE // 2
