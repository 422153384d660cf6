"""What a graph says of recorded frames: the raw scores, and what the car would be told."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from edgevad.bundle.manifest import Calibration
from edgevad.calibration.threshold import windowed_scores
from edgevad.model.cache import FrameCache, runs_of
from edgevad.runtime.backends.backend import Backend

__all__ = ["Judged", "Progress", "ignore", "judge"]

BATCH = 16
Progress = Callable[[int], None]
Indices = npt.NDArray[np.int64]


def ignore(done: int) -> None:
    """A progress nobody looks at."""


@dataclass(frozen=True)
class Judged:
    """A graph's verdict on N frames.

    Attributes:
        score: (N, P) float32, raw, a column a part.
        windowed: (N, P) float64, the same through the sliding window.
        heatmap: (N, Q, hh, hw) float32; without frames, (0, Q, hh, hw), where it was not wanted.
        latent: (N, d) float32.
        frame_score: (N,) the largest deciding deviate of each frame by itself.
        anomaly: (N,) the same through the sliding window, what the threshold is held against.
    """

    score: npt.NDArray[np.float32]
    windowed: npt.NDArray[np.float64]
    heatmap: npt.NDArray[np.float32]
    latent: npt.NDArray[np.float32]
    frame_score: npt.NDArray[np.float64]
    anomaly: npt.NDArray[np.float64]


def judge(
    backend: Backend,
    cache: FrameCache,
    rows: Indices,
    calibration: Calibration,
    progress: Progress = ignore,
    *,
    heatmaps: bool = True,
) -> Judged:
    """Score the frames `rows` (ascending) of `cache`, and window them as the runtime does.

    `progress` is told how many are done. Heatmaps of hours of video are large: `heatmaps` says whether to keep them.

    Raises:
        BackendError: the engine failed.
    """
    size = backend.batch or BATCH
    found = []
    for start in range(0, len(rows), size):
        batch = rows[start : start + size]
        motion = None if cache.motion is None else cache.motion[batch].astype(np.float32)
        scores = backend.score(np.ascontiguousarray(cache.images[batch]), motion)
        found.append(scores if heatmaps else replace(scores, heatmap=scores.heatmap[:0]))
        progress(start + len(batch))
    score = np.concatenate([one.score for one in found])
    windowed = windowed_scores(score, cache.timestamp_ns[rows], runs_of(rows, cache.segment), calibration.window)
    return Judged(
        score,
        windowed,
        np.concatenate([one.heatmap for one in found]),
        np.concatenate([one.latent for one in found]),
        calibration.anomaly_scores(score),
        calibration.anomaly_scores(windowed),
    )
