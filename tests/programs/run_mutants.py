"""A plugin of pytest that runs the tests against every mutant of `make_mutants`, and keeps what it sees.

Each mutant has a process of its own, forked from one that has collected the tests already: a mutant costs a tenth of
what it costs to begin anew. Only tests that call the mutant's function are run, the quick ones first, until one fails.
"""

import fnmatch
import json
import os
import signal
import time
from collections.abc import Iterator, Sequence
from typing import Final

import pytest
from _pytest.runner import runtestprotocol
from mutmut.state import state

from programs.make_mutants import FOUND, NAMES

# What a mutant may take: a test that waits for what does not come anymore waits for twenty seconds by itself.
_LEAST_S: Final = 30.0
_TIMES_AS_LONG: Final = 10
_SEEN: Final = 1


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--only", action="append", default=[], help="names of mutants, such as handoff.domain.rules.*")
    parser.addoption("--survivors", action="store_true", help="run those again that were not seen the last time")


def pytest_runtestloop(session: pytest.Session) -> bool:
    """Run all mutants that are wanted and were not run yet. Instead of the tests themselves."""
    calls = _calls_of(session.items)
    found: dict[str, str] = json.loads(FOUND.read_text())
    again = {"survived", "not called"} if session.config.getoption("--survivors") else set()
    for mutant in _wanted(session.config.getoption("--only")):
        if mutant not in found or found[mutant] in again:
            tests = calls.get(mutant.rpartition("__mutmut_")[0], [])
            found[mutant] = _outcome(mutant, [(session.items[place], took) for place, took in tests])
            FOUND.write_text(json.dumps(found))
    return True


def _wanted(patterns: Sequence[str]) -> Iterator[str]:
    for _, mutants in json.loads(NAMES.read_text()).values():
        for mutant in mutants:
            if not patterns or any(fnmatch.fnmatch(mutant, pattern) for pattern in patterns):
                yield mutant


def _calls_of(items: Sequence[pytest.Item]) -> dict[str, list[tuple[int, float]]]:
    """By function, the places of the tests that call it and what each took in seconds, the quickest first."""
    told, tell = os.pipe()
    child = os.fork()
    if not child:
        os.close(told)
        with os.fdopen(tell, "w") as pipe:
            json.dump(_observed(items), pipe)
        os._exit(0)
    os.close(tell)
    with os.fdopen(told) as pipe:
        observed: list[tuple[float, list[str]]] = json.load(pipe)
    os.waitpid(child, 0)
    calls: dict[str, list[tuple[int, float]]] = {}
    for place in sorted(range(len(items)), key=lambda place: observed[place][0]):
        took, functions = observed[place]
        for function in functions:
            calls.setdefault(function, []).append((place, took))
    return calls


def _observed(items: Sequence[pytest.Item]) -> list[tuple[float, list[str]]]:
    """Of each test how long it takes, and which functions it calls. Raises AssertionError where one fails."""
    os.environ["MUTANT_UNDER_TEST"] = "stats"
    observed = []
    called: set[str] = state()._stats  # noqa: SLF001 (where mutmut keeps it)
    for place, item in enumerate(items):
        began = time.monotonic()
        assert not _fails(item, items[place + 1] if place + 1 < len(items) else None), item.nodeid
        observed.append((time.monotonic() - began, sorted(called)))
        called.clear()
    return observed


def _fails(item: pytest.Item, following: pytest.Item | None) -> bool:
    return any(report.failed for report in runtestprotocol(item, log=False, nextitem=following))


def _outcome(mutant: str, tests: Sequence[tuple[pytest.Item, float]]) -> str:
    if not tests:
        return "not called"
    child = os.fork()
    if not child:
        os.environ["MUTANT_UNDER_TEST"] = mutant
        items = [item for item, _ in tests]
        os._exit(_SEEN if any(map(_fails, items, [*items[1:], None])) else 0)
    gives_up_at = time.monotonic() + max(_LEAST_S, _TIMES_AS_LONG * sum(took for _, took in tests))
    while time.monotonic() < gives_up_at:
        pid, status = os.waitpid(child, os.WNOHANG)
        if pid:
            return "survived" if status == 0 else "seen"
        time.sleep(0.01)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return "hung"
