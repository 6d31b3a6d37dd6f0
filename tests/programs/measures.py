"""Runs `handoff` with the arguments of this program, and prints what that took as JSON.

A process counts as its own peak what its parent had resident when it was forked: so a small parent, this one.
"""

import json
import os
import subprocess
import sys
import time

began = time.perf_counter()
process = subprocess.Popen([sys.executable, "-m", "handoff", *sys.argv[1:]], stdout=subprocess.DEVNULL)
_, status, used = os.wait4(process.pid, 0)
process.returncode = os.waitstatus_to_exitcode(status)
print(json.dumps([time.perf_counter() - began, used.ru_utime + used.ru_stime, used.ru_maxrss / 1_024]))
sys.exit(process.returncode)
