"""One process at a time logs into a folder."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from edgevad._files import output_errors
from edgevad.errors import StoreError

__all__ = ["FolderLock"]

_LOCK_NAME = ".lock"


class FolderLock:
    """Holds `root` for this process until it is released or the process ends, however it ends.

    Raises:
        StoreError: somebody else holds it.
        OutputError: the lock's file cannot be written.
    """

    def __init__(self, root: Path) -> None:
        path = root / _LOCK_NAME
        with output_errors(path):
            self._handle: int | None = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
            try:
                fcntl.flock(self._handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                holder = os.pread(self._handle, 20, 0).decode("ascii", "replace").strip()
                self.release()
                raise StoreError(
                    "another process logs into this folder" + (f" (process {holder})" if holder else ""),
                    where=root,
                    fix="Stop it, or name another folder",
                ) from None
            os.ftruncate(self._handle, 0)
            os.pwrite(self._handle, f"{os.getpid()}\n".encode(), 0)

    def release(self) -> None:
        """May be called twice."""
        handle, self._handle = self._handle, None
        if handle is not None:
            os.close(handle)
