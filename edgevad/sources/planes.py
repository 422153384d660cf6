"""Pictures as their decoder left them: brightness, and two colour differences at half the size.

A model sees a picture at a sixteenth of its width. Making all of it blue, green and red first takes longer than the
model, so that is done for those who look at it, and with FFmpeg's own routine: the pixels are those that OpenCV reads.

PyAV, whose pictures these are, is imported when the first of them is to be converted.
"""

from __future__ import annotations

import threading
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from edgevad.sources.frame import Frame, Image

if TYPE_CHECKING:
    import av
    from av.video.plane import VideoPlane
    from av.video.reformatter import VideoReformatter

__all__ = ["MATRICES", "PlanarFrame", "Planes", "bgr_of", "is_planar"]

# 4:2:0, in television's range of levels and in the full one.
_FORMATS = frozenset({"yuv420p", "yuvj420p"})

# How colour differences become colours: as the recording states, or as BT.601 whatever it states. Versions of OpenCV do
# the one or the other, and whoever is to give the same pixels must do as the one that is installed.
_BT601 = 5  # SWS_CS_ITU601
MATRICES = (None, _BT601)
_LEVELS = 16  # of each plane, to see from what FFmpeg makes of a colour
# One picture at a time: PyAV changes the picture's own properties while it converts it.
_converting = threading.Lock()


class Planes:
    """One decoded picture that `is_planar`; `matrix` is one of the `MATRICES`.

    Attributes:
        width_px, height_px: of the picture; the colour differences have half of both.
    """

    __slots__ = ("_bgr", "_matrix", "_picture", "height_px", "width_px")

    def __init__(self, picture: av.VideoFrame, matrix: int | None = None) -> None:
        self._picture = picture
        self._matrix = matrix
        self._bgr: Image | None = None
        self.width_px, self.height_px = picture.width, picture.height

    def arrays(self) -> tuple[Image, Image, Image]:
        """Y (H, W), U and V (H / 2, W / 2), uint8, as they lie in the decoder's memory: not to be written to."""
        y, u, v = (_array_of(plane) for plane in self._picture.planes)
        return y, u, v

    def bgr(self) -> Image:
        """(H, W, 3) uint8 BGR, as OpenCV would have read it; made once."""
        if self._bgr is None:
            self._bgr = bgr_of(self._picture, self._matrix)
        return self._bgr

    def colours(self) -> npt.NDArray[np.float32]:
        """(3, 4) that takes (Y, U, V, 1) to blue, green, red, before they are limited to [0, 255]."""
        picture = self._picture
        return _colours_of(picture.format.name, picture.color_range, picture.colorspace, self._matrix)


class PlanarFrame(Frame):
    """A frame whose `image` is made when somebody looks at it; `planes` is None where it was given one after all."""

    __slots__ = ("planes",)

    planes: Planes | None

    def __init__(
        self,
        image: Image | Planes,
        index: int,
        timestamp_ns: int,
        source_id: str,
        segment: int = 0,
        captured_s: float | None = None,
    ) -> None:
        keep = object.__setattr__
        if isinstance(image, Planes):
            keep(self, "planes", image)
        else:
            keep(self, "planes", None)
            _image_slot.__set__(self, image)
        keep(self, "index", index)
        keep(self, "timestamp_ns", timestamp_ns)
        keep(self, "source_id", source_id)
        keep(self, "segment", segment)
        keep(self, "captured_s", captured_s)

    @property
    def image(self) -> Image:
        """(H, W, 3) uint8 BGR, as of any frame."""
        return self.planes.bgr() if self.planes is not None else _image_slot.__get__(self)

    @property
    def shape(self) -> tuple[int, int, int]:
        return super().shape if self.planes is None else (self.planes.height_px, self.planes.width_px, 3)

    def placed(self, index: int, segment: int) -> Frame:
        image = self.image if self.planes is None else self.planes
        return PlanarFrame(image, index, self.timestamp_ns, self.source_id, segment, self.captured_s)

    def __reduce__(self) -> tuple[type[Frame], tuple[object, ...]]:
        # A decoder's picture can be neither copied nor sent to another process; its image can, as of any frame.
        return Frame, (self.image, self.index, self.timestamp_ns, self.source_id, self.segment, self.captured_s)


_image_slot: Any = Frame.__dict__["image"]  # which the property hides


def _array_of(plane: VideoPlane) -> Image:
    # What is decoded later is made from these pixels; a line has a few more bytes than the picture is wide.
    lines = np.ndarray((plane.height, plane.line_size), np.uint8, memoryview(plane))
    lines.flags.writeable = False
    return lines[:, : plane.width]


def is_planar(picture: av.VideoFrame) -> bool:
    """Whether it is 4:2:0 with 8 bits, and of even width and height."""
    return picture.format.name in _FORMATS and not (picture.width | picture.height) & 1


def bgr_of(picture: av.VideoFrame, matrix: int | None) -> Image:
    """(H, W, 3) uint8 BGR of a decoded picture, as OpenCV makes it."""
    with _converting:
        converted = _converter().reformat(picture, format="bgr24", src_colorspace=matrix, dst_colorspace=matrix)
    return np.asarray(converted.to_ndarray(), np.uint8)


@lru_cache(maxsize=1)
def _converter() -> VideoReformatter:
    """One, which keeps what it needs from picture to picture."""
    from av.video.reformatter import VideoReformatter

    return VideoReformatter()


@lru_cache(maxsize=8)
def _colours_of(format_name: str, color_range: int, colorspace: int, matrix: int | None) -> npt.NDArray[np.float32]:
    """What FFmpeg does to colours of this format, from what it makes of some.

    Its quick routines round down at every step, by one and a half levels in all, and not alike on every processor. A
    least-squares fit over the colours that are not limited finds that, too.
    """
    import av

    levels = np.linspace(16, 240, _LEVELS).astype(np.uint8)
    y, u, v = (plane.ravel() for plane in np.meshgrid(levels, levels, levels, indexing="ij"))
    count = len(y)
    picture = av.VideoFrame(2 * _LEVELS, 2 * count // _LEVELS, format_name)
    picture.color_range, picture.colorspace = color_range, colorspace
    for plane, values in zip(
        picture.planes, (np.repeat(np.repeat(y.reshape(-1, _LEVELS), 2, 0), 2, 1), u, v), strict=True
    ):
        padded = np.zeros((plane.height, plane.line_size), np.uint8)
        padded[:, : plane.width] = values.reshape(plane.height, plane.width)
        plane.update(padded.tobytes())
    bgr = bgr_of(picture, matrix)[::2, ::2].reshape(-1, 3)
    inside = ((bgr > 2) & (bgr < 253)).all(axis=1)
    known = np.stack([y, u, v, np.ones(count, np.uint8)], axis=1)[inside].astype(np.float64)
    return np.linalg.lstsq(known, bgr[inside].astype(np.float64), rcond=None)[0].T.astype(np.float32)
