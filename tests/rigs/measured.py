"""A command in a process of its own, and what it took."""

import os
import subprocess
import sys
import time
from typing import NamedTuple

from rigs.service import environment


class Ran(NamedTuple):
    """Seconds by the clock and of CPU, and the peak of resident memory in MB."""

    seconds: float
    cpu_s: float
    peak_mb: float


def measured(database_url: str, *arguments: str) -> Ran:
    """Run `handoff` with the arguments, from its start to its end; it must end well."""
    began = time.perf_counter()
    command = [sys.executable, "-m", "handoff", *arguments]
    process = subprocess.Popen(command, env=environment(database_url), stdout=subprocess.DEVNULL)
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0, f"{arguments[0]} ended with {process.returncode}"
    return Ran(time.perf_counter() - began, used.ru_utime + used.ru_stime, used.ru_maxrss / 1_024)
