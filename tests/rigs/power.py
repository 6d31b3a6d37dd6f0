"""A disk whose power can be cut: an ext4 file system of its own in a file, which Linux can shut down hard.

It needs root, loop devices, mkfs.ext4 and fstrim; `missing` tells what is not there.
"""

import fcntl
import os
import shutil
import struct
import subprocess
from pathlib import Path
from types import TracebackType
from typing import Final, Self

_MB: Final = 1 << 20
# EXT4_IOC_SHUTDOWN, with the flag that lets nothing more get to the disk, not even the journal.
_SHUTDOWN: Final = 0x8004_587D
_NO_LOG_FLUSH: Final = 2


def missing() -> str | None:
    """What this machine lacks for a disk, if it lacks anything."""
    if os.geteuid() != 0:
        return "only root may mount a file system"
    absent = [name for name in ("mkfs.ext4", "mount", "umount", "fstrim") if shutil.which(name) is None]
    if absent:
        return f"there is no {absent[0]}"
    if not Path("/dev/loop-control").exists():
        return "there are no loop devices"
    return None


class Disk:
    """A file system in `folder`, at `path` while the `with` block lasts. Raises CalledProcessError.

    Its blocks take room in `folder` as they are first written to. While there is none, the disk fails: Linux takes what
    is written, and says EIO when it has to be made durable.
    """

    def __init__(self, folder: Path, *, megabytes: int) -> None:
        self._image = folder / "disk.img"
        self._bytes = megabytes * _MB
        self.path = folder / "disk"

    def __enter__(self) -> Self:
        self.path.mkdir()
        with self._image.open("wb") as image:
            image.truncate(self._bytes)
        _run("mkfs.ext4", "-q", "-F", self._image)
        self._give_room_to_all_but_free_blocks()
        return self

    def _give_room_to_all_but_free_blocks(self) -> None:
        """A disk that fails must be able to write its journal, or the file system would go read-only."""
        with self._image.open("r+b", buffering=0) as image:
            for place in range(0, self._bytes, _MB):
                piece = os.pread(image.fileno(), _MB, place)
                os.pwrite(image.fileno(), piece, place)
        self._mount()
        _run("fstrim", self.path)

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
