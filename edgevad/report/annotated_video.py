"""Annotated frames as a video file, or in a window."""

from __future__ import annotations

import errno
import os
import shutil
import sys
from collections.abc import Callable
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING

import cv2

from edgevad._files import output_errors, writable_directory
from edgevad.errors import OptionError, OutputError
from edgevad.events.sink import Sink
from edgevad.report.overlay import Annotator

if TYPE_CHECKING:
    from edgevad.runtime.pipeline import Result

__all__ = ["VideoSink", "WindowSink", "writable_rate_hz"]

_CODECS = {".mp4": "mp4v", ".m4v": "mp4v", ".mov": "mp4v", ".avi": "MJPG", ".mkv": "mp4v"}
_DISK_CHECK_FRAMES = 32
_DISK_RESERVE_BYTES = 2_000_000
_LARGEST_TIMEBASE = 65_535
_LOWEST_RATE_HZ, _HIGHEST_RATE_HZ = 0.01, 1000.0  # OpenCV takes less for 0, Matroska's clock ticks in ms


class VideoSink(Sink):
    """Writes annotated frames to `path` at `fps_hz`; the file takes its name when the run ends, whole.

    Raises:
        OptionError: the name's ending is of no kind of video that can be written.
        OutputError: the file cannot be written, or the disk is full (on construction and from every method).
    """

    def __init__(self, path: str | PathLike[str], annotator: Annotator, *, fps_hz: float) -> None:
        self.path = Path(path)
        if self.path.suffix.lower() not in _CODECS:
            raise OptionError(
                f"cannot write a {self.path.suffix or 'nameless kind of'} video",
                where=self.path,
                expected=f"a name that ends in one of {', '.join(_CODECS)}",
            )
        writable_directory(self.path.parent)
        with output_errors(self.path):
            if self.path.is_dir():
                raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(self.path))
        # Not made of the video's own name, which may be as long as names can be.
        self._part = self.path.with_name(f".edgevad.{os.getpid()}.{id(self):x}.part{self.path.suffix}")
        self._annotate = annotator
        self._fps_hz = writable_rate_hz(fps_hz)
        self._writer: cv2.VideoWriter | None = None
        self._frames = 0

    def push(self, result: Result) -> None:
        picture = self._annotate(result)
        if self._writer is None:
            self._writer = self._open((picture.shape[1], picture.shape[0]))
        if self._frames % _DISK_CHECK_FRAMES == 0:
            self._check_disk()
        self._writer.write(picture)
        self._frames += 1

    def close(self) -> None:
        if self._writer is None:
            return
        self._writer.release()
        self._writer = None
        try:
            # OpenCV's writer keeps its failures to itself: the file is believed when it can be read back.
            capture = cv2.VideoCapture(str(self._part))
            frames = round(capture.get(cv2.CAP_PROP_FRAME_COUNT)) if capture.isOpened() else 0
            capture.release()
            if frames != self._frames or not frames:
                self._check_disk()
                raise OutputError(f"only {frames} of {self._frames} video frames were written", where=self.path)
            with output_errors(self.path):
                self._part.replace(self.path)
        finally:
            self._part.unlink(missing_ok=True)

    def abandon(self) -> None:
        """What there is so far is kept, unless it cannot be."""
        try:
            self.close()
        except OutputError:
            self._part.unlink(missing_ok=True)

    def _open(self, size: tuple[int, int]) -> cv2.VideoWriter:
        codec = cv2.VideoWriter.fourcc(*_CODECS[self.path.suffix.lower()])
        writer = cv2.VideoWriter(str(self._part), codec, self._fps_hz, size)
        if not writer.isOpened():
            writer.release()
            self._part.unlink(missing_ok=True)
            self._check_disk()
            raise OutputError("OpenCV cannot write a video there", where=self.path, fix="Choose another name or folder")
        return writer

    def _check_disk(self) -> None:
        if shutil.disk_usage(self.path.parent).free < _DISK_RESERVE_BYTES:
            raise OutputError(
                "the disk is full", where=self.path, fix="Free some space or choose another output folder"
            )


def writable_rate_hz(fps_hz: float) -> float:
    """The rate next to `fps_hz` that a video file can hold: 0.01 to 1000 Hz.

    MPEG-4 counts time in ticks of 16 bits, and OpenCV makes them of the rate's decimals: 29.97 fits, 66.6667 does not.
    """
    rate_hz = min(max(fps_hz, _LOWEST_RATE_HZ), _HIGHEST_RATE_HZ)
    decimals = next(decimals for decimals in (3, 2, 1) if rate_hz * 10**decimals <= _LARGEST_TIMEBASE)
    return round(rate_hz, decimals)


class WindowSink(Sink):
    """Shows annotated frames in a window; q or Escape calls `quit`.

    Raises:
        OptionError: there is no display, or this OpenCV was built without windows.
    """

    _TITLE = "edgevad (q quits)"

    def __init__(self, annotator: Annotator, quit: Callable[[], None]) -> None:
        # Without a display, Qt does not fail but aborts the process.
        if sys.platform.startswith("linux") and not (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
            raise _no_window("there is no display")
        self._annotate = annotator
        self._quit = quit
        try:
            cv2.namedWindow(self._TITLE, cv2.WINDOW_NORMAL | cv2.WINDOW_KEEPRATIO)
        except cv2.error as error:
            raise _no_window("this OpenCV has no windows") from error

    def push(self, result: Result) -> None:
        cv2.imshow(self._TITLE, self._annotate(result))
        if cv2.waitKey(1) & 0xFF in (ord("q"), 27):
            self._quit()

    def close(self) -> None:
        try:
            cv2.destroyWindow(self._TITLE)
        except cv2.error:
            return  # closed already, by hand or by us


def _no_window(what: str) -> OptionError:
    return OptionError(f"--show cannot open a window: {what}", fix="Use --save annotated.mp4 instead")
