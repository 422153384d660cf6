"""Does a quantised graph tell the car the same as the float one? Compared on real frames that it was not made from.

The order of the scores is what a detector consists of (a threshold is calibrated to it), so the rank correlation is
looked at first; then what the threshold makes of it, the frames that stand out most, and where the heatmaps point.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from edgevad.bundle.manifest import Calibration
from edgevad.calibration.judging import Judged
from edgevad.errors import OptionError
from edgevad.evaluation.labels import AMBIGUOUS, ANOMALY

__all__ = ["Agreement", "GuardLimits", "compare", "rank_correlation"]

Floats = npt.NDArray[np.floating]
# The frames that stand out most, as a share of all.
TAIL_SHARE = 0.05


@dataclass(frozen=True)
class GuardLimits:
    """How much a quantised graph may differ, all measured on held-out frames.

    Attributes:
        max_rank_loss: 1 - Spearman's rank correlation of frame scores, of anomaly scores, and of each part that goes
            through the network.
        max_flips: share of the frames on the other side of the threshold.
        min_tail: share of the 5 % that stand out most in the float graph that do so in the quantised one.
        min_heatmap: mean over frames of the correlation of their heatmaps, of the worst part.
        max_auroc_loss: where labels are there, in units of AUROC (0.005 is half a point).
    """

    max_rank_loss: float = 0.01
    max_flips: float = 0.01
    min_tail: float = 0.9
    min_heatmap: float = 0.95
    max_auroc_loss: float = 0.005

    def __post_init__(self) -> None:
        for name, value in asdict(self).items():
            if not 0.0 <= value <= 1.0:
                raise OptionError(f"{name} of {value}", expected="a share between 0 and 1")

    def to_json(self) -> dict[str, float]:
        return asdict(self)


@dataclass(frozen=True)
class Agreement:
    """How far a graph agrees with the float one on `frames` held-out frames.

    Attributes:
        rank: Spearman's correlation by what was ranked: "frame score", "anomaly score", and parts by name.
        flips: share of the frames on the other side of the threshold.
        beyond: share of the frames beyond the threshold by the float graph.
        tail: share of the float graph's top 5 % that are in the other graph's top 5 %, too.
        heatmap: mean over frames of the correlation of their heatmaps, of the part where it is least.
        auroc: (float graph, other graph) where labels are there, else None.
        failures: what is beyond the limits, in words; empty where the graph may be shipped.
    """

    frames: int
    rank: dict[str, float]
    flips: float
    beyond: float
    tail: float
    heatmap: float
    auroc: tuple[float, float] | None
    failures: tuple[str, ...]

    @property
    def passed(self) -> bool:
        return not self.failures

    @property
    def rank_loss(self) -> float:
        """The largest 1 - rank correlation."""
        return 1.0 - min(self.rank.values())

    def to_json(self) -> dict[str, Any]:
        return {**asdict(self), "failures": list(self.failures), "passed": self.passed}


def compare(
    reference: Judged,
    other: Judged,
    calibration: Calibration,
    limits: GuardLimits,
    *,
    network_parts: Sequence[str],
    labels: npt.NDArray[np.int8] | None = None,
) -> Agreement:
    """Hold `other` against `reference`, two graphs' verdicts on the same N frames.

    `network_parts` names the parts of the score that quantisation changes, which are ranked by themselves; the others
    reach the verdict through frame scores and anomaly scores. `labels` (N,) holds levels: 2 anomaly, 1 ambiguous and
    left out, 0 else; with frames of one kind only they say nothing.
    """
    rank = {
        "frame score": rank_correlation(reference.frame_score, other.frame_score),
        "anomaly score": rank_correlation(reference.anomaly, other.anomaly),
    }
    for k, name in enumerate(calibration.names):
        if name in network_parts:
            rank[name] = rank_correlation(reference.score[:, k], other.score[:, k])
    beyond = reference.anomaly >= calibration.threshold
    flips = float(np.mean(beyond != (other.anomaly >= calibration.threshold)))
    tail = _tail_agreement(reference.anomaly, other.anomaly)
    heatmap = _heatmap_similarity(reference.heatmap, other.heatmap)
    auroc = None if labels is None else _aurocs(labels, reference.anomaly, other.anomaly)
    failures = [
        f"{name} keeps {value:.4f} of its rank correlation (at least {1 - limits.max_rank_loss:.4f})"
        for name, value in rank.items()
        if not 1.0 - value <= limits.max_rank_loss
    ]
    if not flips <= limits.max_flips:
        failures.append(f"{flips:.2%} of the frames change sides at the threshold (at most {limits.max_flips:.2%})")
    if not tail >= limits.min_tail:
        failures.append(f"only {tail:.1%} of the frames that stand out most still do (at least {limits.min_tail:.0%})")
    if not heatmap >= limits.min_heatmap:
        failures.append(f"heatmaps correlate by {heatmap:.3f} (at least {limits.min_heatmap:.3f})")
    if auroc is not None and not auroc[0] - auroc[1] <= limits.max_auroc_loss:
        failures.append(f"AUROC falls from {auroc[0]:.3f} to {auroc[1]:.3f} (at most by {limits.max_auroc_loss:.3f})")
    return Agreement(len(reference.anomaly), rank, flips, float(np.mean(beyond)), tail, heatmap, auroc, tuple(failures))


def rank_correlation(a: Floats, b: Floats) -> float:
    """Spearman's rank correlation of two (N,).

    1 where both are constant, 0 where one is, or where one holds what is no number.
    """
    if not (np.isfinite(a).all() and np.isfinite(b).all()):
        return 0.0
    constant = [bool((values == values[0]).all()) for values in (a, b)]
    if any(constant):
        return float(all(constant))
    return float(np.corrcoef(_ranks(a), _ranks(b))[0, 1])


def _ranks(values: Floats) -> npt.NDArray[np.float64]:
    """Ranks from 0, equal values at the mean of theirs; without SciPy, which a device does not have."""
    _, number, count = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(count)
    return np.asarray((last - (count + 1) / 2.0)[number.reshape(-1)], dtype=np.float64)


def _tail_agreement(reference: Floats, other: Floats) -> float:
    count = max(1, round(TAIL_SHARE * len(reference)))
    top = np.argsort(-reference, kind="stable")[:count]
    kept = np.argsort(-other, kind="stable")[:count]
    return len(np.intersect1d(top, kept)) / count


def _heatmap_similarity(reference: Floats, other: Floats) -> float:
    """Mean over frames of the correlation between the cells of two heatmaps (N, Q, hh, hw); of the worst part."""
    a = reference.reshape(*reference.shape[:2], -1).astype(np.float64)
    b = other.reshape(*other.shape[:2], -1).astype(np.float64)
    if not np.isfinite(b).all():
        return 0.0
    a, b = a - a.mean(axis=2, keepdims=True), b - b.mean(axis=2, keepdims=True)
    squares = [(one * one).sum(axis=2) for one in (a, b)]
    flat = [one <= 0 for one in squares]
    norm = np.sqrt(squares[0] * squares[1])
    # Two flat heatmaps point at the same, which is nothing; one of them has lost what the other points at.
    same = np.where(flat[0] | flat[1], flat[0] & flat[1], (a * b).sum(axis=2) / np.where(norm > 0, norm, 1.0))
    return float(same.mean(axis=0).min())


def _aurocs(labels: npt.NDArray[np.int8], reference: Floats, other: Floats) -> tuple[float, float] | None:
    from sklearn.metrics import roc_auc_score

    judged = labels != AMBIGUOUS
    anomalous = labels[judged] == ANOMALY
    if anomalous.all() or not anomalous.any():
        return None
    return float(roc_auc_score(anomalous, reference[judged])), float(roc_auc_score(anomalous, other[judged]))
