"""OpenCV without its chatter, and images as edgevad wants them.

Importing this module imports cv2, so only the modules that read frames do so, when a source is opened.
"""

from __future__ import annotations

import os
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

# FFmpeg and OpenCV report every file they cannot read on stderr, beside our own one clear line. Whoever wants to see
# that sets these variables. FFmpeg's is read when the first video is opened, OpenCV's when cv2 is imported.
_ASKED_FOR_LOG = "OPENCV_LOG_LEVEL" in os.environ
os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
# A camera that falls silent keeps its driver busy for so many seconds (OpenCV: 10), and cannot be opened again before.
os.environ.setdefault("OPENCV_VIDEOIO_V4L_SELECT_TIMEOUT", "2")

import cv2  # noqa: E402

from edgevad.sources.frame import Image  # noqa: E402

if not _ASKED_FOR_LOG:
    # OpenCV 4 has it at its top level, 5 among its utilities; 0 is "silent" in both.
    _set_log_level = getattr(cv2, "setLogLevel", None) or cv2.utils.logging.setLogLevel
    _set_log_level(0)

__all__ = [
    "BadImageError",
    "bgr_from",
    "cv2",
    "decode_image",
    "decoding_threads",
    "has_gstreamer",
    "read_image",
]

_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"


class BadImageError(Exception):
    """One image that cannot be read. The message is the reason, short enough for a table of counts."""


def read_image(path: Path) -> Image:
    """The image file at `path`: (H, W, 3) uint8 BGR.

    Gray becomes three equal channels, transparency is dropped, 16 bits are scaled to 8. The EXIF orientation is
    ignored, for every frame alike: a car's camera does not turn, its metadata sometimes does.

    Raises:
        BadImageError: the file is missing, empty, cut off or no image.
    """
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise BadImageError("image missing") from None
    except OSError as error:
        raise BadImageError(f"image unreadable ({error.strerror or error})") from None
    return decode_image(data)


def decode_image(data: bytes) -> Image:
    """As `read_image`, of the file's bytes.

    Raises:
        BadImageError: they are empty, cut off or no image.
    """
    if not data:
        raise BadImageError("image empty (0 bytes)")
    _refuse_damaged(data)
    try:
        image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)
    except cv2.error:
        image = None
    if image is None:
        raise BadImageError("image cannot be decoded")
    return bgr_from(image)


def bgr_from(image: npt.NDArray[Any]) -> Image:
    """What OpenCV gave, (H, W) or (H, W, 1 | 3 | 4), 8 or 16 bits, as (H, W, 3) uint8 BGR; no copy where it is that."""
    if image.dtype == np.uint16:
        image = (image >> 8).astype(np.uint8)
    if image.ndim == 2 or image.shape[2] == 1:
        image = cv2.cvtColor(image, cv2.COLOR_GRAY2BGR)
    elif image.shape[2] == 4:
        image = cv2.cvtColor(image, cv2.COLOR_BGRA2BGR)
    return image


def decoding_threads(count: int) -> list[int]:
    """What makes FFmpeg decode in `count` threads, among the options of a `cv2.VideoCapture`; OpenCV 4.6 has none."""
    option = getattr(cv2, "CAP_PROP_N_THREADS", None)
    return [] if option is None else [option, count]


def has_gstreamer() -> bool:
    """Whether this OpenCV was built with GStreamer (the one on PyPI is not, NVIDIA's on a Jetson is)."""
    for line in cv2.getBuildInformation().splitlines():
        name, _, value = line.partition(":")
        if name.strip() == "GStreamer":
            return value.strip().startswith("YES")
    return False


def _refuse_damaged(data: bytes) -> None:
    # Older OpenCV fills the missing part of a cut-off image with gray and says nothing: an anomaly of our own making.
    if data.startswith(b"\xff\xd8"):
        scan = _jpeg_scan_start(data)
        if scan < 0 or data.find(b"\xff\xd9", scan) < 0:
            raise BadImageError("image cut off")
    elif data.startswith(_PNG_SIGNATURE):
        _refuse_damaged_png(data)
    elif data.startswith(b"BM") and int.from_bytes(data[2:6], "little") > len(data):
        raise BadImageError("image cut off")


def _jpeg_scan_start(data: bytes) -> int:
    """Where the first scan of a JPEG starts, -1 if it has none.

    Its header is walked, not searched: it may hold a thumbnail, which is a whole JPEG with scan and end of its own.
    What phones append (more images, a short film) is behind the first end of image and does not matter.
    """
    position = 2
    while position + 4 <= len(data):
        if data[position] != 0xFF:
            return data.rfind(b"\xff\xda")  # not as the standard has it; decoders may cope all the same
        marker = data[position + 1]
        if marker == 0xDA:
            return position
        if marker == 0xFF:  # padding
            position += 1
        elif marker == 0x01 or 0xD0 <= marker <= 0xD8:  # these have no length
            position += 2
        else:
            position += 2 + int.from_bytes(data[position + 2 : position + 4], "big")
    return -1


def _refuse_damaged_png(data: bytes) -> None:
    position = len(_PNG_SIGNATURE)
    view = memoryview(data)
    while True:
        length = int.from_bytes(view[position : position + 4], "big")
        end = position + 12 + length
        if end > len(data) or position + 12 > len(data):
            raise BadImageError("image cut off")
        if zlib.crc32(view[position + 4 : end - 4]) != int.from_bytes(view[end - 4 : end], "big"):
            raise BadImageError("image damaged (checksum)")
        if data[position + 4 : position + 8] == b"IEND":
            return
        position = end
