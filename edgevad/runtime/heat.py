"""Where in a frame the alarm comes from, in one map."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from edgevad.bundle.manifest import Calibration

__all__ = ["HeatScale"]


class HeatScale:
    """Local errors of all parts in units of the local error that alone would raise an alarm.

    Where a part's score is its largest local error, that is the score at the threshold. Other scores are on another
    scale than their heatmap: the run's own typical ratio of the two, forgotten slowly, brings them together.
    """

    def __init__(self, calibration: Calibration, threshold: float) -> None:
        self._alarm = [max(level, 1e-9) for level in calibration.alarm_levels(threshold)]
        self._log_ratio = [0.0] * len(self._alarm)
        self._frames = [0] * len(self._alarm)

    def __call__(self, heatmaps: npt.NDArray[np.float32], scores: Sequence[Sequence[float]]) -> npt.NDArray[np.float32]:
        """Of some frames in order: (N, Q, hh, hw) local errors of the first Q parts, and all parts' scores (N, P).

        Gives (N, hh, hw) float32, 1 at an alarm.
        """
        # One call of NumPy for all frames of a batch: one for each cost more than all the rest of a verdict.
        peaks = heatmaps.max(axis=(2, 3)).tolist()
        # Parts without a heatmap come last, so the shorter of the two ends the loop.
        units = [
            [self._unit(k, peak, score) for k, (peak, score) in enumerate(zip(*frame, strict=False))]
            for frame in zip(peaks, scores, strict=True)
        ]
        with np.errstate(over="ignore"):  # of a part that decides nothing the unit is infinite
            divisors = np.array(units, dtype=np.float32)
        return np.asarray((heatmaps / divisors[:, :, None, None]).max(axis=1), dtype=np.float32)

    def _unit(self, part: int, peak: float, score: float) -> float:
        """What this part's local errors are to be divided by, after a frame with this largest one and this score."""
        if peak > 0 and 0 < score < math.inf:
            self._frames[part] = min(self._frames[part] + 1, 1000)
            self._log_ratio[part] += (math.log(peak / score) - self._log_ratio[part]) / self._frames[part]
        return self._alarm[part] * math.exp(self._log_ratio[part])
