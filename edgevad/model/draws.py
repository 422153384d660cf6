"""Which frames an epoch draws, where some are trusted more than others."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

__all__ = ["draws", "sampled"]

Indices = npt.NDArray[np.int64]


def draws(count: int, weight: npt.NDArray[np.floating] | None, rng: np.random.Generator) -> Indices:
    """The frame numbers of one epoch, in the order they are drawn: (count,) int64.

    Without `weight` a permutation. With `weight` (count,), >= 0 and not all 0, each frame comes count * weight / sum
    times, rounded down or up by chance: systematic resampling (Kitagawa 1996), which leaves nothing more to chance
    than that.

    Raises:
        ValueError: a weight is negative or no number, or all are 0.
    """
    if weight is None:
        return rng.permutation(count)
    ends = _ends(weight)
    places = (np.arange(count) + rng.random()) / count
    return rng.permutation(np.searchsorted(ends, places, side="right").astype(np.int64))


def sampled(weight: npt.NDArray[np.floating], most: int) -> Indices:
    """At most `most` different frame numbers, ascending, as dense as `weight` (N,) says; no chance is involved.

    Raises:
        ValueError: as for `draws`.
    """
    places = (np.arange(most) + 0.5) / most
    return np.unique(np.searchsorted(_ends(weight), places, side="right")).astype(np.int64)


def _ends(weight: npt.NDArray[np.floating]) -> npt.NDArray[np.float64]:
    """Where each frame's share of [0, 1) ends; a frame of no weight has none."""
    weight = np.asarray(weight, dtype=np.float64)
    total = weight.sum()
    if not (np.isfinite(total) and total > 0 and (weight >= 0).all()):
        raise ValueError("weights to draw by are negative, no numbers, or all zero")
    ends = np.asarray(np.cumsum(weight) / total, dtype=np.float64)
    # Sums of many shares end a little beside 1: the last frame that counts takes what is left.
    ends[np.flatnonzero(weight)[-1] :] = 1.0
    return ends
