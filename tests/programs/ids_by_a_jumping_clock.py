"""Ids made while the process's wall clock jumps, with what the clock said, as JSON. Needs `shifted_clock.c` loaded."""

import ctypes
import json

from handoff.system import SystemClock, SystemIds

JUMPS_S = (0, -60, -86_400, 86_400, -86_400 * 40, 0)
EACH = 2_000

if __name__ == "__main__":
    shift, clock, ids = ctypes.CDLL(None).shift_clock, SystemClock(), SystemIds()
    shift.argtypes = [ctypes.c_longlong]
    made, said = [], []
    for seconds in JUMPS_S:
        shift(seconds)
        said.append(clock.now_ms())
        made += [ids.fresh() for _ in range(EACH)]
    print(json.dumps({"ids": made, "said": said}))
