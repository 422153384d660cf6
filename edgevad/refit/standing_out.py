"""What stands out in recent drives even after the champion has been told what is usual there.

In a new condition a champion raises alarms everywhere, and a challenger has to be allowed to end that. What tells a new
condition from an anomaly is how long it stays: light, season, mount and dirt are there from a drive's beginning to its
end and move all of its scores; an anomaly comes and goes and moves some of them. So the champion's deviates are taken
anew within each drive, by the calmer part of its frames, and what is still far out there is an event, whatever the
condition; of a drive that is unusual from beginning to end nothing stands out, and its pictures have to speak
(edgevad/refit/sight.py).
"""

from __future__ import annotations

from statistics import NormalDist

import numpy as np
import numpy.typing as npt

from edgevad.bundle.calibration import Calibration

__all__ = ["STANDS_OUT", "own_deviates"]

Floats = npt.NDArray[np.float64]
# Deviates from what is usual in its drive beyond which a frame stands out.
STANDS_OUT = 3.0
# The calmer part that says what is usual: with two fifths of the frames anomalous it is still of normal ones alone.
_CALM_FROM, _CALM_TO, _POINTS = 0.05, 0.45, 16
# A drive shorter than this says little of what is usual in it, and is seen with the others.
_LEAST_FRAMES = 200
# Of the scale by the champion's own calibration: a drive of one view repeats itself, and no more than that.
_LEAST_SCALE = 0.5


def own_deviates(windowed: npt.NDArray[np.floating], drive: npt.NDArray[np.integer], calibration: Calibration) -> Floats:
    """How far each frame stands out from its own drive, (N,): the largest deviate of the parts that decide.

    `windowed` (N, P) scores by the champion, `drive` (N,) which drive a frame is of.
    """
    found = np.full(len(windowed), -np.inf)
    counts = {int(k): int(np.sum(drive == k)) for k in np.unique(drive)}
    short = [k for k, count in counts.items() if count < _LEAST_FRAMES]
    groups = [drive == k for k in counts if k not in short]
    if short:
        groups.append(np.isin(drive, short))
    amplitude = np.sqrt(np.maximum(np.asarray(windowed, np.float64), 0.0))
    for group in groups:
        for column, part in zip(amplitude[group].T, calibration.parts, strict=True):
            if part.margin is not None:
                deviates = _standardised(column, _LEAST_SCALE * part.scale) - part.margin
                found[group] = np.maximum(found[group], deviates)
    return found


def _standardised(amplitude: Floats, least: float) -> Floats:
    """Deviates by a line through the normal quantile plot of the calmer part (Lloyd 1952, as the calibration)."""
    shares = np.linspace(_CALM_FROM, _CALM_TO, _POINTS)
    normal = np.array([NormalDist().inv_cdf(share) for share in shares])
    slope, location = np.polyfit(normal, np.quantile(amplitude, shares), 1)
    scale = max(float(slope), least, 1e-6 * max(abs(float(location)), 1e-6))
    return np.asarray((amplitude - location) / scale, dtype=np.float64)
