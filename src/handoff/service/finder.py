"""Looking up by key: many in one read, and what was found, or not, is remembered for a while.

There is no timer. While reads are on their way the next one gathers; a lone look-up is a read of one.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Collection, Hashable, Mapping, Sequence
from functools import partial
from typing import Final, Generic, TypeVar

from handoff.service.ports import StoreError
from handoff.service.worker import Worker

Found = TypeVar("Found")
Kept = TypeVar("Kept")
Key = TypeVar("Key", bound=Hashable)

Answers = Mapping[Key, Found | StoreError]

# One would do, but then one that hangs would be in everybody's way.
_READS_AT_A_TIME: Final = 2
# A read of so many takes twice as long as a read of one.
_READ_LIMIT: Final = 256
# Of what is there, and of what is not. Whoever tries more names than this only makes us read again.
_REMEMBERED: Final = 10_000


class Finder(Generic[Key, Found]):
    """Finds things by their key; what was found, or not, is trusted for `trust_s` seconds.

    `read` takes keys and returns what there is of them, or for each the error that it alone has. It runs in the
    worker's threads, twice at a time at most. Callers who ask for the same thing at one time wait for one read. None
    waits longer than the worker's limit, its turn included.
    """

    def __init__(
        self, read: Callable[[Collection[Key]], Answers[Key, Found]], *, worker: Worker, trust_s: float
    ) -> None:
        self._read = read
        self._worker = worker
        self._found = _Memory[Key, Found](trust_s)
        # Apart, so that no number of made-up names can push out what is there.
        self._missing = _Memory[Key, bool](trust_s)
        self._turns = asyncio.Semaphore(_READS_AT_A_TIME)
        self._gathered: list[Key] = []
        self._reads: dict[Key, asyncio.Task[Answers[Key, Found]]] = {}

    async def find(self, key: Key) -> Found | None:
        """What has this key, or None. Raises StoreError."""
        # Both are asked in any case: by its work nobody can tell one answer from the other.
        now_s = asyncio.get_running_loop().time()
        found, is_missing = self._found.get(key, now_s), self._missing.get(key, now_s)
        if found is not None or is_missing:
            return found
        answers = await asyncio.shield(self._reads.get(key) or self._join(key))
        answer = answers.get(key)
        if isinstance(answer, StoreError):
            raise answer
        return answer

    def _join(self, key: Key) -> asyncio.Task[Answers[Key, Found]]:
        """The read that gathers at present, with this key in it."""
        if not self._gathered or len(self._gathered) == _READ_LIMIT:
            self._gathered = []
            read = asyncio.get_running_loop().create_task(self._read_when_it_may(self._gathered))
        else:
            read = self._reads[self._gathered[0]]
        self._gathered.append(key)
        self._reads[key] = read
        return read

    async def _read_when_it_may(self, keys: Sequence[Key]) -> Answers[Key, Found]:
        """Wait for a turn, during which keys are added, and read."""
        try:
            async with self._worker.in_time(), self._turns:
                self._close(keys)
                answers = await self._worker.run(partial(self._read, keys))
        finally:
            self._close(keys)
            for key in keys:
                del self._reads[key]
        self._remember(keys, answers)
        return answers

    def _close(self, keys: Sequence[Key]) -> None:
        if self._gathered is keys:
            self._gathered = []

    def _remember(self, keys: Sequence[Key], answers: Answers[Key, Found]) -> None:
        now_s = asyncio.get_running_loop().time()
        for key in keys:
            answer = answers.get(key)
            if answer is None:
                self._missing.put(key, True, now_s)
            elif not isinstance(answer, StoreError):
                self._found.put(key, answer, now_s)


class _Memory(Generic[Key, Kept]):
    """Keeps things for `trust_s` seconds; where there are too many, the one that was put in first goes first.

    `now_s` is by a clock that never goes back.
    """

    def __init__(self, trust_s: float) -> None:
        self._trust_s = trust_s
        self._kept: OrderedDict[Key, tuple[Kept, float]] = OrderedDict()

    def get(self, key: Key, now_s: float) -> Kept | None:
        """What is kept under this key, if it can still be trusted."""
        kept = self._kept.get(key)
        return kept[0] if kept is not None and now_s < kept[1] else None

    def put(self, key: Key, kept: Kept, now_s: float) -> None:
        """Keep it from now on."""
        self._kept[key] = (kept, now_s + self._trust_s)
        self._kept.move_to_end(key)
        if len(self._kept) > _REMEMBERED:
            self._kept.popitem(last=False)
