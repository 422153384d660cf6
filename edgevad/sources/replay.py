"""Images shown again and again as if a camera took them: for measuring, and for trying things out without a camera."""

from __future__ import annotations

import time
from collections.abc import Sequence
from itertools import cycle

from edgevad.sources.capture import Capture
from edgevad.sources.frame import Image
from edgevad.sources.live import LiveSource

__all__ = ["ReplayCapture", "replay_camera"]


class ReplayCapture(Capture):
    """Gives `images` over and over, `fps_hz` a second; None: as fast as they are read."""

    def __init__(self, images: Sequence[Image], fps_hz: float | None) -> None:
        self.rate_hz = fps_hz
        self._images = cycle(images)
        self._period_s = 0.0 if fps_hz is None else 1.0 / fps_hz
        self._due_s = time.perf_counter()

    def read(self) -> tuple[bool, Image]:
        if self._period_s:
            # A camera keeps to its clock, however late the last frame was fetched.
            self._due_s += self._period_s
            time.sleep(max(self._due_s - time.perf_counter(), 0.0))
        return True, next(self._images)


def replay_camera(images: Sequence[Image], *, name: str, fps_hz: float | None) -> LiveSource:
    """A live source of these images, (H, W, 3) uint8 BGR each."""
    return LiveSource(lambda: ReplayCapture(images, fps_hz), name=name, kind="camera")
