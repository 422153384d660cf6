"""What stands out in recent drives even after the champion has been told what is usual there.

In a new condition a champion raises alarms everywhere, and a challenger has to be allowed to end that. What tells a new
condition from an anomaly is how long it stays: light, season, mount and dirt are there from a drive's beginning to its
end and move all of its scores; an anomaly comes and goes and moves some of them. So the champion's deviates are taken
anew within each drive, by the calmer part of its frames, and what is still far out there is an event, whatever the
condition; of a drive that is unusual from beginning to end nothing stands out, and its pictures have to speak
(edgevad/refit/sight.py).
"""

from __future__ import annotations

from collections.abc import Callable
from statistics import NormalDist

import numpy as np
import numpy.typing as npt

from edgevad.bundle.calibration import Calibration, PartCalibration

__all__ = ["FAR_OUT", "STANDS_OUT", "Line", "deviates_within", "own_deviates"]

Floats = npt.NDArray[np.float64]
# From a part's amplitudes (n,) in one drive, and its calibration: location and scale of what is usual there.
Line = Callable[[Floats, PartCalibration], tuple[float, float]]
# Deviates from what is usual in its drive beyond which a frame stands out, and is far out.
STANDS_OUT, FAR_OUT = 4.0, 6.0
# Says where what is usual lies: with two fifths of the frames anomalous it is still the median of the normal ones.
_CALM = 0.3
# A drive shorter than this says little of what is usual in it, and is seen with the others.
_LEAST_FRAMES = 200


def own_deviates(
    windowed: npt.NDArray[np.floating], drive: npt.NDArray[np.integer], calibration: Calibration
) -> Floats:
    """How far each frame stands out from its own drive, (N,): the largest deviate of the parts that decide.

    The location of each part is the drive's own, its scale the champion's: a scale taken from a log that is anomalous
    for two fifths is that of the anomalies, and nothing would stand out.

    `windowed` (N, P) scores by the champion, `drive` (N,) which drive a frame is of.
    """
    return deviates_within(windowed, drive, calibration, _calm_with_its_scale)


def _calm_with_its_scale(amplitude: Floats, part: PartCalibration) -> tuple[float, float]:
    return float(np.quantile(amplitude, _CALM)) - NormalDist().inv_cdf(_CALM) * part.scale, part.scale


def deviates_within(
    windowed: npt.NDArray[np.floating], drive: npt.NDArray[np.integer], calibration: Calibration, line: Line
) -> Floats:
    """The largest deviate of the parts that decide, (N,), from what `line` finds to be usual in each frame's own drive.

    `windowed` (N, P) scores, `drive` (N,) which drive a frame is of.
    """
    found = np.full(len(windowed), -np.inf)
    amplitude = np.sqrt(np.maximum(np.asarray(windowed, np.float64), 0.0))
    for group in _drives_apart(drive):
        for column, part in zip(amplitude[group].T, calibration.parts, strict=True):
            if part.margin is not None:
                location, scale = line(column, part)
                found[group] = np.maximum(found[group], (column - location) / scale - part.margin)
    return found


def _drives_apart(drive: npt.NDArray[np.integer]) -> list[npt.NDArray[np.bool_]]:
    """Masks (N,) of frames that are seen for themselves: each drive, and those that are too short for that together.

    `drive` (N,) which drive a frame is of.
    """
    drives, counts = np.unique(drive, return_counts=True)
    groups = [drive == one for one in drives[counts >= _LEAST_FRAMES]]
    short = np.isin(drive, drives[counts < _LEAST_FRAMES])
    return [*groups, short] if short.any() else groups
