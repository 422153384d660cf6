"""Network streams: RTSP, HTTP and others, read by OpenCV's FFmpeg."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from edgevad.errors import OptionError, SourceNotFoundError
from edgevad.sources.address import without_password
from edgevad.sources.capture import OpenCVCapture
from edgevad.sources.opencv import cv2, decoding_threads

__all__ = ["STREAM_SCHEMES", "Stream"]

STREAM_SCHEMES = ("http", "https", "rtmp", "rtp", "rtsp", "rtsps", "srt", "tcp", "udp")

# OpenCV takes FFmpeg's options from the environment alone, and reads it whenever it opens something.
OPTIONS_VARIABLE = "OPENCV_FFMPEG_CAPTURE_OPTIONS"
# TCP, for lost packets make gray smears, which are anomalies. And no frame is looked at to learn the rate: that took
# seconds, of which a camera that comes back has none to lose.
RTSP_OPTIONS = "rtsp_transport;tcp|fpsprobesize;0"
# FFmpeg holds back a frame for each decoding thread but one: with one a core, its default, the newest is an old one.
# Of more pixels than these one thread decodes too few a second.
_THREADS, _MORE_THREADS = 1, 4
_PIXELS_A_THREAD = 1920 * 1200


@dataclass(frozen=True)
class Stream:
    """A stream's address; calling it connects.

    Attributes:
        timeout_s: how long connecting may take.
        stale_s: how long a read may take.

    Raises:
        OptionError: on construction, for an address of a kind that FFmpeg cannot read.
    """

    url: str
    timeout_s: float
    stale_s: float

    def __post_init__(self) -> None:
        if self.scheme not in STREAM_SCHEMES:
            raise OptionError(
                f"streams of kind {self.scheme}:// are not supported",
                where=self.name,
                expected=f"csi or one of {', '.join(STREAM_SCHEMES)}",
            )

    @property
    def scheme(self) -> str:
        return self.url.partition("://")[0].lower()

    @property
    def name(self) -> str:
        """The address without its password."""
        return without_password(self.url)

    def __call__(self) -> OpenCVCapture:
        """Connect.

        Raises:
            SourceNotFoundError: nobody answers there, or it is no video stream.
        """
        if cv2.CAP_FFMPEG in cv2.videoio_registry.getStreamBackends():
            capture = self._connect(_THREADS)
            pixels = capture.get(cv2.CAP_PROP_FRAME_WIDTH) * capture.get(cv2.CAP_PROP_FRAME_HEIGHT)
            if pixels > _PIXELS_A_THREAD:
                capture.release()
                capture = self._connect(_MORE_THREADS)
        else:
            capture = cv2.VideoCapture(self.url, cv2.CAP_ANY)
        if not capture.isOpened():
            capture.release()
            raise SourceNotFoundError(
                f"no video stream could be opened there within {self.timeout_s:g} s",
                where=self.name,
                fix="Check the address, the password and the network",
            )
        opened = OpenCVCapture(capture)
        opened.catch_up()
        return opened

    def _connect(self, threads: int) -> cv2.VideoCapture:
        limits = [cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, _ms(self.timeout_s)]
        limits += [cv2.CAP_PROP_READ_TIMEOUT_MSEC, _ms(self.stale_s)]
        with _ffmpeg_options(RTSP_OPTIONS if self.scheme.startswith("rtsp") else None):
            return cv2.VideoCapture(self.url, cv2.CAP_FFMPEG, limits + decoding_threads(threads))


class _Setting:
    """The variable is the process's, and streams are opened side by side: the last opening to end restores it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._users = 0

    @contextmanager
    def __call__(self, options: str | None) -> Iterator[None]:
        with self._lock:
            # Who has set it knows better.
            is_ours = options is not None and (self._users > 0 or OPTIONS_VARIABLE not in os.environ)
            if is_ours and options is not None:
                os.environ[OPTIONS_VARIABLE] = options
                self._users += 1
        try:
            yield
        finally:
            if is_ours:
                with self._lock:
                    self._users -= 1
                    if not self._users:
                        os.environ.pop(OPTIONS_VARIABLE, None)


_ffmpeg_options = _Setting()


def _ms(seconds: float) -> int:
    return max(1, round(seconds * 1000))
