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

    def __call__(self, heatmap: npt.NDArray[np.float32], scores: Sequence[float]) -> npt.NDArray[np.float32]:
        """(Q, hh, hw) local errors of the first Q parts, and all parts' scores -> (hh, hw) float32, 1 at an alarm."""
        # Parts without a heatmap come last, so the shorter of the two ends the loop.
        maps = [self._scaled(k, one, score) for k, (one, score) in enumerate(zip(heatmap, scores, strict=False))]
        return np.asarray(maps[0] if len(maps) == 1 else np.maximum.reduce(maps), dtype=np.float32)

    def _scaled(self, part: int, heatmap: npt.NDArray[np.float32], score: float) -> npt.NDArray[np.float32]:
        peak = float(heatmap.max())
        if peak > 0 and score > 0:
            self._frames[part] = min(self._frames[part] + 1, 1000)
            self._log_ratio[part] += (math.log(peak / score) - self._log_ratio[part]) / self._frames[part]
        return heatmap / np.float32(self._alarm[part] * math.exp(self._log_ratio[part]))
