"""What of a frame is followed from day to day: scores of the parts, what its image is like, where it lies in memory.

Everything is measured on the frame at model size: that is what the model is fed, and what is kept of old frames.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np
import numpy.typing as npt

from edgevad.runtime.picture import gray_of, sharpness
from edgevad.runtime.remembering import Rememberer

__all__ = ["IMAGE_FIGURES", "MEMORY_TOLERANCE", "SCORE_TOLERANCE", "Figure", "MemoryFigures", "image_figures"]

Group = Literal["scores", "image", "memory"]

# As `image_figures` gives them, each with its tolerance.
IMAGE_FIGURES = {
    "brightness": 2.0,
    "contrast": 0.02,
    "sharpness": 0.02,
    "veil": 0.02,
    "blue": 0.004,
    "red": 0.004,
}
SCORE_TOLERANCE, MEMORY_TOLERANCE = 0.05, 0.05
_FOLLOWED_COORDINATES = 4
_VEIL_QUANTILE = 0.02


@dataclass(frozen=True)
class Figure:
    """One number that frames have.

    Attributes:
        name: one word; "score residual" and so on of the model's parts.
        group: what it is seen in.
        tolerance: two frames that differ by less are as good as equal: what JPEG and resampling change.
    """

    name: str
    group: Group
    tolerance: float = 0.0

    @property
    def is_score(self) -> bool:
        return self.group == "scores"


def image_figures(small: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    """Of one frame at model size (h, w, 3) uint8 BGR: (6,) float32, in the order of `IMAGE_FIGURES`.

    brightness, mean gray level; contrast, standard deviation of gray levels over their mean; sharpness as in
    `runtime.picture`, NaN where there is too little structure; veil, the darkest 2 % of gray levels over the mean: what
    haze and dirt lift; blue and red, the share of the channel in the light.
    """
    gray = gray_of(small)
    mean = float(gray.mean())
    blue, green, red = (float(value) for value in cv2.mean(small)[:3])
    light = max(blue + green + red, 1.0)
    sharp = sharpness(gray)
    return np.array(
        [
            mean,
            float(gray.std()) / max(mean, 1.0),
            np.nan if sharp is None else sharp,
            float(np.quantile(gray, _VEIL_QUANTILE)) / max(mean, 1.0),
            blue / light,
            red / light,
        ],
        dtype=np.float32,
    )


class MemoryFigures:
    """Where frames lie among those that the model learned from.

    Args:
        known: (N, d) their coordinates.
    """

    def __init__(self, rememberer: Rememberer, known: npt.NDArray[np.float32]) -> None:
        self._rememberer = rememberer
        self._mean = known.mean(axis=0)
        self._spread = np.maximum(known.std(axis=0), 1e-6)
        followed = min(known.shape[1], _FOLLOWED_COORDINATES)
        self.names = ("distance", *(f"direction {k + 1}" for k in range(followed)))

    def of(self, frames: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        """(N, 1 + 4) float32 of frames (N, h, w, 3): how many of their own spreads coordinates lie from the mean, as
        the root mean square of all; and the first of them, along which the old frames differ most.

        Raises:
            BackendError: the graph fails.
        """
        return self.of_coordinates(self._rememberer.coordinates(frames))

    def of_coordinates(self, coordinates: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """The same of coordinates (N, d)."""
        standard = (coordinates - self._mean) / self._spread
        distance = np.sqrt(np.mean(standard * standard, axis=1, keepdims=True))
        return np.concatenate([distance, standard[:, : len(self.names) - 1]], axis=1).astype(np.float32)
