"""A threshold without labels: from the tail of the training recording's own scores, for a stated false-alarm budget.

The training recording holds anomalies, and they sit exactly where a threshold is looked for. So the tail is not read
off but extrapolated from the part of it that is surely normal: block maxima between their median and a high quantile
are fitted with a generalised Pareto distribution that knows it was truncated there (peaks over threshold: Pickands
1975; Coles, "An Introduction to Statistical Modeling of Extreme Values", 2001, chapter 4); what lies beyond is ignored.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from edgevad.bundle.manifest import Calibration
from edgevad.errors import OptionError
from edgevad.runtime.window import SlidingWindow, WindowSpec

__all__ = ["block_maxima", "calibrate", "tail_level", "windowed_scores"]

Floats = npt.NDArray[np.float64]

# The tail is fitted between these quantiles of the block maxima: below is the body, above may be anomalous.
FIT_FROM, FIT_TO = 0.5, 0.85
# Heavier tails than this have no use for a threshold, lighter ones end too early to trust.
SHAPES = np.linspace(-0.2, 0.3, 26)
MIN_BLOCKS = 20


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
        OptionError: the budget is not positive, or there are no finite scores.
    """
    if not (math.isfinite(alarms_per_hour) and alarms_per_hour > 0):
        raise OptionError(f"a budget of {alarms_per_hour} alarms per hour", expected="a number above 0")
    values = windowed_scores(scores, timestamps_ns, segments, window)
    if values.size == 0:
        raise OptionError("no scores to calibrate from", expected="at least one scored frame")
    median = float(np.median(values))
    spread = 1.4826 * float(np.median(np.abs(values - median)))
    # A recording of one still image has no spread; any change at all is then far out.
    spread = max(spread, 1e-6 * max(abs(median), 1e-6))
    block_s = max(2.0 * window.length_s, 2.0)
    maxima = (block_maxima(values, timestamps_ns, segments, block_s) - median) / spread
    threshold = tail_level(maxima, min(alarms_per_hour * block_s / 3600.0, 0.5))
    return Calibration(window, median, spread, threshold, float(alarms_per_hour))


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
    """The level that a normal block's maximum exceeds with this probability (0 < probability <= 0.5)."""
    low, high = np.quantile(maxima, [FIT_FROM, FIT_TO])
    excess = maxima[(maxima > low) & (maxima <= high)] - low
    if len(maxima) < MIN_BLOCKS or len(excess) < 5 or high <= low:
        # Too little to fit: an exponential tail through the median and the upper quartile.
        rate = (np.quantile(maxima, 0.75) - low) / math.log(2.0)
        return float(low + max(rate, 1e-3) * math.log(0.5 / probability))
    shape, scale = _fit_truncated_pareto(excess, high - low)
    # P(maximum > low + y) = 0.5 (1 + shape y / scale)^(-1 / shape)
    ratio = 0.5 / probability
    step = math.log(ratio) if abs(shape) < 1e-9 else (ratio**shape - 1.0) / shape
    return float(low + scale * step)


def _fit_truncated_pareto(excess: Floats, end: float) -> tuple[float, float]:
    """Maximum-likelihood shape and scale of a generalised Pareto distribution seen only on (0, end]."""
    scales = end * np.geomspace(0.05, 20.0, 120)
    shape, scale = np.meshgrid(SHAPES, scales, indexing="ij")  # (S, K)

    def survival_log(y: Floats) -> Floats:
        inner = np.maximum(1.0 + shape * y / scale, 1e-12)
        return np.where(np.abs(shape) < 1e-9, -y / scale, -np.log(inner) / np.where(shape == 0, 1.0, shape))

    likelihood = np.zeros_like(shape)
    for y in excess:
        inner = np.maximum(1.0 + shape * y / scale, 1e-12)
        likelihood += survival_log(y) - np.log(inner) - np.log(scale)
    likelihood -= len(excess) * np.log(-np.expm1(survival_log(np.array(end))) + 1e-300)
    best = np.unravel_index(np.argmax(likelihood), likelihood.shape)
    return float(shape[best]), float(scale[best])
