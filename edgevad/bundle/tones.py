"""How pictures of conditions that the network was not trained on are brought to the one that it was.

A camera that ages, a film on the windscreen or another white balance changes the levels of a whole picture, and a
network's errors with them. A tone curve for each such condition undoes that before the network looks; what is left of
the difference in the scores, a location and a scale for each part, is undone after it (`edgevad.runtime.toning`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["LOOKS", "MOST_CONDITIONS", "TONES_ARRAYS", "ToneCurves"]

TONES_ARRAYS = ("curves", "centre", "precision", "gain", "offset")
# Values by which the condition of a picture is told (`edgevad.runtime.toning.looks`).
LOOKS = 8
# Beside the one the network knows. A fifth takes the place of the one most like it.
MOST_CONDITIONS = 4


@dataclass(frozen=True)
class ToneCurves:
    """Conditions 1 to K; condition 0, home, is the one that the network was trained on, and is left as it is.

    Attributes:
        curves: (K, 256, 3) uint8, for each level of blue, green and red the level that it has at home.
        centre: (K + 1, 8) float32, the mean look (`edgevad.runtime.toning.looks`) of each condition, home first.
        precision: (8, 8) float32, the inverse covariance of looks within a condition.
        gain, offset: (K, P) float32: gain * sqrt(score) + offset is the square root of the score of a part at home.
    """

    curves: npt.NDArray[np.uint8]
    centre: npt.NDArray[np.float32]
    precision: npt.NDArray[np.float32]
    gain: npt.NDArray[np.float32]
    offset: npt.NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.curves)

    def arrays(self) -> dict[str, npt.NDArray[Any]]:
        """The arrays under the names they have on disk."""
        return {name: getattr(self, name) for name in TONES_ARRAYS}

    @classmethod
    def from_arrays(cls, arrays: dict[str, npt.NDArray[Any]], parts: int) -> ToneCurves:
        """From what `arrays` gave, for a frame score of so many parts.

        Raises:
            KeyError: an array is missing.
            ValueError: says which array is not as it should be.
        """
        count = len(arrays["curves"]) if arrays["curves"].ndim else 0
        if not 1 <= count <= MOST_CONDITIONS:
            raise ValueError(f"{count} conditions, not 1 to {MOST_CONDITIONS}")
        expected: dict[str, tuple[type[np.generic], tuple[int, ...]]] = {
            "curves": (np.uint8, (count, 256, 3)),
            "centre": (np.float32, (count + 1, LOOKS)),
            "precision": (np.float32, (LOOKS, LOOKS)),
            "gain": (np.float32, (count, parts)),
            "offset": (np.float32, (count, parts)),
        }
        for name, (kind, shape) in expected.items():
            array = arrays[name]
            if array.shape != shape or array.dtype != kind:
                raise ValueError(f"{name} is {array.dtype} of shape {array.shape}, not {np.dtype(kind)} of {shape}")
            # Beyond this the arithmetic of float32 overflows, and a score is no number.
            if kind is np.float32 and not (np.abs(array) < 1e6).all():
                raise ValueError(f"{name} holds what is no number, or too large")
        if not (arrays["gain"] > 0).all():
            raise ValueError("a gain is not above 0")
        return cls(**{name: arrays[name] for name in TONES_ARRAYS})
