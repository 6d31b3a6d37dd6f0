"""No receiver can break delivery: each attempt ends in time, in the documented state, with flat memory."""

import threading
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Self

import psutil  # type: ignore[import-untyped]
import pytest

from conftest import StartService
from handoff import Settings, load_directory
from rigs import evils, sample
from rigs.backlog import queue_up
from rigs.evil import EvilHost
from rigs.evils import Evil, Outcome
from rigs.messages import Seen, after_first_attempt
from rigs.receiver import Receiver

pytestmark = pytest.mark.alone

TIMEOUT_S = 2
LIMITS = {"callback_timeout_seconds": TIMEOUT_S, "callback_lease_seconds": 2 * TIMEOUT_S + 10, "grace_seconds": 0}
# An attempt's duration is taken in a process that shares its machine: an attempt without the bound takes for ever.
LONGEST_MS = 2 * TIMEOUT_S * 1_000
ALL_ATTEMPTS_S = 40.0

FLOODS_AT_ONCE = 4
HEALTHY = 50
# The loop reads 256 KiB at a time from each of 68 connections: about 20 MB in all. Where answers are kept it is 800.
MOST_GROWTH_MB = 50


class Memory:
    """The most that a process held resident at one time while the `with` block lasted, in MiB."""

    def __init__(self, pid: int) -> None:
        self._process = psutil.Process(pid)
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self.before = self.most = self._held()

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_exc: object) -> None:
        self._is_over.set()
        self._thread.join()

    def _held(self) -> float:
        return float(self._process.memory_info().rss) / (1 << 20)

    def _watch(self) -> None:
        while not self._is_over.wait(0.02):
            self.most = max(self.most, self._held())


def url_of(host: EvilHost, evil: Evil) -> str:
    return f"{evil.speaks}://127.0.0.1:{host.listen(evil.talk, tls=evil.tls)}/"


def outcome(seen: Seen, wanted: Outcome) -> Outcome:
    """What became of the message, in the words of what was wanted."""
    assert (seen.attempts, seen.last_status, seen.last_error) == (1, seen.status, seen.error)
    waits_s = None
    if seen.state == "pending":
        waited_s = (seen.due_at - seen.ended_at) / 1_000
        is_right = wanted.waits_s is not None and wanted.waits_s[0] <= waited_s <= wanted.waits_s[1]
        waits_s = wanted.waits_s if is_right else (waited_s, waited_s)
    return Outcome(state=seen.state, status=seen.status, error=seen.error, reason=seen.dead_reason, waits_s=waits_s)


def wrong(catalogue: Mapping[str, Evil], seen: Mapping[str, Seen], *, copies: int = 1) -> dict[str, object]:
    """What did not end as documented: what is seen of it, or None where nothing is."""
    found: dict[str, object] = {}
    for place, (name, evil) in enumerate(catalogue.items()):
        for copy in range(copies):
            one = seen.get(f"msg_{copy * len(catalogue) + place}")
            if one is None or outcome(one, evil.outcome) != evil.outcome or one.duration_ms > LONGEST_MS:
                found[name] = one
    return found


def complaints(log: Path) -> list[str]:
    """What a process said of mistakes in itself."""
    return [line for line in log.read_text().splitlines() if "error  " in line or "Traceback" in line]


def test_every_attempt_ends_in_time_and_in_the_documented_state(
    database_url: str, start_service: StartService, tmp_path: Path
) -> None:
    settings = Settings(database_url=database_url)
    load_directory(settings, sample.directory())
    trusted, tls = evils.tls(tmp_path)

    with Receiver() as sink, Receiver() as healthy, EvilHost() as host:
        catalogue = {
            **evils.STATUSES,
            **evils.SLOWNESS,
            **evils.BREAKAGES,
            **evils.NONSENSE,
            **evils.redirects(sink.url()),
            **tls,
        }
        urls = [url_of(host, evil) for evil in catalogue.values()]
        queue_up(settings, urls + [healthy.url()] * HEALTHY, first_number=0)
        service = start_service(
            database_url, command=("handoff", "dispatch"), settings=LIMITS | {"callback_ca_file": trusted}
        )
        seen = after_first_attempt(settings, len(urls) + HEALTHY, timeout_s=ALL_ATTEMPTS_S)

    assert wrong(catalogue, seen) == {}
    assert [one.state for one in seen.values() if one.url == healthy.url()] == ["delivered"] * HEALTHY
    assert sink.received == []
    assert complaints(service.log) == []


def test_a_flood_costs_neither_memory_nor_anybody_elses_callbacks(sqlite_url: str, start_service: StartService) -> None:
    settings = Settings(database_url=sqlite_url)
    load_directory(settings, sample.directory())

    with ExitStack() as stack:
        host, healthy = stack.enter_context(EvilHost()), stack.enter_context(Receiver())
        service = start_service(sqlite_url, command=("handoff", "dispatch"), settings=LIMITS)
        queue_up(settings, [healthy.url()] * HEALTHY, first_number=1_000)
        healthy.wait_for(HEALTHY, timeout_s=30)

        urls = [url_of(host, evil) for evil in evils.FLOODS.values()] * FLOODS_AT_ONCE
        memory = stack.enter_context(Memory(service.pid))
        queue_up(settings, [*urls, *[healthy.url()] * HEALTHY], first_number=0)
        seen = after_first_attempt(settings, len(urls) + 2 * HEALTHY, timeout_s=ALL_ATTEMPTS_S)

    assert wrong(evils.FLOODS, seen, copies=FLOODS_AT_ONCE) == {}
    assert [one.state for one in seen.values() if one.url == healthy.url()] == ["delivered"] * 2 * HEALTHY
    assert memory.most - memory.before < MOST_GROWTH_MB
    assert complaints(service.log) == []
