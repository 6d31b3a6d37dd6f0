"""A command in a process of its own, and what it took."""

import json
import subprocess
import sys
from typing import NamedTuple

from rigs.service import environment


class Ran(NamedTuple):
    """Seconds by the clock and of CPU, and the peak of resident memory in MB."""

    seconds: float
    cpu_s: float
    peak_mb: float


def measured(database_url: str, *arguments: str) -> Ran:
    """Run `handoff` with the arguments, from its start to its end; it must end well."""
    command = [sys.executable, "-m", "programs.measures", *arguments]
    told = subprocess.run(command, env=environment(database_url), stdout=subprocess.PIPE, check=True).stdout
    return Ran(*json.loads(told))
