"""Live frames: a thread drains the camera, and the newest frame wins."""

from __future__ import annotations

import threading
import time
from collections.abc import Generator
from typing import Any, Protocol

from edgevad.errors import SourceError, SourceUnreadableError
from edgevad.sources.frame import Frame
from edgevad.sources.opencv import bgr_from
from edgevad.sources.source import SegmentCounter, Source

__all__ = ["Capture", "LiveSource"]

_RETRY_S = 0.01
_JOIN_S = 2.0


class Capture(Protocol):
    """What `LiveSource` needs of a `cv2.VideoCapture`."""

    def read(self) -> tuple[bool, Any]: ...

    def release(self) -> None: ...


class LiveSource(Source):
    """The frames of an open `capture`, timed by the system clock (Unix time) when they arrive.

    A thread reads without pause from construction on, so nothing grows old in the driver's buffers; it alone touches
    the capture, and it releases it. `Frame.index` counts the frames captured since the pass began, those dropped in
    favour of a newer one included. When no frame comes for `timeout_s` the pass ends in `SourceError`: a lost camera
    gives no frames, never a black one.

    Raises:
        SourceUnreadableError: on construction, when no first frame comes within `timeout_s`.
    """

    is_live = True

    def __init__(self, capture: Capture, *, name: str, kind: str, gap_s: float = 1.0, timeout_s: float = 5.0) -> None:
        super().__init__(name, kind=kind)
        self._capture = capture
        self._gap_s = gap_s
        self._timeout_s = timeout_s
        self._fresh = threading.Condition()
        self._newest: tuple[int, int, Any] | None = None  # capture count, ns, image
        self._captured = 0
        self._first = 0  # capture count at which the pass under way began
        self._failure: str | None = None
        self._thread = threading.Thread(target=self._drain, name=f"edgevad camera {name}", daemon=True)
        self._thread.start()
        with self._fresh:
            self._fresh.wait_for(self._has_news, timeout_s)
            got_frame = self._newest is not None
        if not got_frame:
            self.close()
            raise SourceUnreadableError(
                self._failure or f"it opens but gives no frame within {timeout_s:g} s",
                where=name,
                fix="Check the cable, and that no other program is using the camera",
            )

    def reset(self) -> None:
        super().reset()
        with self._fresh:
            self._first = self._newest[0] if self._newest is not None else self._captured

    def close(self) -> None:
        with self._fresh:
            self._closed = True
            self._fresh.notify_all()
        super().close()
        # A read that hangs in the driver keeps its thread until the driver gives up; closing does not wait for that.
        self._thread.join(_JOIN_S)

    def _frames(self) -> Generator[Frame, None, None]:
        period_s = 1 / self.fps_hint_hz if self.fps_hint_hz else None
        segments = SegmentCounter(self._gap_s, period_s, follow=True)
        while True:
            with self._fresh:
                self._fresh.wait_for(self._has_news, self._timeout_s)
                newest, self._newest = self._newest, None
            if self._closed:
                return
            if newest is None:
                what = self._failure or f"no frame for {self._timeout_s:g} s"
                raise SourceError(f"camera lost: {what}", where=self.name)
            captured, timestamp_ns, image = newest
            index = captured - self._first
            self.dropped += index - self.positions
            self.positions = index + 1
            yield Frame(image, index, timestamp_ns, self.name, segments.segment_at(timestamp_ns))

    def _has_news(self) -> bool:
        return self._newest is not None or self._failure is not None or self._closed

    def _drain(self) -> None:
        try:
            while not self._closed:
                ok, pixels = self._capture.read()
                timestamp_ns = time.time_ns()
                if not ok or pixels is None or not pixels.size:
                    time.sleep(_RETRY_S)
                    continue
                image = bgr_from(pixels)
                with self._fresh:
                    self._newest = (self._captured, timestamp_ns, image)
                    self._captured += 1
                    self._fresh.notify_all()
        except Exception as error:  # whatever a driver throws ends the thread, and is told by the thread that asks
            with self._fresh:
                self._failure = " ".join(str(error).split()) or type(error).__name__
                self._fresh.notify_all()
        finally:
            self._capture.release()
