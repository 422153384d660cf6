"""What a detector must beat: scores without a network, fitted on one part of a recording and asked about another.

Each is a function of two `LabelledCache`s, fitted on the first and scoring the second; they may be the same. Smaller
than an autoencoder in every respect but memory: `nearest frames` keeps every frame and searches all of them.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
from sklearn.decomposition import PCA
from sklearn.neighbors import KernelDensity

from benchmarks._recordings import LabelledCache
from edgevad.evaluation.metrics import centred_mean
from edgevad.model.statistics import ELSEWHEN_S

__all__ = ["BASELINES"]

Floats = npt.NDArray[np.floating]
LUMA_BGR = np.array([0.114, 0.587, 0.299], np.float32)
NEAREST = 5


def gray(part: LabelledCache) -> Floats:
    return np.asarray(part.cache.images @ LUMA_BGR / 255, dtype=np.float32)


def log(part: LabelledCache) -> Floats:
    return np.asarray(np.log(gray(part) + 0.03), dtype=np.float32)


def difference(part: LabelledCache, lag: int = 1) -> Floats:
    """Absolute difference to the frame `lag` frames before, 0 where there is none in the segment."""
    x = gray(part)
    before = np.maximum(np.arange(len(x)) - lag, 0)
    before = np.where(part.cache.segment[before] == part.cache.segment, before, np.arange(len(x)))
    return np.abs(x - x[before])


def largest_cell(maps: Floats, cell: int = 8) -> Floats:
    """Largest mean over cells of cell x cell pixels, half a cell apart: (N, H, W) -> (N,)."""
    half = cell // 2
    n, height, width = maps.shape
    b = maps.reshape(n, height // half, half, width // half, half).mean((2, 4))
    return (b[:, 1:, 1:] + b[:, :-1, 1:] + b[:, 1:, :-1] + b[:, :-1, :-1]).max((1, 2)) / 4


def largest_difference(fit: LabelledCache, test: LabelledCache) -> Floats:
    return largest_cell(difference(test))


def largest_flow(fit: LabelledCache, test: LabelledCache) -> Floats:
    assert test.cache.motion is not None
    return largest_cell(test.cache.motion[..., 0].astype(np.float32))


def pca_residual(fit: LabelledCache, test: LabelledCache) -> Floats:
    a, b = (log(part).reshape(len(part), -1) for part in (fit, test))
    pca = PCA(16, svd_solver="randomized", random_state=0).fit(a)
    residual = (b - pca.inverse_transform(pca.transform(b))) ** 2
    return largest_cell(residual.reshape(-1, 64, 64))


def pca_density(fit: LabelledCache, test: LabelledCache) -> Floats:
    stacks = [np.stack([gray(p), *(np.clip(2 * difference(p, lag), 0, 1) for lag in (2, 4))], 1) for p in (fit, test)]
    spread = np.sqrt(((stacks[0] - stacks[0].mean(0)) ** 2).mean((0, 2, 3)))[None, :, None, None]
    a, b = (stack.reshape(len(stack), -1) for stack in (stacks[0] / spread, stacks[1] / spread))
    pca = PCA(16, svd_solver="randomized", random_state=0).fit(a)
    za, zb = pca.transform(a), pca.transform(b)
    scale = np.sqrt((za**2).sum(1).mean())
    rows = [np.exp(-_distances(row, za) / scale**2 / (4 * 0.2**2)).sum(1) for row in _chunks(zb)]
    return -np.log(np.concatenate(rows) + 1e-30)


def nearest_frames(fit: LabelledCache, test: LabelledCache) -> Floats:
    """The frame against the mean of its nearest frames at least 15 s away."""
    a, b = (log(part).reshape(len(part), -1) for part in (fit, test))
    then = fit.cache.elapsed_s()
    now = then if fit is test else np.full(len(test), np.inf)
    scores = []
    for start in range(0, len(b), 256):
        rows = slice(start, start + 256)
        squared = _distances(b[rows], a)
        squared[np.abs(now[rows, None] - then[None]) < ELSEWHEN_S] = np.inf
        near = np.argpartition(squared, NEAREST, axis=1)[:, :NEAREST]
        mean = sum(a[near[:, k]] for k in range(NEAREST)) / NEAREST
        scores.append(largest_cell(((b[rows] - mean) ** 2).reshape(-1, 64, 64)))
    return np.concatenate(scores)


def rarity(fit: LabelledCache, test: LabelledCache) -> Floats:
    """Kernel density of five smoothed statistics of the frame: two-sided, stillness is rare, too."""
    a, b = _statistics(fit), _statistics(test)
    middle = np.median(a, 0)
    spread = 1.4826 * np.median(np.abs(a - middle), 0) + 1e-6
    density = KernelDensity(bandwidth=0.3).fit((a - middle) / spread)
    return np.asarray(-density.score_samples((b - middle) / spread))


def _statistics(part: LabelledCache) -> Floats:
    one, two, x = difference(part, 1), difference(part, 2), gray(part)
    columns = [
        np.log(one.mean((1, 2)) + 1e-4),
        np.log(two.mean((1, 2)) + 1e-4),
        x.mean((1, 2)),
        x.std((1, 2)),
        np.log(largest_cell(one) + 1e-4),
    ]
    cache = part.cache
    smooth = [centred_mean(c.astype(np.float64), cache.timestamp_ns, cache.segment, 0.9) for c in columns]
    return np.stack(smooth, 1)


def _chunks(rows: Floats) -> list[Floats]:
    return [rows[start : start + 1024] for start in range(0, len(rows), 1024)]


def _distances(a: Floats, b: Floats) -> Floats:
    return np.maximum((a**2).sum(1)[:, None] + (b**2).sum(1)[None] - 2 * a @ b.T, 0)


BASELINES: dict[str, Callable[[LabelledCache, LabelledCache], Floats]] = {
    "largest frame difference": largest_difference,
    "largest flow": largest_flow,
    "PCA 16, log, largest local residual": pca_residual,
    "PCA 16, gray + motion, latent density": pca_density,
    "nearest 5 frames, log (keeps all)": nearest_frames,
    "rarity of five statistics": rarity,
}
