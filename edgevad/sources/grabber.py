"""One opening of a camera, in a thread of its own."""

from __future__ import annotations

import math
import threading
import time
from contextlib import suppress
from typing import Protocol

import numpy as np

from edgevad.sources.capture import Capture, Opener
from edgevad.sources.frame import Image
from edgevad.sources.opencv import bgr_from, cv2

__all__ = ["Grabber", "Listener"]

_RETRY_S = 0.01
# A driver's stamp that lies further back than this is not of the clock we think it is of.
_OLDEST_STAMP_S = 1.0


class Listener(Protocol):
    """Who is told what a grabber finds; called in the grabber's thread, and never waits for long."""

    def opened(self, grabber: Grabber, rate_hz: float | None) -> None: ...

    def grabbed(self, grabber: Grabber, image: Image, taken_ns: int, taken_s: float) -> None:
        """A frame, the Unix time it was taken at in nanoseconds, and the same by `time.perf_counter()`."""

    def spoilt(self, grabber: Grabber) -> None:
        """A frame came that is none: of no size, or of a kind that no image has."""

    def ended(self, grabber: Grabber, error: Exception | None) -> None:
        """It gives nothing any more: `error` where opening or reading raised it, None where reads just fail."""


class Grabber:
    """A thread that opens a camera, and reads it without pause so that nothing grows old in the driver's buffers.

    Opening and reading can hang in a driver for ever. So nobody waits for this thread: it is told to leave, forgotten,
    and lets go of the camera whenever the driver lets go of it.

    Args:
        first_s, end_s: reads that fail are tried again for this long, before and after the first frame.
    """

    def __init__(self, opener: Opener, listener: Listener, *, name: str, first_s: float, end_s: float) -> None:
        self._opener = opener
        self._listener = listener
        self._first_s = first_s
        self._end_s = end_s
        self._leaving = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"edgevad camera {name}", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def leave(self) -> None:
        """Let go of the camera as soon as the driver allows it."""
        self._leaving.set()

    @property
    def is_alive(self) -> bool:
        return self._thread.is_alive()

    def join(self, timeout_s: float) -> None:
        self._thread.join(timeout_s)

    def _run(self) -> None:
        capture: Capture | None = None
        error: Exception | None = None
        try:
            capture = self._opener()
            self._listener.opened(self, capture.rate_hz)
            self._read_all(capture)
        except Exception as problem:  # whatever a driver throws ends this opening, and nothing else
            error = problem
        # Before the release, which may hang as well.
        self._listener.ended(self, error)
        if capture is not None:
            with suppress(Exception):
                capture.release()

    def _read_all(self, capture: Capture) -> None:
        patience_s = self._first_s
        failing_since_s: float | None = None
        last_stamp_s = taken_s = -math.inf
        while not self._leaving.is_set():
            asked_s = time.perf_counter()
            ok, pixels = capture.read()
            now_s, now_ns = time.perf_counter(), time.time_ns()
            if ok and (image := _image_from(pixels)) is not None:
                failing_since_s, patience_s = None, self._end_s
                stamp_s = capture.taken_s()
                # Where the driver's clock jitters or is another one, the time of arrival is the better one.
                if stamp_s is not None and last_stamp_s < stamp_s and 0 <= now_s - stamp_s <= _OLDEST_STAMP_S:
                    last_stamp_s = stamp_s
                    taken_s = max(stamp_s, taken_s)
                else:
                    taken_s = now_s
                self._listener.grabbed(self, image, now_ns - round((now_s - taken_s) * 1e9), taken_s)
                continue
            if ok:
                self._listener.spoilt(self)
            if failing_since_s is None or now_s - asked_s > patience_s:
                # A read that fails after a long wait is a driver's own time limit; whether the camera is lost by then
                # is not the driver's to say.
                failing_since_s = now_s
            elif now_s - failing_since_s >= patience_s:
                return
            self._leaving.wait(_RETRY_S)


def _image_from(pixels: object) -> Image | None:
    """The frame as (H, W, 3) uint8, or None where it is none."""
    if not isinstance(pixels, np.ndarray) or not pixels.size or pixels.ndim not in (2, 3):
        return None
    try:
        image = bgr_from(pixels)
    except (cv2.error, IndexError):
        return None
    return image if image.dtype == np.uint8 and image.ndim == 3 and image.shape[2] == 3 else None
