"""A folder in memory for stores that need not outlive the machine: on a disk most of a test is waiting for it.

Run as a program it prints where that is; see `make test`.
"""

import os
import tempfile
from pathlib import Path
from typing import Final

# Where Linux has one. Containers often give it 64 MB.
SHARED: Final = Path("/dev/shm")
# Several servers at one time, each with its log and a few databases of 8 MB.
_ENOUGH: Final = 2 << 30


def folder(candidate: Path = SHARED, *, enough: int = _ENOUGH) -> Path:
    """The candidate, where it has so many bytes left and lets programs run; or else where temporary files are."""
    return candidate if _is_good(candidate, enough) else Path(tempfile.gettempdir())


def _is_good(candidate: Path, enough: int) -> bool:
    if not os.access(candidate, os.W_OK | os.X_OK):
        return False
    found = os.statvfs(candidate)
    return found.f_bavail * found.f_frsize >= enough and not found.f_flag & getattr(os, "ST_NOEXEC", 0)


if __name__ == "__main__":
    print(folder())
