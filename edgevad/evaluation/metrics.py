"""How well scores rank labelled frames: functions over arrays, one entry a frame.

`level` (N,) is 0 normal, 1 ambiguous, 2 anomaly (see `edgevad.evaluation.labels`); ambiguous frames and those whose
score is NaN (the model was not ready) are in no metric. A metric that the frames leave undefined is None.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from edgevad._extras import require
from edgevad.evaluation.labels import AMBIGUOUS, ANOMALY, NORMAL

__all__ = [
    "Curves",
    "Detection",
    "SeriesMetrics",
    "auroc_by_kind",
    "centred_mean",
    "curves",
    "detection",
    "series_metrics",
    "sklearn_metrics",
]

Floats = npt.NDArray[np.float64]
Levels = npt.NDArray[np.int8]
Segments = npt.NDArray[np.integer]


@dataclass(frozen=True)
class SeriesMetrics:
    """What one series of scores is worth, whatever its threshold.

    Attributes:
        frames: frames that were judged, `anomalies` of them anomalous.
        auroc: area under the ROC curve over all judged frames (micro): the chance that an anomalous frame scores higher
            than a normal one, ties counted half.
        average_precision: over all judged frames; a random score reaches the share of anomalies.
        segment_auroc: mean of the AUROC inside each segment that has frames of both kinds, `segments` of them.
        normalised_auroc: micro, after each segment's scores were scaled to [0, 1]; looks ahead, for the literature.
        best_f1: largest F1 over all thresholds; `best_threshold` is the largest score with which a frame counts as
            anomalous from there on.
    """

    frames: int
    anomalies: int
    auroc: float | None
    average_precision: float | None
    segment_auroc: float | None
    segments: int
    normalised_auroc: float | None
    best_f1: float | None
    best_threshold: float | None

    def to_json(self) -> dict[str, Any]:
        return dict(vars(self))


@dataclass(frozen=True)
class Detection:
    """How well frames that were called anomalous agree with the labels.

    Attributes:
        precision: share of the called frames that are anomalous; None where no frame was called.
        recall: share of the anomalous frames that were called; None where there is none.
        f1: their harmonic mean; None where there is no anomalous frame.
        false_positive_rate: share of the normal frames that were called; None where there is none.
    """

    precision: float | None
    recall: float | None
    f1: float | None
    false_positive_rate: float | None


@dataclass(frozen=True)
class Curves:
    """ROC and precision-recall curve, points of rising false-positive rate and rising recall; all (K,) float64."""

    false_positive_rate: Floats
    true_positive_rate: Floats
    recall: Floats
    precision: Floats


def sklearn_metrics() -> Any:
    """scikit-learn's metrics.

    Raises:
        MissingExtraError: scikit-learn is not installed.
    """
    return require("sklearn.metrics", extra="report", needed_for="evaluation")


def series_metrics(score: Floats, level: Levels, segment: Segments) -> SeriesMetrics:
    """Rank metrics of one series: `score` (N,) with NaN where there is none, `level` (N,), `segment` (N,)."""
    truth, judged = _judged(score, level)
    best_f1, best_threshold = _best_f1(truth, score[judged])
    segment_auroc, segments = _segment_auroc(score, level, segment)
    return SeriesMetrics(
        frames=len(truth),
        anomalies=int(truth.sum()),
        auroc=_auroc(truth, score[judged]),
        average_precision=_average_precision(truth, score[judged]),
        segment_auroc=segment_auroc,
        segments=segments,
        normalised_auroc=_auroc(truth, _scaled_by_segment(score, segment)[judged]),
        best_f1=best_f1,
        best_threshold=best_threshold,
    )


def auroc_by_kind(score: Floats, level: Levels, kind: npt.NDArray[np.str_]) -> dict[str, float | None]:
    """For each kind of anomaly, in order of first appearance: AUROC of its frames against all normal ones.

    `kind` (N,) names the anomaly of each frame; only that of anomalous frames counts.
    """
    names, first = np.unique(kind[level == ANOMALY], return_index=True)
    result: dict[str, float | None] = {}
    for name in names[np.argsort(first)]:
        part = (level == NORMAL) | ((level == ANOMALY) & (kind == name))
        truth, judged = _judged(score[part], level[part])
        result[str(name)] = _auroc(truth, score[part][judged])
    return result


def detection(called: npt.NDArray[np.bool_], score: Floats, level: Levels) -> Detection:
    """Agreement of `called` (N,) with the labels, over the same frames as the metrics of `score`."""
    truth, judged = _judged(score, level)
    if not len(truth):
        return Detection(None, None, None, None)
    said = called[judged]
    false_positive_rate = None if truth.all() else float(said[~truth].mean())
    precision, recall, f1, _ = sklearn_metrics().precision_recall_fscore_support(
        truth, said, average="binary", zero_division=0.0
    )
    return Detection(
        precision=float(precision) if said.any() else None,
        recall=float(recall) if truth.any() else None,
        f1=float(f1) if truth.any() else None,
        false_positive_rate=false_positive_rate,
    )


def curves(score: Floats, level: Levels) -> Curves | None:
    """The curves behind AUROC and average precision, or None where these are undefined."""
    truth, judged = _judged(score, level)
    if not _has_both(truth):
        return None
    metrics = sklearn_metrics()
    false_positive_rate, true_positive_rate, _ = metrics.roc_curve(truth, score[judged])
    precision, recall, _ = metrics.precision_recall_curve(truth, score[judged])
    return Curves(false_positive_rate, true_positive_rate, recall[::-1], precision[::-1])


def centred_mean(score: Floats, timestamp_ns: npt.NDArray[np.int64], segment: Segments, length_s: float) -> Floats:
    """Mean over the frames less than half of `length_s` before or after each frame, within its segment: (N,).

    For offline comparison: it looks ahead, which no vehicle can. Frames whose score is NaN stay so and are in no mean.
    """
    result = np.full(len(score), np.nan)
    scored = np.flatnonzero(~np.isnan(score))
    if not len(scored):
        return result
    half_ns = round(length_s * 1e9) / 2
    for rows in np.split(scored, np.flatnonzero(np.diff(segment[scored]) != 0) + 1):
        times = timestamp_ns[rows] - timestamp_ns[rows[0]]
        sums = np.concatenate([[0.0], np.cumsum(score[rows])])
        own = np.arange(len(rows))
        # Its own score is in each mean, even where the window's length is 0.
        start = np.minimum(np.searchsorted(times, times - half_ns, side="right"), own)
        end = np.maximum(np.searchsorted(times, times + half_ns, side="left"), own + 1)
        result[rows] = (sums[end] - sums[start]) / (end - start)
    return result


def _judged(score: Floats, level: Levels) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_]]:
    """The truth of each frame that counts, and which these are."""
    judged = ~np.isnan(score) & (level != AMBIGUOUS)
    return level[judged] == ANOMALY, judged


def _has_both(truth: npt.NDArray[np.bool_]) -> bool:
    return bool(truth.any()) and not truth.all()


def _auroc(truth: npt.NDArray[np.bool_], score: Floats) -> float | None:
    return float(sklearn_metrics().roc_auc_score(truth, score)) if _has_both(truth) else None


def _average_precision(truth: npt.NDArray[np.bool_], score: Floats) -> float | None:
    return float(sklearn_metrics().average_precision_score(truth, score)) if _has_both(truth) else None


def _best_f1(truth: npt.NDArray[np.bool_], score: Floats) -> tuple[float | None, float | None]:
    if not _has_both(truth):
        return None, None
    precision, recall, threshold = sklearn_metrics().precision_recall_curve(truth, score)
    total = precision + recall
    f1 = np.divide(2 * precision * recall, total, out=np.zeros_like(total), where=total > 0)[:-1]
    # Among equals the highest threshold: it raises the fewest alarms.
    best = len(f1) - 1 - int(np.argmax(f1[::-1]))
    return float(f1[best]), float(threshold[best])


def _segment_auroc(score: Floats, level: Levels, segment: Segments) -> tuple[float | None, int]:
    """Mean AUROC over the segments in which it is defined, and how many these are."""
    values = []
    for part in _by_segment(segment):
        truth, judged = _judged(score[part], level[part])
        value = _auroc(truth, score[part][judged])
        if value is not None:
            values.append(value)
    return (float(np.mean(values)) if values else None), len(values)


def _scaled_by_segment(score: Floats, segment: Segments) -> Floats:
    """Each segment's scores scaled to [0, 1], ambiguous frames included; a constant segment becomes 0."""
    scaled = score.copy()
    for part in _by_segment(segment):
        rows = part[~np.isnan(score[part])]
        if len(rows):
            low = score[rows].min()
            extent = score[rows].max() - low
            scaled[rows] = (score[rows] - low) / extent if extent > 0 else 0.0
    return scaled


def _by_segment(segment: Segments) -> list[npt.NDArray[np.intp]]:
    """The rows of each segment, in order."""
    order = np.argsort(segment, kind="stable")
    return np.split(order, np.flatnonzero(np.diff(segment[order])) + 1)
