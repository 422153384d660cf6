"""One process at a time logs into a folder."""

from __future__ import annotations

import os
from contextlib import suppress
from os.path import samestat
from pathlib import Path

from edgevad._files import output_errors, try_lock
from edgevad.errors import StoreError

__all__ = ["FolderLock"]

_LOCK_NAME = ".lock"


class FolderLock:
    """A lock on `root`, held from `acquire` until `release` or the end of the process, however it ends.

    Raises:
        StoreError: another process holds it (on construction).
        OutputError: the lock's file cannot be written (on construction and from `acquire`).
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self._handle: int | None = None
        holder = self._try()
        self.release()
        if holder is not None and holder != str(os.getpid()):
            raise self._held_by(holder)

    def acquire(self) -> None:
        """Does nothing where this object has it already.

        Raises:
            StoreError: somebody else has it: another process, or another log in this one.
        """
        holder = self._try()
        if holder is not None:
            raise self._held_by(holder)

    def release(self) -> None:
        """May be called twice."""
        handle, self._handle = self._handle, None
        if handle is not None:
            os.close(handle)

    def _try(self) -> str | None:
        """Take it, or say which process has it; empty where that is not known."""
        path = self._root / _LOCK_NAME
        if self._handle is not None:
            with suppress(OSError):
                if samestat(os.fstat(self._handle), path.stat()):
                    return None
            self.release()  # the folder was removed, and the lock on its file holds nothing
        handle = try_lock(path)
        if handle is None:
            with output_errors(path):
                return path.read_bytes()[:20].decode("ascii", "replace").strip()
        self._handle = handle
        with suppress(OSError):  # on a full disk it is not said who holds it
            os.ftruncate(handle, 0)
            os.pwrite(handle, f"{os.getpid()}\n".encode(), 0)
        return None

    def _held_by(self, holder: str) -> StoreError:
        return StoreError(
            "another process logs into this folder" + (f" (process {holder})" if holder else ""),
            where=self._root,
            fix="Stop it, or name another folder",
        )
