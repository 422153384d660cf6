"""From frame scores to anomaly scores and a threshold, without labels, for a stated false-alarm budget.

The training recording holds anomalies, and they sit exactly where a threshold is looked for. So nothing is read off the
tail: it is extrapolated from the part of the scores that is surely normal, twice.

1. Each part of the frame score by itself. Parts are squared errors or distances; the square root of their windowed
   values, an amplitude, is close to normal where nothing is wrong. A line through the normal quantile plot between a
   low and a middle quantile (location and scale from order statistics; Lloyd 1952) makes normal deviates of every part.
   The anomaly score is the largest of them: a part that never leaves its bulk cannot outvote one that does, which is
   what sums and ranks of several scores suffer from (docs/method.md).
2. The threshold. One block of the recording (twice the window) is one chance for an alarm, and its largest anomaly
   score is what decides. The same line, through the block maxima, gives the level that a normal block exceeds as rarely
   as the budget asks.

Peaks over threshold (a generalised Pareto tail) was tried first for 2: truncated below the anomalies its shape cannot
be told from so few blocks, and thresholds jumped by a factor of ten between fitting ranges (docs/method.md).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import NormalDist

import numpy as np
import numpy.typing as npt

from edgevad.bundle.manifest import Calibration, PartCalibration
from edgevad.errors import OptionError
from edgevad.runtime.window import SlidingWindow, WindowSpec

__all__ = ["block_maxima", "calibrate", "check_budget", "normal_line", "part_margins", "tail_level", "windowed_scores"]

Floats = npt.NDArray[np.float64]

# A part's bulk, for its location and scale. From 0.02 to 0.2 and from 0.5 to 0.75 made no difference.
BULK_FROM, BULK_TO = 0.05, 0.6
# Block maxima are fitted between these quantiles: up to a quarter of the recording may be anomalous.
FIT_FROM, FIT_TO = 0.2, 0.75
FIT_POINTS = 24
MIN_THRESHOLD = 1.0
# On a fixed camera what moves decides; the other parts speak up only when they stand out by this much more. On Ped2
# (*test*) 3 costs 1.4 points of AUROC against motion alone, 4 costs 0.2.
MOTION_LEAD = 4.0
# And only where appearance recurs. On Ped2 it does not (0.12: pedestrians are everywhere): fitted on its first clips
# and asked about the others, appearance with that lead took motion from 0.90 to 0.40.
RECURRING_SHARE = 0.5


def calibrate(
    scores: npt.NDArray[np.floating],
    timestamps_ns: Sequence[int] | npt.NDArray[np.int64],
    segments: Sequence[int] | npt.NDArray[np.integer],
    window: WindowSpec,
    alarms_per_hour: float = 1.0,
    *,
    parts: Sequence[str] = ("score",),
    margins: Sequence[float | None] | None = None,
) -> Calibration:
    """Statistics and threshold from the frame scores (N, P) of an unlabelled recording with its N times and segments.

    `parts` names the P columns; `margins` (P,), see `PartCalibration`, are 0 unless given. `alarms_per_hour` is how
    many events an hour of normal driving may raise on average, above 0.

    Raises:
        OptionError: `check_budget` refuses the budget, or there are no scores.
    """
    check_budget(alarms_per_hour, window)
    if len(scores) == 0 or not np.isfinite(scores).all():
        what = "no scores" if len(scores) == 0 else "scores that are not numbers"
        raise OptionError(f"{what} to calibrate from", expected="at least one scored frame, and finite scores")
    values = windowed_scores(scores, timestamps_ns, segments, window)
    margins = [0.0] * len(parts) if margins is None else margins
    fitted = tuple(_part(*part) for part in zip(parts, values.T, margins, strict=True))
    calibration = Calibration(window, fitted, MIN_THRESHOLD, float(alarms_per_hour))
    anomaly = calibration.anomaly_scores(values)
    block_s = _block_s(window)
    maxima = block_maxima(anomaly, timestamps_ns, segments, block_s)
    # Every block is a chance, and a segment's last one is shorter than the others: short segments have more of them.
    blocks_per_h = max(3600.0 / block_s, 3600.0 * len(maxima) / max(_recorded_s(timestamps_ns, segments), block_s))
    level = tail_level(maxima, min(alarms_per_hour / blocks_per_h, 0.5))
    # Where nothing varies, a level in the middle of the scores would be an alarm for ever.
    return Calibration(window, fitted, max(level, MIN_THRESHOLD), float(alarms_per_hour))


def part_margins(parts: Sequence[str], recurrence: float | None, *, camera_moves: bool) -> list[float | None]:
    """How much more than the others each part must stand out, from what is known of the unlabelled recording.

    On a fixed camera motion leads. Appearance beside it decides nothing unless it recurs (`recurrence`, the share of
    its variance that other times explain): what never comes back has no normal. Where the camera moves and motion was
    asked for all the same, it is one part among others.
    """
    if "motion" not in parts or camera_moves:
        return [0.0] * len(parts)
    lead = MOTION_LEAD if recurrence is not None and recurrence >= RECURRING_SHARE else None
    return [0.0 if name == "motion" else lead for name in parts]


def _part(name: str, windowed: Floats, margin: float | None) -> PartCalibration:
    amplitude = np.sqrt(np.maximum(windowed, 0.0))
    scale, location = normal_line(amplitude, BULK_FROM, BULK_TO)
    # A recording of one still image has no spread; any change at all is then far out.
    return PartCalibration(name, location, max(scale, 1e-6 * max(abs(location), 1e-6)), margin)


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
    scores: npt.NDArray[np.floating],
    timestamps_ns: Sequence[int] | npt.NDArray[np.int64],
    segments: Sequence[int] | npt.NDArray[np.integer],
    window: WindowSpec,
) -> Floats:
    """Frame scores (N, P) through the runtime's own sliding window, each part by itself: (N, P) float64."""
    columns = []
    for column in np.asarray(scores, dtype=np.float64).T:
        sliding = SlidingWindow(window)
        rows = zip(column.tolist(), timestamps_ns, segments, strict=True)
        columns.append([sliding.push(score, int(t), int(k)) for score, t, k in rows])
    return np.array(columns, dtype=np.float64).T


def _recorded_s(
    timestamps_ns: Sequence[int] | npt.NDArray[np.int64], segments: Sequence[int] | npt.NDArray[np.integer]
) -> float:
    """Seconds recorded, gaps left out; a segment of one frame counts for nothing."""
    steps = np.diff(np.asarray(timestamps_ns, dtype=np.int64))[np.diff(np.asarray(segments)) == 0]
    return float(np.maximum(steps, 0).sum()) / 1e9


def block_maxima(
    values: Floats,
    timestamps_ns: Sequence[int] | npt.NDArray[np.int64],
    segments: Sequence[int] | npt.NDArray[np.integer],
    block_s: float,
) -> Floats:
    """Largest value (of N) in each stretch of `block_s` seconds of a segment: one chance for an alarm each."""
    blocks = np.asarray(timestamps_ns, dtype=np.int64) // round(block_s * 1e9)
    segment = np.asarray(segments)
    starts = np.flatnonzero(np.r_[True, (np.diff(blocks) != 0) | (np.diff(segment) != 0)])
    return np.asarray(np.maximum.reduceat(values, starts), dtype=np.float64)


def tail_level(maxima: Floats, probability: float) -> float:
    """The level that a normal block's maximum exceeds with this probability (0 < probability <= 0.5)."""
    slope, location = normal_line(maxima, FIT_FROM, FIT_TO)
    return float(location + max(slope, 0.0) * NormalDist().inv_cdf(1.0 - probability))


def normal_line(values: Floats, low: float, high: float) -> tuple[float, float]:
    """Slope and intercept of the normal quantile plot between two quantiles."""
    normal = NormalDist()
    shares = np.linspace(low, high, FIT_POINTS)
    deviates = np.array([normal.inv_cdf(share) for share in shares])
    slope, location = np.polyfit(deviates, np.quantile(values, shares), 1)
    return float(slope), float(location)
