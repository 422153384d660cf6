"""How much room a disk still has, and the floor below which nothing of ours is written."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from edgevad._files import output_errors
from edgevad.errors import OutputError

__all__ = ["DiskFloor", "free_bytes"]

# A statvfs can block on a busy disk, and frames come thirty times a second: one look serves for this long.
LOOK_EVERY_S = 1.0


class _Space(Protocol):
    """What is read of `os.statvfs_result`."""

    @property
    def f_bavail(self) -> int: ...
    @property
    def f_frsize(self) -> int: ...


def free_bytes(path: str | os.PathLike[str], *, statvfs: Callable[[Path], _Space] = os.statvfs) -> int:
    """Bytes that may still be written, by anybody but root, on the disk that holds the existing `path`.

    Raises:
        OutputError: the path is gone, or the disk does not answer.
    """
    place = Path(path)
    with output_errors(place):
        space = statvfs(place)
    return space.f_bavail * space.f_frsize


class DiskFloor:
    """Keeps `floor_bytes` of a disk free for everything else on the machine.

    The disk is looked at once a second at most; what was allowed since counts as written. Once it has refused, a tenth
    of the floor more must be free before it allows again, so that a disk at its limit is one outage and not hundreds.

    Args:
        path: an existing file or folder on that disk.
        statvfs, clock: where the figures and the time come from; tests pass their own.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        floor_bytes: int,
        *,
        statvfs: Callable[[Path], _Space] = os.statvfs,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.path = Path(path)
        self.floor_bytes = floor_bytes
        self._statvfs = statvfs
        self._clock = clock
        self._free_bytes = 0
        self._looked_s: float | None = None
        self._refused = False

    @property
    def free_bytes(self) -> int:
        """As of the last look, less what was allowed since; never more than a second old.

        Raises:
            OutputError: see the function `free_bytes`.
        """
        now_s = self._clock()
        if self._looked_s is None or now_s - self._looked_s >= LOOK_EVERY_S:
            self._free_bytes = free_bytes(self.path, statvfs=self._statvfs)
            self._looked_s = now_s
        return self._free_bytes

    def allows(self, size_bytes: int = 0) -> bool:
        """Whether the floor stays free when `size_bytes` more are written; if so they count as written.

        Raises:
            OutputError: see the function `free_bytes`.
        """
        margin = self.floor_bytes // 10 if self._refused else 0
        self._refused = self.free_bytes - size_bytes < self.floor_bytes + margin
        if not self._refused:
            self._free_bytes -= size_bytes
        return not self._refused

    def demand(self, size_bytes: int = 0) -> None:
        """As `allows`, in one clear error.

        Raises:
            OutputError: the disk has no room for `size_bytes` above its floor.
        """
        if not self.allows(size_bytes):
            raise OutputError(
                f"the disk is almost full ({self._free_bytes / 1e6:.0f} MB free)",
                where=self.path,
                expected=f"{self.floor_bytes / 1e6:.0f} MB that stay free",
                fix="Free some space, or lower the floor",
            )
