"""What a live source needs of a driver."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Any

from edgevad.sources.opencv import cv2

__all__ = ["Capture", "OpenCVCapture", "Opener", "rate_of"]


class Capture:
    """An open camera. Opened, read and released by one thread only; each of these may hang, or raise anything."""

    #: Nominal frame rate, None where unknown.
    rate_hz: float | None = None

    def read(self) -> tuple[bool, Any]:
        """Wait for the next frame: True and its pixels (H, W), (H, W, 1 | 3 | 4), or False where there is none."""
        raise NotImplementedError

    def taken_s(self) -> float | None:
        """When the frame read last was taken, by the driver's clock, in seconds; None where the driver does not say.

        It is believed where it can be a time of `time.perf_counter()`.
        """
        return None

    def release(self) -> None:
        """Let go of the camera."""


_USUAL_RATE_HZ = 25.0
_CATCHING_UP_S = 1.0  # a machine that decodes more slowly than frames come never gets there

Opener = Callable[[], Capture]


class OpenCVCapture(Capture):
    """A `cv2.VideoCapture` that is open.

    Args:
        is_stamped: the driver's time of each buffer is its position, as V4L2's is.
    """

    def __init__(self, capture: cv2.VideoCapture, *, is_stamped: bool = False) -> None:
        self._capture = capture
        self._is_stamped = is_stamped
        self._is_grabbed = False
        self.rate_hz = rate_of(capture)

    def catch_up(self) -> None:
        """Pass over what waits in line already, up to the first frame that had to be waited for.

        Frames that lie in line all come at once: by the times of their arrival, everything in them would move at a
        multiple of its speed.
        """
        wait_s = 0.5 / (self.rate_hz or _USUAL_RATE_HZ)
        end_s = before_s = time.perf_counter()
        end_s += _CATCHING_UP_S
        self._is_grabbed = True
        while self._is_grabbed and before_s < end_s:
            self._is_grabbed = bool(self._capture.grab())
            now_s = time.perf_counter()
            if now_s - before_s >= wait_s:
                break
            before_s = now_s

    def read(self) -> tuple[bool, Any]:
        if self._is_grabbed:
            self._is_grabbed = False
            return self._capture.retrieve()
        return self._capture.read()

    def taken_s(self) -> float | None:
        if not self._is_stamped:
            return None
        # V4L2 drivers stamp buffers by CLOCK_MONOTONIC, perf_counter's; some by the time of day, or not at all.
        return float(self._capture.get(cv2.CAP_PROP_POS_MSEC)) / 1000

    def release(self) -> None:
        self._capture.release()


def rate_of(capture: cv2.VideoCapture) -> float | None:
    """The frame rate that `capture` states, in Hz; None where it states none, or nonsense."""
    rate_hz = float(capture.get(cv2.CAP_PROP_FPS))
    return rate_hz if math.isfinite(rate_hz) and 0 < rate_hz <= 1000 else None
