"""How well scores tell probes from clean frames, and how sure that is. NumPy alone: a device has no more."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["Interval", "auroc", "resampled", "weighted_auroc"]

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.integer]


@dataclass(frozen=True)
class Interval:
    """A figure and between what it lies, by the bootstrap's percentiles."""

    value: float
    low: float
    high: float

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def auroc(positive: Floats, negative: Floats) -> float:
    """The chance that a positive (P,) scores higher than a negative (N,), ties counted half (Mann and Whitney 1947).

    Scores that are no number rank below all others: a model that gives none has not told anything.
    """
    return float(weighted_auroc(positive, negative, np.ones((1, len(positive))), np.ones((1, len(negative))))[0])


def weighted_auroc(positive: Floats, negative: Floats, positive_weight: Floats, negative_weight: Floats) -> Floats:
    """The same for B weightings of the scores at once: weights (B, P) and (B, N), the result (B,).

    NaN where a weighting leaves nothing of either.
    """
    up = np.where(np.isfinite(positive), positive, -np.inf)[:, None]
    down = np.where(np.isfinite(negative), negative, -np.inf)[None, :]
    higher = (up > down) + 0.5 * (up == down)
    won = np.einsum("bp,pn,bn->b", positive_weight, higher, negative_weight, optimize=True)
    pairs = positive_weight.sum(axis=1) * negative_weight.sum(axis=1)
    return np.asarray(np.divide(won, pairs, out=np.full(len(pairs), np.nan), where=pairs > 0), dtype=np.float64)


def resampled(cluster: Integers, times: int, random: np.random.Generator) -> Floats:
    """How often each entry counts in `times` bootstrap samples of whole clusters: (times, N), whole numbers.

    `cluster` (N,) says what belongs together. Frames of one stretch resemble each other: drawing them one by one would
    take one view seen ten times for ten views, and make intervals too narrow (Davison and Hinkley 1997, section 3.8).
    """
    _, number = np.unique(cluster, return_inverse=True)
    count = int(number.max()) + 1 if len(number) else 0
    drawn = random.multinomial(count, np.full(count, 1 / count), size=times) if count else np.zeros((times, 0))
    return np.asarray(drawn[:, number], dtype=np.float64)
