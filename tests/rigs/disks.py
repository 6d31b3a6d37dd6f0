"""A disk that is full, or that fails: for real, where the machine lets a test have one."""

import os
import resource
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import pytest

_MOUNT_TIMEOUT_S: Final = 10.0
_MB: Final = 1 << 20


class SmallDisk:
    """A file system of its own in memory, of a few megabytes."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._filler = folder / "filler"

    def fill(self) -> None:
        """Leave no byte free."""
        with self._filler.open("wb", buffering=0) as filler:
            for size in (_MB, 4_096, 1):
                _write_all(filler.fileno(), bytes(size))

    def free(self) -> None:
        """Make room again."""
        self._filler.unlink()


def _write_all(descriptor: int, piece: bytes) -> None:
    try:
        while os.write(descriptor, piece):
            pass
    except OSError:
        return


@contextmanager
def small_disk(folder: Path, *, megabytes: int, owner: int = 0) -> Iterator[SmallDisk]:
    """Mount one in the folder while the block lasts; the test is skipped where that may not be done."""
    folder.mkdir()
    options = f"size={megabytes}m,mode=0700,uid={owner},gid={owner}"
    mount = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)]
    try:
        ran = subprocess.run(mount, check=False, capture_output=True, text=True, timeout=_MOUNT_TIMEOUT_S)
    except FileNotFoundError:
        pytest.skip("there is no program mount here")
    if ran.returncode != 0:
        pytest.skip(f"a small disk needs the right to mount one: {ran.stderr.strip()}")
    try:
        yield SmallDisk(folder)
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True, timeout=_MOUNT_TIMEOUT_S)


@contextmanager
def failing_writes(pid: int) -> Iterator[None]:
    """Have every write of the process to a file fail while the block lasts. Skips the test where that cannot be."""
    if not hasattr(resource, "prlimit"):
        pytest.skip("only Linux can limit the files of another process")
    before = resource.prlimit(pid, resource.RLIMIT_FSIZE)
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (0, before[1]))
    try:
        yield
    finally:
        resource.prlimit(pid, resource.RLIMIT_FSIZE, before)
