"""A folder for the frames of a judgement by hand, which is gone when it is over, however it ends."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from edgevad._files import try_lock, writable_directory

__all__ = ["scratch_folder"]

_PREFIX, _LOCK = ".judging-", "lock"


@contextmanager
def scratch_folder(parent: Path) -> Iterator[Path]:
    """A new folder below `parent`; it is deleted at the end, and where we are killed by whoever comes next.

    Raises:
        OutputError: it cannot be made.
    """
    writable_directory(parent)
    _sweep(parent)
    folder = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=parent))
    handle = try_lock(folder / _LOCK)
    try:
        yield folder / "frames"
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        if handle is not None:
            os.close(handle)


def _sweep(parent: Path) -> None:
    """The system takes a lock back when its process ends: what can be locked is nobody's any more."""
    for folder in parent.glob(f"{_PREFIX}*"):
        lock = folder / _LOCK
        # One without a lock is being made at this moment.
        if not lock.exists():
            continue
        handle = try_lock(lock)
        if handle is not None:
            shutil.rmtree(folder, ignore_errors=True)
            os.close(handle)
