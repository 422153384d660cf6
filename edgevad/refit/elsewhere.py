"""Frames scored as if each had not been remembered: in any engine, by banks whose entries of its own time are masked.

A frame that is in the bank explains itself, and its neighbours in time do. Training leaves a frame's own time out
inside torch; an engine's graph knows no such mask, but its bank may change between two calls (`Backend.remember`).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from edgevad.model.cache import FrameCache
from edgevad.runtime.backends.backend import BATCH_FRAMES, Backend
from edgevad.spec import EXCLUDED

__all__ = ["score_elsewhere", "score_replay"]

# A mask serves so much time, in units of what counts as the same moment: the less, the more often a bank is changed.
_BLOCK = 0.25


def score_elsewhere(
    backend: Backend,
    cache: FrameCache,
    bank: npt.NDArray[np.float32] | None,
    times_s: npt.NDArray[np.float64] | None,
    apart_s: float,
    progress: Callable[[int], None] = lambda done: None,
) -> npt.NDArray[np.float32]:
    """Raw scores (N, P) float32 of all frames of `cache` with the entries seen within `apart_s` of them left out.

    `bank` (E, m, d + 1) float32 with `times_s` (E, m), when each entry was seen on the clock of `cache.elapsed_s()`,
    infinite where that was another time altogether; None where the model remembers nothing. Frames share a mask for a
    quarter of `apart_s`, which leaves out as much more. The backend remembers `bank` afterwards, whole.

    Raises:
        BackendError: the engine failed, or takes no bank of that shape.
    """
    seconds = cache.elapsed_s()
    if bank is None or times_s is None:
        return _scored(backend, cache, np.arange(len(cache)), progress)
    block = (seconds / (_BLOCK * apart_s)).astype(np.int64)
    starts = np.flatnonzero(np.r_[True, np.diff(block) != 0])
    rows = np.split(np.arange(len(cache)), starts[1:])
    found = []
    try:
        for part in rows:
            own = (times_s > seconds[part[0]] - apart_s) & (times_s < seconds[part[-1]] + apart_s)
            masked = bank.copy()
            masked[own, -1] = EXCLUDED
            masked[own, :-1] = 0.0
            backend.remember(masked)
            found.append(_scored(backend, cache, part, progress))
    finally:
        backend.remember(bank)
    return np.concatenate(found)


def score_replay(
    backend: Backend,
    cache: FrameCache,
    bank: npt.NDArray[np.float32] | None,
    coordinates: npt.NDArray[np.float32] | None,
) -> npt.NDArray[np.float32]:
    """Raw scores (N, P) of frames of before, each stretch without the episode that it resembles most: its own.

    When those entries were seen is no longer known. `coordinates` (N, d) of the frames. The backend remembers `bank`
    (E, m, d + 1) afterwards.

    Raises:
        BackendError: the engine failed, or takes no bank of that shape.
    """
    rows = np.split(np.arange(len(cache)), np.flatnonzero(np.diff(cache.segment)) + 1)
    if bank is None or coordinates is None:
        return np.concatenate([_scored(backend, cache, part, lambda done: None) for part in rows])
    found = []
    try:
        for part in rows:
            masked = bank.copy()
            own = _own_episode(coordinates[part], bank)
            masked[own, :, -1] = EXCLUDED
            masked[own, :, :-1] = 0.0
            backend.remember(masked)
            found.append(_scored(backend, cache, part, lambda done: None))
    finally:
        backend.remember(bank)
    return np.concatenate(found)


def _own_episode(coordinates: npt.NDArray[np.float32], bank: npt.NDArray[np.float32]) -> int:
    """The episode that these frames (n, d) are nearest to, on average."""
    entries = bank.reshape(-1, bank.shape[-1]).astype(np.float64)
    squared = entries[:, -1] - 2.0 * coordinates.astype(np.float64) @ entries[:, :-1].T
    return int(squared.reshape(len(coordinates), bank.shape[0], -1).min(axis=2).mean(axis=0).argmin())


def _scored(
    backend: Backend, cache: FrameCache, rows: npt.NDArray[np.int64], progress: Callable[[int], None]
) -> npt.NDArray[np.float32]:
    size = backend.batch or BATCH_FRAMES
    found = []
    for start in range(0, len(rows), size):
        batch = rows[start : start + size]
        # A fixed batch is filled up with the last frame.
        full = batch if backend.batch is None else np.minimum(np.arange(start, start + size), len(rows) - 1) + rows[0]
        motion = None if cache.motion is None else cache.motion[full].astype(np.float32)
        scores = backend.score(np.ascontiguousarray(cache.images[full]), motion)
        found.append(scores.score[: len(batch)])
        progress(int(batch[-1]) + 1)
    return np.concatenate(found)
