"""Video files."""

from __future__ import annotations

import math
from collections.abc import Generator, Iterable
from contextlib import closing
from pathlib import Path
from typing import BinaryIO

import numpy as np

from edgevad.errors import SourceUnreadableError
from edgevad.sources.decoder import Decoded, open_capture, opencv_pictures, planar_pictures, planes_promised
from edgevad.sources.frame import Frame
from edgevad.sources.opencv import bgr_from, cv2
from edgevad.sources.planes import PlanarFrame
from edgevad.sources.source import SegmentCounter, Source

__all__ = ["DEFAULT_VIDEO_FPS_HZ", "VideoSource"]

DEFAULT_VIDEO_FPS_HZ = 30.0

# These store a list of their frames; elsewhere the count is only the duration times a nominal rate.
_EXACT_COUNT_SUFFIXES = frozenset({".avi", ".m4v", ".mov", ".mp4"})

# Up to this size a second decoding thread costs more in handing over than it decodes, and the model wants the core.
SMALL_PIXELS = 640 * 360


class VideoSource(Source):
    """A video file that OpenCV can decode, timed by its container.

    Where PyAV is installed and can leave the pictures as they were decoded, it reads them, and the frames are
    `PlanarFrame`s: the same pixels at the same times, made blue, green and red when they are looked at.

    Where the container's time does not advance (raw H.264, broken indexes), frames follow each other at its nominal
    rate, or at `fps_hz` where it states none (default 30). Where it goes back by more than three of these periods
    (recordings joined in one file), a new segment starts and goes on from there. A file that ends before the frames it
    announces gives what there is and counts the rest as skipped; `positions` does not count those, for the file does
    not hold them.

    Raises:
        SourceUnreadableError: on construction, when not even the first frame can be decoded.
    """

    def __init__(self, path: Path, *, fps_hz: float | None = None, gap_s: float = 1.0) -> None:
        super().__init__(str(path), kind="video")
        self._path = path
        self._gap_s = gap_s
        self._is_small = False
        capture = self._open()
        try:
            ok, image = capture.read()
            if not ok:
                raise SourceUnreadableError(_why_unreadable(self._path), where=self._path)
            pixels = capture.get(cv2.CAP_PROP_FRAME_WIDTH) * capture.get(cv2.CAP_PROP_FRAME_HEIGHT)
            self._is_small = 0 < pixels <= SMALL_PIXELS
            self._first_planes = planes_promised(capture, bgr_from(image))
            rate_hz, count = capture.get(cv2.CAP_PROP_FPS), capture.get(cv2.CAP_PROP_FRAME_COUNT)
        finally:
            capture.release()
        self.fps_hint_hz = rate_hz if 0 < rate_hz <= 1000 else None
        self.frame_count_hint = round(count) if 0 < count < 1e9 else None
        self._period_s = 1 / (self.fps_hint_hz or fps_hz or DEFAULT_VIDEO_FPS_HZ)

    def _open(self) -> cv2.VideoCapture:
        try:
            str(self._path).encode()
        except UnicodeEncodeError:  # OpenCV crashes on it
            raise SourceUnreadableError("its name is not valid UTF-8", where=self._path, fix="Rename it") from None
        capture = open_capture(self._path, alone=self._is_small)
        if not capture.isOpened():
            capture.release()
            raise SourceUnreadableError(_why_unreadable(self._path), where=self._path)
        return capture

    def _files(self) -> Iterable[Path]:
        return (self._path,)

    def _frames(self) -> Generator[Frame, None, None]:
        segments = SegmentCounter(self._gap_s, self._period_s)
        clock = _Clock(round(self._period_s * 1e9))
        name, index = self.name, 0
        with closing(self._pictures()) as pictures:
            for picture, position_ms in pictures:
                timestamp_ns = clock.timestamp_at(position_ms)
                self.positions = index + 1
                segment = segments.segment_at(timestamp_ns)
                if isinstance(picture, np.ndarray):
                    yield Frame(picture, index, timestamp_ns, name, segment)
                else:
                    yield PlanarFrame(picture, index, timestamp_ns, name, segment)
                index += 1
        self._count_missing(index, clock.recorded_ns / 1e9)

    def _pictures(self) -> Generator[Decoded, None, None]:
        any_picture = False
        if self._first_planes is not None:
            for decoded in planar_pictures(self._path, self._first_planes, alone=self._is_small):
                any_picture = True
                yield decoded
        if not any_picture:
            yield from opencv_pictures(self._path, self._open())

    def _count_missing(self, frames: int, duration_s: float) -> None:
        if self.frame_count_hint is None:
            return
        missing = self.frame_count_hint - frames
        missing_s = self.frame_count_hint * self._period_s - duration_s
        if missing > 2 and (self._path.suffix.lower() in _EXACT_COUNT_SUFFIXES or missing_s > 1.0):
            self._skip_reasons["announced by the file but not in it (cut off?)"] = missing


class _Clock:
    """Timestamps from the positions a container states: never the same twice, never back by a little.

    Attributes:
        recorded_ns: how long the recording is up to and including the last frame.
    """

    def __init__(self, period_ns: int) -> None:
        self._period_ns = period_ns
        self._last_ns = -period_ns
        self._furthest_ns = 0  # that the container stated since it last went back
        self.recorded_ns = 0

    def timestamp_at(self, position_ms: float) -> int:
        """The time of the next frame, in ns, of which the container says that it is at `position_ms`."""
        timestamp_ns = round(position_ms * 1e6) if math.isfinite(position_ms) and position_ms >= 0 else None
        following_ns = self._last_ns + self._period_ns
        if timestamp_ns is None:
            timestamp_ns = following_ns
        elif timestamp_ns < self._furthest_ns - 3 * self._period_ns:
            self._furthest_ns = timestamp_ns
            self._last_ns = timestamp_ns - self._period_ns
        else:
            self._furthest_ns = max(self._furthest_ns, timestamp_ns)
            timestamp_ns = timestamp_ns if timestamp_ns > self._last_ns else following_ns
        self.recorded_ns += timestamp_ns - self._last_ns
        self._last_ns = timestamp_ns
        return timestamp_ns


def _why_unreadable(path: Path) -> str:
    """What is wrong with a file that OpenCV does not open as a video."""
    try:
        with path.open("rb") as stream:
            size = stream.seek(0, 2)
            stream.seek(0)
            start = stream.read(12)
            if not size:
                return "the file is empty (0 bytes)"
            if start[4:8] == b"ftyp" and not _has_box(stream, size, b"moov"):
                return "the recording was cut off: its index (moov), written last, is missing"
    except OSError as error:
        return f"the file cannot be read ({error.strerror or error})"
    return "OpenCV cannot decode a single frame of it as video"


def _has_box(stream: BinaryIO, size: int, name: bytes) -> bool:
    """Whether an ISO base media file (mp4, mov) of `size` bytes has a top-level box called `name`."""
    position = 0
    while position + 8 <= size:
        stream.seek(position)
        header = stream.read(16)
        if header[4:8] == name:
            return True
        length = int.from_bytes(header[:4], "big")
        if length == 1:
            length = int.from_bytes(header[8:16], "big")
        if length < 8:
            return False
        position += length
    return False
