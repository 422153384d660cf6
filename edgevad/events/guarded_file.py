"""The file of a clip: looks at the disk before it grows, and is synced now and then."""

from __future__ import annotations

import io
import os
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from edgevad._files import output_errors
from edgevad.errors import EdgevadError
from edgevad.events.disk import DiskFloor
from edgevad.events.fragments import trim

__all__ = ["GuardedFile"]

SYNC_EVERY_S = 1.0


class GuardedFile(io.RawIOBase):
    """What a muxer writes fragments into.

    What goes wrong is kept in `error` and never raised: several versions of PyAV free memory twice when a write of
    theirs ends in an exception, and take the whole process down.
    """

    def __init__(self, path: Path, floor: DiskFloor | None) -> None:
        super().__init__()
        self.error: EdgevadError | None = None
        self._has_given_up = False
        self._path = path
        self._floor = floor
        with output_errors(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            self._raw = path.open("wb", buffering=0)
        self._synced_s = time.monotonic()

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        if self.error is None and not self._has_given_up:
            try:
                self._write(memoryview(data))
            except EdgevadError as error:
                self.error = error
        return len(data)

    def _write(self, data: memoryview) -> None:
        if self._floor is not None:
            self._floor.demand(len(data))
        with output_errors(self._path):
            written = 0
            while written < len(data):
                written += self._raw.write(data[written:]) or 0
            if time.monotonic() - self._synced_s >= SYNC_EVERY_S:
                os.fdatasync(self._raw.fileno())
                self._synced_s = time.monotonic()

    def finish(self) -> None:
        with output_errors(self._path):
            os.fsync(self._raw.fileno())
            self._raw.close()

    def give_up(self) -> None:
        """Leave the file at its last whole fragment, and take nothing more."""
        self._has_given_up = True
        with suppress(OSError):
            self._raw.close()
            trim(self._path)
