"""Clips: H.264 in fragmented MP4 by PyAV, or VP8 in WebM by OpenCV where PyAV is missing. Browsers play both.

A fragment (half a second) that is in the file stays playable whatever happens to the program; at most once a second the
file is also forced onto the disk, so that a power cut costs little more. Frames lie at their own timestamps. OpenCV can
do neither: it knows one rate, at which frames are repeated to keep the time, and writes a cluster every few seconds.
"""

from __future__ import annotations

import io
import os
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from fractions import Fraction
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from edgevad._files import output_errors
from edgevad.errors import EdgevadError, OutputError
from edgevad.events.fragments import trim
from edgevad.sources.frame import Image

if TYPE_CHECKING:
    from edgevad.events.disk import DiskFloor
    from edgevad.events.recorder_spec import RecorderSpec

__all__ = ["Clip", "affordable", "clip_suffix", "open_clip"]

# In this order: an encoder in software works everywhere; NVENC is left alone, one thread owns CUDA.
ENCODERS = ("libx264", "libopenh264", "h264_v4l2m2m")
# On video of roads the quickest preset makes files no larger than the next one, in half its time.
_OPTIONS = {
    "libx264": {"preset": "ultrafast", "tune": "zerolatency", "crf": "26"},
    "libopenh264": {"rc_mode": "quality"},
    "h264_v4l2m2m": {},
}
FRAGMENT_S = 0.5
KEY_FRAME_S = 2.0
SYNC_EVERY_S = 1.0
BUFFER_BYTES = 1 << 20
# At 960 px and ten frames a second it takes two thirds of a core, at these a tenth.
OPENCV_WIDTH_PX = 480
OPENCV_FPS_HZ = 5.0
_TICKS_HZ = 90_000
_BT601_LIMITED = (5, 1)  # libav's numbers for what OpenCV's conversion makes


class Clip(Protocol):
    """A clip being written.

    Attributes:
        path: where; the file grows.
        start_ns: timestamp of the first frame.
        last_ns: timestamp of the last one.
    """

    path: Path
    start_ns: int
    last_ns: int

    def write(self, picture: Image, timestamp_ns: int) -> None:
        """Append a (height, width, 3) uint8 BGR frame, later than the last one, of the clip's size.

        Raises:
            OutputError: there is no room for it; the file ends with the last whole fragment.
        """

    def close(self) -> None:
        """Finish the file. May be called twice."""


@cache
def encoder() -> str | None:
    """The H.264 encoder that works in this PyAV; None where there is none, or no PyAV."""
    try:
        import av
    except ImportError:
        return None
    for name in ENCODERS:
        if name not in av.codecs_available:
            continue
        with suppress(av.FFmpegError, ValueError):
            _try(name)
            return name
    return None


def clip_suffix() -> str:
    """Of the clips that are written here: ".mp4" or ".webm"."""
    return ".mp4" if encoder() else ".webm"


def affordable(spec: RecorderSpec) -> RecorderSpec:
    """`spec` with the size and rate that this machine can film at: OpenCV's encoder is slow, and cannot be hurried."""
    if encoder() is not None:
        return spec
    return replace(
        spec,
        max_width_px=min(spec.max_width_px, OPENCV_WIDTH_PX),
        clip_fps_hz=min(spec.clip_fps_hz, OPENCV_FPS_HZ),
    )


def open_clip(
    path: Path, size: tuple[int, int], start_ns: int, *, fps_hz: float, floor: DiskFloor | None = None
) -> Clip:
    """Start a clip of (width, height), both even, whose first frame was taken at `start_ns`.

    Args:
        path: with the ending `clip_suffix` gives.
        fps_hz: about how many frames a second there will be.
        floor: asked before anything is written.

    Raises:
        OutputError: it cannot be written.
    """
    name = encoder()
    if name is None:
        return _OpenCvClip(path, size, start_ns, fps_hz, floor)
    return _AvClip(path, size, start_ns, fps_hz, name, floor)


class _AvClip:
    def __init__(
        self,
        path: Path,
        size: tuple[int, int],
        start_ns: int,
        fps_hz: float,
        name: str,
        floor: DiskFloor | None,
    ) -> None:
        import av

        self.path = path
        self.start_ns = self.last_ns = start_ns
        self._file = _GuardedFile(path, floor)
        # A buffer that holds a fragment: it comes to the file in one piece, and a player never sees half of one.
        self._container: Any = av.open(self._file, "w", format="mp4", options=_muxing(), buffer_size=BUFFER_BYTES)
        self._stream = _stream(self._container, name, size, fps_hz)
        self._key_ns = start_ns

    def write(self, picture: Image, timestamp_ns: int) -> None:
        import av

        frame = _frame(picture)
        frame.time_base = Fraction(1, _TICKS_HZ)
        frame.pts = (timestamp_ns - self.start_ns) * _TICKS_HZ // 10**9
        if timestamp_ns - self._key_ns >= KEY_FRAME_S * 1e9:
            # By time: at a varying rate a number of frames says nothing about how far apart key frames are.
            frame.pict_type = av.video.frame.PictureType.I
            self._key_ns = timestamp_ns
        self._guarded(lambda: self._container.mux(self._stream.encode(frame)))
        self.last_ns = timestamp_ns

    def close(self) -> None:
        if self._container is None:
            return
        container, self._container = self._container, None

        def finish() -> None:
            container.mux(self._stream.encode())
            container.close()

        self._guarded(finish)
        self._file.finish()

    def _guarded(self, action: Callable[[], None]) -> None:
        import av

        try:
            action()
        except (OSError, EdgevadError, av.FFmpegError) as error:
            self._container = None
            self._file.give_up()
            if isinstance(error, EdgevadError):
                raise
            raise OutputError(f"the clip cannot be written ({error})", where=self.path) from error


class _GuardedFile(io.RawIOBase):
    """What the muxer writes into: asks the disk's floor first, and syncs now and then."""

    def __init__(self, path: Path, floor: DiskFloor | None) -> None:
        super().__init__()
        self._path = path
        self._floor = floor
        self._given_up = False
        with output_errors(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            self._raw = path.open("wb", buffering=0)
        self._synced_s = time.monotonic()

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        if self._given_up:
            return len(data)  # the muxer, being taken down, still has something to say
        if self._floor is not None:
            self._floor.demand(len(data))
        with output_errors(self._path):
            written, view = 0, memoryview(data)
            while written < len(view):
                written += self._raw.write(view[written:]) or 0
            if time.monotonic() - self._synced_s >= SYNC_EVERY_S:
                os.fdatasync(self._raw.fileno())
                self._synced_s = time.monotonic()
        return written

    def finish(self) -> None:
        with output_errors(self._path):
            os.fsync(self._raw.fileno())
            self._raw.close()

    def give_up(self) -> None:
        """Leave the file at its last whole fragment."""
        self._given_up = True
        with suppress(OSError):
            self._raw.close()
            trim(self._path)


class _OpenCvClip:
    def __init__(
        self, path: Path, size: tuple[int, int], start_ns: int, fps_hz: float, floor: DiskFloor | None
    ) -> None:
        import cv2

        self.path = path
        self.start_ns = self.last_ns = start_ns
        self._floor = floor
        self._period_ns = round(1e9 / fps_hz)
        self._frames = 0
        with output_errors(path):
            path.parent.mkdir(parents=True, exist_ok=True)
        if floor is not None:
            floor.demand()
        self._writer = cv2.VideoWriter(str(path), cv2.CAP_FFMPEG, cv2.VideoWriter.fourcc(*"VP80"), fps_hz, size)
        if not self._writer.isOpened():
            raise OutputError(
                "OpenCV cannot write a clip (WebM, VP8) there", where=path, fix="pip install 'edgevad[clips]'"
            )

    def write(self, picture: Image, timestamp_ns: int) -> None:
        if self._floor is not None:
            self._floor.demand(picture.nbytes // 20)
        due = max((timestamp_ns - self.start_ns) // self._period_ns + 1, self._frames + 1)
        for _ in range(due - self._frames):
            self._writer.write(picture)
        self._frames = due
        self.last_ns = timestamp_ns

    def close(self) -> None:
        self._writer.release()


def _muxing() -> dict[str, str]:
    return {
        "movflags": "empty_moov+default_base_moof",
        "frag_duration": str(round(0.8 * FRAGMENT_S * 1e6)),  # written when the next frame comes
        "flush_packets": "1",
    }


def _stream(container: Any, name: str, size: tuple[int, int], fps_hz: float) -> Any:
    stream = container.add_stream(name, rate=Fraction(fps_hz).limit_denominator(1000), options=dict(_OPTIONS[name]))
    stream.width, stream.height = size
    stream.pix_fmt = "yuv420p"
    context = stream.codec_context
    context.time_base = Fraction(1, _TICKS_HZ)
    context.gop_size = 10 * round(KEY_FRAME_S * fps_hz)  # they are asked for by time
    context.max_b_frames = 0
    context.thread_count = 1
    context.colorspace, context.color_range = _BT601_LIMITED
    return stream


def _frame(picture: Image) -> Any:
    """(height, width, 3) BGR as libav's frame; OpenCV converts in half of libav's time."""
    import av
    import cv2

    planes = np.asarray(cv2.cvtColor(picture, cv2.COLOR_BGR2YUV_I420), np.uint8)
    return av.VideoFrame.from_ndarray(planes, format="yuv420p")


def _try(name: str) -> None:
    """Raises what PyAV raises where this encoder is in the build but does not work on this machine."""
    import av

    with av.open(io.BytesIO(), "w", format="mp4", options=_muxing()) as container:
        stream = _stream(container, name, (128, 128), 10.0)
        container.mux(stream.encode(_frame(np.zeros((128, 128, 3), np.uint8))))
        container.mux(stream.encode())
