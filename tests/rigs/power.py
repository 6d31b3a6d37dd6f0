"""A disk whose power can be cut: an ext4 file system of its own in a file, which Linux can shut down hard.

It needs root, loop devices and mkfs.ext4; `missing` tells what is not there.
"""

import fcntl
import os
import shutil
import struct
import subprocess
from pathlib import Path
from types import TracebackType
from typing import Final, Self

_SIZE: Final = 256 * 1024 * 1024
# EXT4_IOC_SHUTDOWN, with the flag that lets nothing more get to the disk, not even the journal.
_SHUTDOWN: Final = 0x8004_587D
_NO_LOG_FLUSH: Final = 2


def missing() -> str | None:
    """What this machine lacks for a disk, if it lacks anything."""
    if os.geteuid() != 0:
        return "only root may mount a file system"
    absent = [name for name in ("mkfs.ext4", "mount", "umount") if shutil.which(name) is None]
    if absent:
        return f"there is no {absent[0]}"
    if not Path("/dev/loop-control").exists():
        return "there are no loop devices"
    return None


class Disk:
    """A file system in `folder`, at `path` while the `with` block lasts. Raises CalledProcessError."""

    def __init__(self, folder: Path) -> None:
        self._image = folder / "disk.img"
        self.path = folder / "disk"

    def __enter__(self) -> Self:
        self.path.mkdir()
        with self._image.open("wb") as image:
            image.truncate(_SIZE)
        _run("mkfs.ext4", "-q", "-F", self._image)
        self._mount()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.path.is_mount():
            # Lazily: a process that still has a file open must not keep the loop device.
            _run("umount", "--lazy", self.path)

    def cut(self) -> None:
        """The power is gone: whatever is not on the disk by now never gets there, and every call about it fails."""
        folder = os.open(self.path, os.O_RDONLY)
        try:
            fcntl.ioctl(folder, _SHUTDOWN, struct.pack("I", _NO_LOG_FLUSH))
        finally:
            os.close(folder)

    def restore(self) -> None:
        """The power is back: the file system as the disk has it. Nobody may have a file open."""
        _run("umount", self.path)
        self._mount()

    def _mount(self) -> None:
        _run("mount", "-o", "loop", self._image, self.path)


def _run(*words: str | Path) -> None:
    subprocess.run([str(word) for word in words], check=True, capture_output=True)
