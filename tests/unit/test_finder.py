"""Looking up by key: what goes together in one read, who waits for whom, and what is remembered."""

import asyncio
import selectors
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from threading import Event, Semaphore
from typing import Any

import pytest

from handoff.service.finder import Finder
from handoff.service.ports import StoreError, StoreUnavailable, Unwritable
from handoff.service.worker import Worker

pytestmark = pytest.mark.anyio

ENOUGH_S = 20.0  # for what happens at once: only a fault waits so long
# Those of a read, and of what is remembered.
MOST_KEYS, MOST_REMEMBERED = 256, 10_000


class Squares:
    """Reads the squares of even numbers, once the test lets it; odd ones have none, and 7 fails alone, 0 the read."""

    def __init__(self) -> None:
        self.reads: list[list[int]] = []
        self.begun = Semaphore(0)
        self.gate = Event()
        self.gate.set()

    def __call__(self, keys: Collection[int]) -> Mapping[int, int | StoreError]:
        self.reads.append(list(keys))
        self.begun.release()
        if not self.gate.wait(ENOUGH_S):
            raise TimeoutError
        if 0 in keys:
            raise StoreUnavailable("away")
        return {key: Unwritable("seven") if key == 7 else key * key for key in keys if key == 7 or key % 2 == 0}

    async def wait_until_begun(self) -> None:
        """Until one more read is on its way."""
        assert await asyncio.to_thread(self.begun.acquire, timeout=ENOUGH_S)


@pytest.fixture
def squares() -> Iterator[Squares]:
    made = Squares()
    yield made
    made.gate.set()


@pytest.fixture
def finder(squares: Squares) -> Iterator[Finder[int, int]]:
    with ThreadPoolExecutor(4) as threads:
        yield Finder(squares, worker=Worker(threads, limit_s=ENOUGH_S), trust_s=600)
        squares.gate.set()


def asked(finder: Finder[int, int], *keys: int) -> "asyncio.Task[list[int | BaseException | None]]":
    """What becomes of a look-up of each of these."""
    return asyncio.ensure_future(asyncio.gather(*map(finder.find, keys), return_exceptions=True))


async def test_a_lone_key_is_a_read_of_one(finder: Finder[int, int], squares: Squares) -> None:
    found = await finder.find(4)

    assert found == 16
    assert squares.reads == [[4]]


async def test_keys_that_come_together_are_one_read(finder: Finder[int, int], squares: Squares) -> None:
    found = await asked(finder, 4, 1, 2)

    assert found == [16, None, 4]
    assert squares.reads == [[4, 1, 2]]


async def test_what_is_wanted_while_reads_are_on_their_way_goes_together_in_the_next_one(
    finder: Finder[int, int], squares: Squares
) -> None:
    squares.gate.clear()
    tasks = []
    for key in (2, 4):
        tasks.append(asked(finder, key))
        await squares.wait_until_begun()
    for keys in ([6, 8], [3], [10]):
        tasks.append(asked(finder, *keys))
        await asyncio.sleep(0)
    squares.gate.set()
    found = await asyncio.gather(*tasks)

    assert found == [[4], [16], [36, 64], [None], [100]]
    assert squares.reads == [[2], [4], [6, 8, 3, 10]]


async def test_whoever_asks_for_the_same_waits_for_the_same_read(finder: Finder[int, int], squares: Squares) -> None:
    squares.gate.clear()
    first, second = asked(finder, 2, 2), asked(finder, 2, 1)
    await squares.wait_until_begun()
    third = asked(finder, 1, 2)
    await asyncio.sleep(0)
    squares.gate.set()

    assert [await one for one in (first, second, third)] == [[4, 4], [4, None], [None, 4]]
    assert squares.reads == [[2, 1]]


async def test_a_read_is_no_larger_than_its_limit(finder: Finder[int, int], squares: Squares) -> None:
    keys = range(10, 10 + 2 * MOST_KEYS + 1)
    found = await asked(finder, *keys)

    assert found == [None if key % 2 else key * key for key in keys]
    assert sorted(map(len, squares.reads)) == [1, MOST_KEYS, MOST_KEYS]


async def test_what_was_found_or_not_is_trusted_and_read_no_second_time(
    finder: Finder[int, int], squares: Squares
) -> None:
    found = [await asked(finder, 2, 1) for _ in range(3)]

    assert found == [[4, None]] * 3
    assert squares.reads == [[2, 1]]


async def test_no_number_of_keys_that_are_not_there_pushes_out_one_that_is(
    finder: Finder[int, int], squares: Squares
) -> None:
    await finder.find(2)
    made_up = range(101, 101 + 2 * (MOST_REMEMBERED + 1), 2)
    for first in range(0, len(made_up), MOST_KEYS):
        await asked(finder, *made_up[first : first + MOST_KEYS])
    squares.reads.clear()
    found = await asked(finder, 2, 101, 103)

    assert found == [4, None, None]
    assert squares.reads == [[101]]


async def test_a_key_that_fails_alone_leaves_the_others_theirs_and_is_read_again(
    finder: Finder[int, int], squares: Squares
) -> None:
    for _ in range(2):
        found = await asked(finder, 2, 7, 1, 7)
        assert [str(one) for one in found] == ["4", "seven", "None", "seven"]

    assert squares.reads == [[2, 7, 1], [7]]


async def test_a_read_that_fails_fails_all_in_it_and_nobody_after(finder: Finder[int, int], squares: Squares) -> None:
    failed = await asked(finder, 0, 2, 1)
    found = await asked(finder, 2, 1)

    assert [str(one) for one in failed] == ["away"] * 3
    assert found == [4, None]
    assert squares.reads == [[0, 2, 1], [2, 1]]


async def test_a_caller_that_goes_away_harms_no_other(finder: Finder[int, int], squares: Squares) -> None:
    squares.gate.clear()
    goes, stays = (asyncio.create_task(finder.find(2)) for _ in range(2))
    others = asked(finder, 4, 1)
    await squares.wait_until_begun()
    goes.cancel()
    await asyncio.wait({goes}, timeout=ENOUGH_S)
    squares.gate.set()

    assert (await stays, await others) == (4, [16, None])
    assert goes.cancelled()
    assert squares.reads == [[2, 4, 1]]


async def test_a_read_that_hangs_holds_up_none_that_comes_after_it(finder: Finder[int, int], squares: Squares) -> None:
    squares.gate.clear()
    hangs = asked(finder, 2)
    await squares.wait_until_begun()
    hanging, squares.gate = squares.gate, Event()
    squares.gate.set()
    try:
        found = [await asyncio.wait_for(finder.find(key), ENOUGH_S / 2) for key in (4, 1, 6)]
        is_still_hanging = not hangs.done()
    finally:
        hanging.set()

    assert found == [16, None, 36]
    assert is_still_hanging


class Silent(Executor):
    """Takes work and never does any, as threads that all hang."""

    def __init__(self) -> None:
        self.taken = 0

    def submit(self, *_work: Any, **_arguments: Any) -> "Future[Any]":
        self.taken += 1
        return Future()


class AtOnce(Executor):
    """Does its work where it is given it."""

    def submit(self, work: Callable[..., Any], /, *given: Any, **named: Any) -> "Future[Any]":
        done: Future[Any] = Future()
        done.set_result(work(*given, **named))
        return done


class Skipping(selectors.DefaultSelector):
    """Waits for nothing: time is past at once."""

    skipped_s = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        self.skipped_s += timeout or 0.0
        return super().select(0)


class SkippingLoop(asyncio.SelectorEventLoop):
    """Whose clock stands still while something runs, and goes on to the next thing that is to happen."""

    def __init__(self) -> None:
        self._skipping = Skipping()
        super().__init__(self._skipping)

    def time(self) -> float:
        return self._skipping.skipped_s


@pytest.fixture
def runner() -> Iterator[asyncio.Runner]:
    """Of a loop in which seconds go by in no time."""
    with asyncio.Runner(loop_factory=SkippingLoop) as made:
        yield made


async def given_up_at(finder: Finder[int, int], key: int, *, after_s: int) -> float:
    """When the look-up that begins so much later is told that the store takes too long."""
    await asyncio.sleep(after_s)
    with pytest.raises(StoreUnavailable, match=r"^the store took longer than 5.0 s$"):
        await finder.find(key)
    return asyncio.get_running_loop().time()


def test_nobody_waits_longer_than_the_limit_not_even_behind_reads_that_hang(runner: asyncio.Runner) -> None:
    threads = Silent()
    finder = Finder(Squares(), worker=Worker(threads), trust_s=600)
    asked_at_s = {2: 0, 4: 1, 6: 2, 8: 4, 10: 7}

    async def scene() -> Sequence[float]:
        return await asyncio.gather(*(given_up_at(finder, key, after_s=at_s) for key, at_s in asked_at_s.items()))

    # The third read begins when the first is given up, with what is left to those who have waited for it.
    assert runner.run(scene()) == pytest.approx([5, 6, 7, 7, 12])
    assert threads.taken == 4


def test_a_read_whose_turn_never_comes_is_in_nobodys_way(runner: asyncio.Runner) -> None:
    threads = Silent()
    finder = Finder(Squares(), worker=Worker(threads), trust_s=600)

    async def scene() -> Sequence[float]:
        tasks = []
        for key in (2, 4, 6):
            tasks.append(asyncio.create_task(given_up_at(finder, key, after_s=0)))
            for _ in range(10):  # turns enough for its read to begin
                await asyncio.sleep(0)
        return [*(await asyncio.gather(*tasks)), await given_up_at(finder, 8, after_s=1)]

    assert runner.run(scene()) == pytest.approx([5, 5, 5, 11])
    assert threads.taken == 3


def test_what_was_found_or_not_is_trusted_for_its_time_and_no_longer(runner: asyncio.Runner) -> None:
    there = {2: "two"}
    finder = Finder[int, str](
        lambda keys: {key: there[key] for key in keys if key in there}, worker=Worker(AtOnce()), trust_s=60
    )

    async def found_after(*waits_s: int) -> Sequence[Sequence[str | None]]:
        found = []
        for wait_s in waits_s:
            await asyncio.sleep(wait_s)
            found.append([await finder.find(key) for key in (2, 3)])
        return found

    async def scene() -> Sequence[Sequence[str | None]]:
        found = [*await found_after(0)]
        there[3] = there.pop(2)
        found += await found_after(59, 1)
        there[2] = there.pop(3)
        found += await found_after(59, 1)
        return found

    assert runner.run(scene()) == [["two", None]] * 2 + [[None, "two"]] * 2 + [["two", None]]


def test_what_was_read_anew_is_not_the_first_to_be_forgotten(runner: asyncio.Runner, squares: Squares) -> None:
    finder = Finder(squares, worker=Worker(AtOnce()), trust_s=60)

    async def scene() -> None:
        await finder.find(1)
        await asyncio.sleep(30)
        others = range(9, 9 + 2 * (MOST_REMEMBERED - 1), 2)
        for first in range(0, len(others), MOST_KEYS):
            await asked(finder, *others[first : first + MOST_KEYS])
        await asyncio.sleep(30)
        await asked(finder, 1, 3)
        squares.reads.clear()
        await finder.find(1)

    runner.run(scene())

    assert squares.reads == []
