"""What an inference engine must offer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

__all__ = ["BATCH_FRAMES", "Backend", "Scores"]

# Frames of a recording are scored sixteen at a time, large ones eight, in 0.6 of the time of one by one: the graph
# reads its weights and its bank once for all of them.
BATCH_FRAMES = 16


@dataclass(frozen=True, slots=True)
class Scores:
    """What the scoring graph says of N frames.

    Attributes:
        score: (N, P) float32, a column for each part of the frame score.
        heatmap: (N, Q, hh, hw) float32 >= 0, where in the frame the errors of the first Q parts are.
        latent: (N, d) float32.
    """

    score: npt.NDArray[np.float32]
    heatmap: npt.NDArray[np.float32]
    latent: npt.NDArray[np.float32]


class Backend(Protocol):
    """Runs the scoring graph; used from one thread. What the vehicle remembers, the graph's `bank`, it holds itself.

    Attributes:
        batch: how many frames every call must hold, or None where any number will do.
    """

    batch: int | None

    def score(self, frames: npt.NDArray[np.uint8], motion: npt.NDArray[np.float32] | None) -> Scores:
        """Score `frames` (N, h, w, 3) uint8 BGR and, where the model uses it, `motion` (N, h, w, M) float32.

        Raises:
            BackendError: the engine failed.
        """
        ...

    def remember(self, bank: npt.NDArray[np.float32]) -> None:
        """Compare the next frames with this `bank` (E, m, d + 1) float32, of the shape of the one before; it is copied.

        Raises:
            BackendError: the graph takes no bank or one of another shape, or the engine failed.
        """
        ...

    def close(self) -> None:
        """Release the engine. May be called twice."""
        ...
