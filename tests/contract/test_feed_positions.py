"""Positions follow the order of commits, however writers are delayed and whoever gives up, on both databases."""

import random
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from handoff import Settings
from handoff.service.feed import View
from rigs import feed, sample
from rigs.feed import FeedWriter

ACCOUNTS = ("acc-1", "acc-2", "acc-3")
WAIT_S = 60
SHORT_S = 0.3


def seen(settings: Settings, account_id: str = sample.ACCOUNT) -> Sequence[int]:
    """The positions that a reader sees now."""
    store = feed.open_store(settings)
    found = feed.walked(store, View(account_id=account_id, stream_id=sample.STREAM, org_id=sample.ORG))
    store.close()
    return found


def test_who_comes_second_gets_a_position_only_when_the_first_has_committed(stored: Settings) -> None:
    first_has_its_position, may_commit = threading.Event(), threading.Event()

    def hold(_connection: object) -> None:
        first_has_its_position.set()
        assert may_commit.wait(WAIT_S)

    with (
        feed.writer(stored.database_url) as one,
        feed.writer(stored.database_url) as two,
        ThreadPoolExecutor(2) as threads,
    ):
        first = threads.submit(one.write, feed.event("first"), between=hold)
        assert first_has_its_position.wait(WAIT_S)
        second = threads.submit(two.write, feed.event("second"))
        time.sleep(SHORT_S)
        is_held = not second.done()
        before = seen(stored)
        may_commit.set()
        first.result(WAIT_S)
        second.result(WAIT_S)

    assert is_held
    assert before == []
    assert seen(stored) == [1, 2]


def test_who_comes_second_takes_the_position_of_a_first_that_gave_up(stored: Settings) -> None:
    first_has_its_position, may_fail = threading.Event(), threading.Event()

    def fail(_connection: object) -> None:
        first_has_its_position.set()
        assert may_fail.wait(WAIT_S)
        raise ZeroDivisionError

    with (
        feed.writer(stored.database_url) as one,
        feed.writer(stored.database_url) as two,
        ThreadPoolExecutor(2) as threads,
    ):
        first = threads.submit(one.write, feed.event("first"), between=fail)
        assert first_has_its_position.wait(WAIT_S)
        second = threads.submit(two.write, feed.event("second"))
        time.sleep(SHORT_S)
        may_fail.set()
        failed = first.exception(WAIT_S)
        second.result(WAIT_S)

    assert isinstance(failed, ZeroDivisionError)
    assert seen(stored) == [1]


def test_writers_of_several_accounts_never_wait_for_each_other_in_a_circle(stored: Settings) -> None:
    def write(seed: int) -> None:
        chance = random.Random(seed)
        with feed.writer(stored.database_url) as writer:
            for number in range(30):
                accounts = chance.sample(ACCOUNTS, k=chance.randint(2, 3))
                writer.write(*(feed.event(number, account_id=account) for account in accounts), between=_dawdle)

    with ThreadPoolExecutor(4) as threads:
        for done in [threads.submit(write, seed) for seed in range(4)]:
            done.result(60)

    for account in ACCOUNTS:
        positions = seen(stored, account)
        assert positions == list(range(1, len(positions) + 1))
        assert positions


def test_whoever_sees_a_position_sees_all_before_it(stored: Settings) -> None:
    is_over = threading.Event()

    def write(writer: FeedWriter, seed: int) -> None:
        chance = random.Random(seed)
        for number in range(40):
            time.sleep(chance.random() * 0.005)
            writer.write(*(feed.event(number) for _ in range(chance.randint(1, 3))), between=_dawdle)

    def read() -> list[tuple[int, int]]:
        store = feed.open_store(stored)
        found = []
        while not is_over.is_set():
            head = store.heads([sample.ACCOUNT]).get(sample.ACCOUNT, 0)
            found.append((head, len(store.between(sample.ACCOUNT, 0, head))))
        store.close()
        return found

    with (
        feed.writer(stored.database_url) as one,
        feed.writer(stored.database_url) as two,
        ThreadPoolExecutor(3) as pool,
    ):
        reading = pool.submit(read)
        for done in [pool.submit(write, writer, seed) for seed, writer in enumerate((one, two))]:
            done.result(60)
        is_over.set()
        found = reading.result(WAIT_S)

    assert [pair for pair in found if pair[0] != pair[1]] == []
    assert len({head for head, _ in found}) > 10


def _dawdle(_connection: object) -> None:
    time.sleep(0.002)
