"""Area resampling as two products with small matrices: OpenCV's result in a third of its time."""

from __future__ import annotations

import math
from functools import lru_cache

import cv2
import numpy as np
import numpy.typing as npt

from edgevad.sources.frame import Image

__all__ = ["AreaMean", "area_mean"]

# Multiplications for each source pixel, beyond which OpenCV's own area resampling is the quicker one.
_MOST_PRODUCTS = 100
# BLAS libraries take larger products to threads of their own, whose spinning costs more than they gain here.
_PRODUCTS_OF_ONE_CALL = 1 << 18
# A mean of at most so many parts of pixels is never so near to half way between two levels that OpenCV's float32 sums,
# which are not exact, round to the other one.
_MOST_TAKEN = 1 << 12


@lru_cache(maxsize=16)
def area_mean(source: tuple[int, int], size: tuple[int, int]) -> AreaMean | None:
    """How to get from images of `source` to such of `size` (both width, height); None where that is OpenCV's task.

    That is where both sides shrink by whole numbers; where their ratios are so odd that the matrices are large; where
    a side grows, for which there is no area to average; and where a mean can lie half way between two levels or near
    to it, which OpenCV rounds as its float32 sums have it. Elsewhere the result is OpenCV's to the bit.
    """
    (columns, rows), (width, height) = source, size
    if columns < width or rows < height or (columns % width == 0 and rows % height == 0):
        return None
    # A mean is a whole number divided by this: odd, so never half way.
    taken = (columns // math.gcd(columns, width)) * (rows // math.gcd(rows, height))
    if taken % 2 == 0 or taken > _MOST_TAKEN or min(_products(source, size)) > _MOST_PRODUCTS * columns * rows:
        return None
    return AreaMean(source, size)


class AreaMean:
    """Area resampling of (rows, columns, 3) uint8 between two sizes (width, height); any thread may call it.

    With `channels=1`, of (rows, columns).

    From n to m pixels, n/g source pixels make m/g of the result, and the next n/g the next, where g = gcd(n, m): one
    small matrix of whole numbers does for all of them. Sums of whole numbers are exact in float32, whatever order they
    are taken in, so every machine gives the same, and only the last step rounds. See `area_mean` for when it applies.
    """

    def __init__(self, source: tuple[int, int], size: tuple[int, int], *, channels: int = 3) -> None:
        (columns, rows), (width, height) = source, size
        across, down = _shares(columns, width), _shares(rows, height)
        self._size = size
        self.scale = 1.0 / (float(across[0].sum()) * float(down[0].sum()))
        down_first, across_first = _products(source, size)
        self._is_down_first = down_first <= across_first
        # The colours lie side by side in a row, and each is averaged by itself.
        self._across = np.ascontiguousarray(np.kron(across, np.eye(channels, dtype=np.float32)).T)
        one_line = self._across.size * (columns // across.shape[1])
        self._lines = _largest_part(height if self._is_down_first else rows, one_line)
        one_line = down.shape[1] * channels * (columns if self._is_down_first else width)
        self._down = down.reshape(-1, _largest_part(len(down), one_line), down.shape[1])

    def __call__(self, image: Image) -> Image:
        width, height = self._size
        means = np.asarray(cv2.convertScaleAbs(self.sums(image), alpha=self.scale), dtype=np.uint8)  # half to even
        return means.reshape(height, width, -1)

    def sums(self, image: Image | npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """The means before they are multiplied by `scale`: (height, width * channels), whole numbers.

        Several images, one above the other, give those of all.
        """
        levels = image.astype(np.float32, copy=False)
        if self._is_down_first:
            return self._sum_across(self._sum_down(levels))
        return self._sum_down(self._sum_across(levels))

    def _sum_down(self, levels: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        used = self._down.shape[-1]
        blocks = levels.reshape(len(levels) // used, 1, used, -1)
        sums = np.matmul(self._down, blocks)  # (blocks, parts of a block, lines of a part, columns)
        return np.asarray(sums.reshape(-1, sums.shape[-1]), dtype=np.float32)

    def _sum_across(self, levels: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        blocks = levels.reshape(len(levels) // self._lines, -1, len(self._across))
        return np.asarray(np.matmul(blocks, self._across).reshape(len(levels), -1), dtype=np.float32)


def _shares(count: int, fewer: int) -> npt.NDArray[np.float32]:
    """How much of each source pixel is in each pixel of the result: (fewer / g, count / g), in parts of fewer / g."""
    common = math.gcd(count, fewer)
    used, made = count // common, fewer // common
    starts, wanted = np.arange(used) * made, np.arange(made)[:, None] * used
    shared = np.minimum(starts + made, wanted + used) - np.maximum(starts, wanted)
    return np.asarray(np.maximum(shared, 0), dtype=np.float32)


def _products(source: tuple[int, int], size: tuple[int, int]) -> tuple[int, int]:
    """Multiplications where lines are summed down first, and where they are summed across first."""
    (columns, rows), (width, height) = source, size
    across = 9 * width * (columns // math.gcd(columns, width))  # of one line, its three colours weighed alike
    down = 3 * height * (rows // math.gcd(rows, height))  # of one column
    return down * columns + across * height, across * rows + down * width


def _largest_part(count: int, one: int) -> int:
    """The largest divisor of `count` so many lines of which, each of `one` multiplications, are one call."""
    return next((n for n in range(count, 1, -1) if count % n == 0 and n * one <= _PRODUCTS_OF_ONE_CALL), 1)
