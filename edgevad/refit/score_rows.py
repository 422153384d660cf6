"""The frame scores that statistics and threshold are taken from: those of what is new, and those of what was before.

They are kept in a bundle as the training recording's were, so that another window or budget is calibrated from them on
the spot (`Scorer.recalibrated`), without weights: what counts for less has fewer rows.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from edgevad.bundle.bundle import TrainingScores
from edgevad.model.cache import runs_of

__all__ = ["joined_rows"]

# So many rows are five hours at 10 Hz, and a few megabytes.
MOST_ROWS = 200_000
# Of both conditions one location and scale must do. With a tenth of the rows from before, AUROC on the old condition
# fell by 14 points; at 0.6 it is back, and the new one loses 1 to 3 (docs/refit.md).
BEFORE_SHARE = 0.6
# Rows go in stretches of so long, twice the usual window's block, that windows and blocks still mean something.
_STRETCH_NS = 4_000_000_000


def joined_rows(before: TrainingScores | None, new: TrainingScores, weight: npt.NDArray[np.float32]) -> TrainingScores:
    """Rows of both: `new` ones by their `weight` (N,) in [0, 1], and BEFORE_SHARE of all of `before`.

    A bundle brings some hundred frames of before: their rows are repeated as often as it takes.
    """
    new = _thinned(_taken(new, _by_weight(new, weight)), round(MOST_ROWS * (1.0 - BEFORE_SHARE)))
    if before is None or not len(before.segment):
        return new
    wanted = round(len(new.segment) * BEFORE_SHARE / (1.0 - BEFORE_SHARE))
    times, rest = divmod(wanted, len(before.segment))
    return _one_after_another([*([before] * times), *([_thinned(before, rest)] if rest else []), new])


def _one_after_another(parts: list[TrainingScores]) -> TrainingScores:
    """Rows of several recordings; each begins a segment."""
    segments, first = [], 0
    for part in parts:
        segments.append(part.segment - part.segment[0] + first)
        first = int(segments[-1][-1]) + 1
    return TrainingScores(
        np.concatenate([part.score for part in parts]),
        np.concatenate([part.timestamp_ns for part in parts]),
        np.concatenate(segments).astype(np.int32),
    )


def _stretch(rows: TrainingScores) -> npt.NDArray[np.int64]:
    """The number of each row's stretch, ascending from 0: a few seconds of one segment."""
    if not len(rows.segment):
        return np.zeros(0, np.int64)
    block = rows.timestamp_ns // _STRETCH_NS
    return np.cumsum(np.r_[False, (np.diff(block) != 0) | (np.diff(rows.segment) != 0)]).astype(np.int64)


def _by_weight(rows: TrainingScores, weight: npt.NDArray[np.float32]) -> npt.NDArray[np.bool_]:
    """Of stretches of weight w, their frames' mean, as many as w says, evenly."""
    stretch = _stretch(rows)
    if not len(stretch):
        return np.zeros(0, np.bool_)
    mean = np.bincount(stretch, weight) / np.bincount(stretch)
    total = np.cumsum(mean)
    # One is taken each time the sum of weights passes a whole number; half a unit ahead, so that the first counts.
    taken = np.floor(total + 0.5) > np.floor(np.r_[0.0, total[:-1]] + 0.5)
    return np.asarray(taken[stretch], dtype=np.bool_)


def _thinned(rows: TrainingScores, most: int) -> TrainingScores:
    """Stretches spread evenly, about `most` rows of them."""
    count = len(rows.segment)
    if count <= most:
        return rows
    stretch = _stretch(rows)
    stretches = int(stretch[-1]) + 1
    chosen = np.unique(np.linspace(0, stretches - 1, max(1, round(stretches * most / count))).round().astype(np.int64))
    return _taken(rows, np.isin(stretch, chosen))


def _taken(rows: TrainingScores, mask: npt.NDArray[np.bool_]) -> TrainingScores:
    """The rows of `mask` (N,); a gap between two begins a segment."""
    index = np.flatnonzero(mask)
    return TrainingScores(rows.score[index], rows.timestamp_ns[index], runs_of(index, rows.segment).astype(np.int32))
