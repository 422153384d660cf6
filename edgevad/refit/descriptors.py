"""What a picture is like, in a few numbers: by them drives are compared, and the new is told from the known."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
import numpy.typing as npt

from edgevad.sources.frame import Image

__all__ = ["Coordinates", "Describer"]

Floats = npt.NDArray[np.float64]
#: (N, h, w, 3) uint8 at model size to (N, d) float32.
Coordinates = Callable[[npt.NDArray[np.uint8]], npt.NDArray[np.float32]]

_THUMBNAIL_PX = 8
# Differences of light and contrast that count as much as another place: a factor of two.
_DOUBLE = float(np.log(2.0))
_DARK = 8.0


class Describer:
    """Describes pictures by the bundle's own coordinates, or by a thumbnail, and by exposure and contrast.

    Distances between descriptions are Euclidean; the looks of a place make about as much as light doubled.

    Args:
        coordinates: what the bundle remembers of a frame; None where it remembers nothing.
        known: (N, h, w, 3) uint8, frames that were learned from before, by which coordinates are scaled.
    """

    def __init__(self, coordinates: Coordinates | None = None, known: npt.NDArray[np.uint8] | None = None) -> None:
        self._coordinates = coordinates
        self._scale: float | None = None
        self.known: Floats | None = None
        if known is not None and len(known):
            self.known = self(known)

    def __call__(self, images: npt.NDArray[np.uint8]) -> Floats:
        """(N, d) float64 of pictures (N, h, w, 3) uint8 at model size."""
        logs = np.stack([_log_thumbnail(image) for image in images]).reshape(len(images), -1)
        exposure = logs.mean(axis=1, keepdims=True)
        contrast = np.log(logs.std(axis=1, keepdims=True) + 0.05)
        if self._coordinates is None:
            looks = (logs - exposure) / _DOUBLE / _THUMBNAIL_PX
        else:
            found = np.asarray(self._coordinates(images), np.float64)
            if self._scale is None:  # by the first that are seen: those that were known before, where there are any
                spread = np.sqrt(np.mean(np.sum((found - found.mean(axis=0)) ** 2, axis=1)))
                self._scale = float(spread) or 1.0
            looks = found / self._scale
        return np.concatenate([looks, exposure / _DOUBLE, contrast / _DOUBLE], axis=1)


def _log_thumbnail(image: Image) -> Floats:
    gray = cv2.cvtColor(image, cv2.COLOR_BGR2GRAY)
    small = cv2.resize(gray, (_THUMBNAIL_PX, _THUMBNAIL_PX), interpolation=cv2.INTER_AREA)
    return np.log(small.astype(np.float64) + _DARK)
