"""A threshold without labels: from the training recording's own scores, for a stated false-alarm budget.

The training recording holds anomalies, and they sit exactly where a threshold is looked for. So the tail is not read
off but extrapolated from the part of the scores that is surely normal. One block of the recording (twice the window) is
one chance for an alarm, and its largest windowed score is what decides. Frame scores are squared errors; the square
roots of their block maxima, error amplitudes, are close to normal between a low and a high quantile on the recordings
we have, whatever the anomalies above do. The line through that part of the normal quantile plot (location and scale
from order statistics; Lloyd 1952) gives the level that a normal block exceeds as rarely as the budget asks.

Peaks over threshold (a generalised Pareto tail) was tried first: truncated below the anomalies its shape cannot be told
from so few blocks, and thresholds jumped by a factor of ten between fitting ranges (docs/method.md).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import NormalDist

import numpy as np
import numpy.typing as npt

from edgevad.bundle.manifest import Calibration
from edgevad.errors import OptionError
from edgevad.runtime.window import SlidingWindow, WindowSpec

__all__ = ["block_maxima", "calibrate", "check_budget", "tail_level", "windowed_scores"]

Floats = npt.NDArray[np.float64]

# Fitted between these quantiles of the block maxima: up to a quarter of the recording may be anomalous.
FIT_FROM, FIT_TO = 0.2, 0.75
FIT_POINTS = 24
MIN_THRESHOLD = 1.0


def calibrate(
    scores: Sequence[float] | npt.NDArray[np.floating],
    timestamps_ns: Sequence[int] | npt.NDArray[np.int64],
    segments: Sequence[int] | npt.NDArray[np.integer],
    window: WindowSpec,
    alarms_per_hour: float = 1.0,
) -> Calibration:
    """Statistics and threshold from the frame scores of an unlabelled recording, all of shape (N,).

    `alarms_per_hour` is how many events an hour of normal driving may raise on average, > 0.

    Raises:
        OptionError: `check_budget` refuses the budget, or there are no scores.
    """
    check_budget(alarms_per_hour, window)
    values = windowed_scores(scores, timestamps_ns, segments, window)
    if values.size == 0:
        raise OptionError("no scores to calibrate from", expected="at least one scored frame")
    median = float(np.median(values))
    spread = 1.4826 * float(np.median(np.abs(values - median)))
    # A recording of one still image has no spread; any change at all is then far out.
    spread = max(spread, 1e-6 * max(abs(median), 1e-6))
    block_s = _block_s(window)
    maxima = block_maxima(values, timestamps_ns, segments, block_s)
    level = tail_level(maxima, alarms_per_hour * block_s / 3600.0)
    # Where nothing varies, a level equal to the median would be an alarm for ever.
    threshold = max((level - median) / spread, MIN_THRESHOLD)
    return Calibration(window, median, spread, threshold, float(alarms_per_hour))


def check_budget(alarms_per_hour: float, window: WindowSpec) -> None:
    """Refuse a budget that no threshold can be set for; to be asked before a model is trained for hours.

    A block of the recording is one chance for an alarm, and the fit speaks of what at most every second block does:
    with the usual window of 1 s, of up to 900 alarms per hour.

    Raises:
        OptionError: the budget is not above 0, or too large for this window.
    """
    most = 0.5 * 3600.0 / _block_s(window)
    if not (math.isfinite(alarms_per_hour) and alarms_per_hour > 0):
        raise OptionError(f"a budget of {alarms_per_hour} alarms per hour", expected="a number above 0")
    if alarms_per_hour > most:
        raise OptionError(
            f"a budget of {alarms_per_hour:g} alarms per hour is too large for a window of {window.length_s:g} s",
            expected=f"{most:g} or less",
            fix="Choose a smaller budget or a shorter window",
        )


def _block_s(window: WindowSpec) -> float:
    return max(2.0 * window.length_s, 2.0)


def windowed_scores(
    scores: Sequence[float] | npt.NDArray[np.floating],
    timestamps_ns: Sequence[int] | npt.NDArray[np.int64],
    segments: Sequence[int] | npt.NDArray[np.integer],
    window: WindowSpec,
) -> Floats:
    """Frame scores (N,) through the runtime's own sliding window: (N,) float64."""
    sliding = SlidingWindow(window)
    rows = zip(scores, timestamps_ns, segments, strict=True)
    return np.array([sliding.push(float(s), int(t), int(k)) for s, t, k in rows], dtype=np.float64)


def block_maxima(
    values: Floats,
    timestamps_ns: Sequence[int] | npt.NDArray[np.int64],
    segments: Sequence[int] | npt.NDArray[np.integer],
    block_s: float,
) -> Floats:
    """Largest value in each stretch of `block_s` seconds of a segment: one chance for an alarm each."""
    blocks = np.asarray(timestamps_ns, dtype=np.int64) // round(block_s * 1e9)
    segment = np.asarray(segments)
    starts = np.flatnonzero(np.r_[True, (np.diff(blocks) != 0) | (np.diff(segment) != 0)])
    return np.asarray(np.maximum.reduceat(values, starts), dtype=np.float64)


def tail_level(maxima: Floats, probability: float) -> float:
    """The level that a normal block's maximum, >= 0, exceeds with this probability (0 < probability <= 0.5)."""
    normal = NormalDist()
    shares = np.linspace(FIT_FROM, FIT_TO, FIT_POINTS)
    amplitudes = np.quantile(np.sqrt(np.maximum(maxima, 0.0)), shares)
    deviates = np.array([normal.inv_cdf(share) for share in shares])
    slope, location = np.polyfit(deviates, amplitudes, 1)
    return float((location + max(slope, 0.0) * normal.inv_cdf(1.0 - probability)) ** 2)
