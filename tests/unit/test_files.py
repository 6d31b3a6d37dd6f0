"""How many files a process may have open, in processes of their own."""

import subprocess
import sys

import pytest

from rigs.service import environment

PROGRAM = """
import resource, sys
from handoff.system import allow_files
resource.setrlimit(resource.RLIMIT_NOFILE, (64, 128))
print(allow_files(int(sys.argv[1])), resource.getrlimit(resource.RLIMIT_NOFILE)[0])
"""


@pytest.mark.parametrize(("wanted", "told"), [(32, "32 64"), (100, "100 100"), (1_000, "128 128")])
def test_a_process_has_as_many_files_as_it_wants_up_to_its_hard_limit(wanted: int, told: str) -> None:
    program = [sys.executable, "-c", PROGRAM, str(wanted)]
    said = subprocess.run(program, env=environment("sqlite://"), capture_output=True, text=True, check=True)

    assert said.stdout.strip() == told


SERVING = """
import resource
from handoff import Settings
from handoff.cli.serve import connections_limit
resource.setrlimit(resource.RLIMIT_NOFILE, (64, 400))
print(connections_limit(Settings()))
"""


def test_a_server_has_no_more_connections_than_it_has_files_for_and_says_so() -> None:
    program = [sys.executable, "-c", SERVING]
    said = subprocess.run(program, env=environment("sqlite:///x"), capture_output=True, text=True, check=True)

    assert said.stdout.strip() == "144"
    assert "fewer connections than set: raise the limit of open files" in said.stderr
