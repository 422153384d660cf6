"""Pictures at the size of a model's input, from images and from what a decoder left."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import cv2
import numpy as np

from edgevad.runtime.area import AreaMean, area_mean
from edgevad.sources.frame import Image
from edgevad.sources.planes import Planes

__all__ = ["shrink", "shrink_planes", "shrink_several"]

# OpenCV resizes to so many pixels in the thread that asks for it; to more, in all of its own.
_PIXELS_OF_ONE_THREAD = 1 << 16


def shrink(image: Image, size: tuple[int, int], *, alone: bool = False) -> Image:
    """(H, W, 3) uint8 area-resampled to `size` (width, height), in a bounded time.

    Exact area resampling is slow (7 ms for a full HD frame in OpenCV) except where it averages 2x2 pixels. Images of
    four times the size and more are therefore halved that way first; the rest of the way is bilinear to a multiple of
    `size`, and the mean from there. The difference to exact resampling is half a gray level on average.

    `alone` keeps OpenCV's threads out of it. They make one large frame ready sooner; where others want the cores,
    their spinning costs more than they gain (a third more at 960x540). The pixels are the same.
    """
    if not _is_large(image, size):
        mean = area_mean((image.shape[1], image.shape[0]), size)
        if mean is not None:
            return mean(image)
        return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), dtype=np.uint8)
    while _is_large(image, size):
        image = _halved(image, alone=alone)
    return _rest(image, size)


def shrink_planes(planes: Planes, size: tuple[int, int], *, alone: bool = False) -> Image | None:
    """What `shrink` makes of the same picture, within a level, without making all of it blue, green and red.

    Averaging and the step between the colour spaces are both linear, so that a mean may be turned into colours as well
    as colours averaged. They differ where a colour lies outside of what can be shown and is limited first.
    None for sizes at which there is nothing to be gained: a colour difference is not to be enlarged, and means over
    whole numbers of pixels are quick anyway.
    """
    source = planes.width_px, planes.height_px
    y, u, v = planes.arrays()
    if not _is_large(y, size):
        means = _plane_means(source, size)
        return None if means is None else means([planes])[0]
    y = _halved(y, alone=alone)
    while _is_large(y, size):
        y, u, v = _halved(y, alone=alone), _halved(u, alone=alone), _halved(v, alone=alone)
    return _rest(np.asarray(cv2.transform(cv2.merge([y, u, v]), planes.colours()), np.uint8), size)


def shrink_several(pictures: Sequence[Planes], size: tuple[int, int]) -> Image | None:
    """(N, height, width, 3) of pictures that `shrink_planes` averages at once, the same to the bit; else None.

    Each call of NumPy takes Python's lock, and of a small picture that is a quarter of the time.
    """
    first = pictures[0]
    source, colours = (first.width_px, first.height_px), first.colours()
    if source[0] >= 4 * size[0] and source[1] >= 4 * size[1]:
        return None
    if any((one.width_px, one.height_px) != source or one.colours() is not colours for one in pictures):
        return None
    means = _plane_means(source, size)
    return None if means is None else means(pictures)


def _is_large(image: Image, size: tuple[int, int]) -> bool:
    return bool(image.shape[1] >= 4 * size[0] and image.shape[0] >= 4 * size[1])


def _halved(image: Image, *, alone: bool) -> Image:
    # An odd last row or column is left out, which keeps OpenCV's 2x2 path.
    rows, columns = image.shape[0] // 2, image.shape[1] // 2
    image = image[: 2 * rows, : 2 * columns]
    if not alone:
        return np.asarray(cv2.resize(image, (columns, rows), interpolation=cv2.INTER_AREA), dtype=np.uint8)
    small = np.empty((rows, columns, *image.shape[2:]), np.uint8)
    step = max(1, _PIXELS_OF_ONE_THREAD // columns)
    for top in range(0, rows, step):
        band = small[top : top + step]
        source = image[2 * top : 2 * (top + len(band))]
        cv2.resize(source, (columns, len(band)), dst=band, interpolation=cv2.INTER_AREA)
    return small


def _rest(image: Image, size: tuple[int, int]) -> Image:
    """From less than four times `size` in width or height to it."""
    (rows, columns), (width, height) = image.shape[:2], size
    multiple = (width * (2 if columns < 3 * width else 4), height * (2 if rows < 3 * height else 4))
    image = np.asarray(cv2.resize(image, multiple, interpolation=cv2.INTER_LINEAR))
    return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), dtype=np.uint8)


class _PlaneMeans:
    """Averages brightness and, both at once, colour differences; makes colours of the means."""

    def __init__(self, bright: AreaMean, coloured: AreaMean) -> None:
        self._bright, self._coloured = bright, coloured
        self._scales = np.array([bright.scale, coloured.scale, coloured.scale, 1.0], np.float32)

    def __call__(self, pictures: Sequence[Planes]) -> Image:
        """(N, height, width, 3) of pictures of one size and one way to make colours."""
        first = pictures[0]
        count, half = len(pictures), (first.height_px // 2, first.width_px // 2)
        ys = np.empty((count, first.height_px, first.width_px), np.float32)
        coloured = np.empty((2, count, *half), np.float32)
        for k, planes in enumerate(pictures):
            ys[k], coloured[0, k], coloured[1, k] = planes.arrays()
        bright = self._bright.sums(ys.reshape(-1, first.width_px))
        sums = cv2.merge([bright, *np.split(self._coloured.sums(coloured.reshape(-1, half[1])), 2)])
        # To whole levels in a step of its own: it rounds, and keeps what is below 0 from being taken for what is above.
        means = cv2.transform(sums, first.colours() * self._scales)
        small = cv2.addWeighted(means, 1.0, means, 0.0, 0.0, dtype=cv2.CV_8U)
        return np.asarray(small, np.uint8).reshape(count, -1, *small.shape[1:])


@lru_cache(maxsize=16)
def _plane_means(source: tuple[int, int], size: tuple[int, int]) -> _PlaneMeans | None:
    half = source[0] // 2, source[1] // 2
    if area_mean(source, size) is None or area_mean(half, size) is None:
        return None
    coloured = AreaMean((half[0], 2 * half[1]), (size[0], 2 * size[1]), channels=1)
    return _PlaneMeans(AreaMean(source, size, channels=1), coloured)
