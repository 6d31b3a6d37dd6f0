"""This machine: which core runs what, and what a process has used of it."""

import os
import resource
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

_TICKS = os.sysconf("SC_CLK_TCK")
_ALL = sorted(os.sched_getaffinity(0))

Cores = frozenset[int]

# The server measured has one core; what asks it, its database and its receivers have another, where there is one.
SERVER: Cores = frozenset(_ALL[:1])
OTHERS: Cores = frozenset(_ALL[1:2] or _ALL)
BOTH: Cores = SERVER | OTHERS


def told() -> str:
    """How many cores there are, for the head of a table."""
    if SERVER == OTHERS:
        return "one core for everything: the asking side and the database slow the server down"
    return f"{len(_ALL)} cores"


@contextmanager
def on(cores: Cores) -> Iterator[None]:
    """What is started within the block runs on these cores, and so does all that it starts."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def cpu_s(pids: Iterable[int]) -> float:
    """User and system seconds of the processes and of those they started, ended ones included (proc(5))."""
    children: dict[int, list[int]] = {}
    used: dict[int, float] = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rpartition(")")[2].split()
        except OSError:  # it has just ended
            continue
        pid = int(path.parent.name)
        children.setdefault(int(fields[1]), []).append(pid)
        # utime, stime, and cutime and cstime: those of ended children, which PostgreSQL has many of.
        used[pid] = sum(map(int, fields[11:15])) / _TICKS
    left, total = list(pids), 0.0
    while left:
        pid = left.pop()
        total += used.get(pid, 0.0)
        left += children.get(pid, ())
    return total


def own_cpu_s() -> float:
    """User and system seconds of this very process so far."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def resident_mb(pid: int, name: str) -> float:
    """VmRSS or VmHWM, the peak, in MB."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    (kilobytes,) = (line.split()[1] for line in lines if line.startswith(name))
    return int(kilobytes) * 1_024 / 1_000_000
