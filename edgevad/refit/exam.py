"""The questions: real frames, clean and with controlled anomalies, the same for champion and challenger.

Frames are asked about in pieces, a second or so of consecutive ones, because windows and motion mean something there
only. A piece has one score: the largest anomaly score of its second half, when the window has filled.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from edgevad.bundle.manifest import Calibration
from edgevad.bundle.replay import STRETCH_FRAMES
from edgevad.calibration.judging import judge
from edgevad.model.cache import FrameCache
from edgevad.refit.probes import Stretch, probed
from edgevad.runtime.backends.backend import Backend

__all__ = ["Exam", "exam_of", "piece_scores"]

Rows = npt.NDArray[np.int64]
Integers = npt.NDArray[np.int64]
# Views of the same ten seconds resemble each other, and count as one in the bootstrap.
_CLUSTER_S = 10.0
# A second of frames is kept by replay; shorter ends of stretches fill no window.
_LEAST_FRAMES = 5


@dataclass(frozen=True)
class Exam:
    """K pieces of one set of frames.

    Attributes:
        clean: the frames as they are; `segment` is the number of the piece, from 0.
        cluster: (K,) which pieces are from the same ten seconds.
        foreign: pieces of other drives, numbered as `clean`, that splices are taken from.
        seed: of everything drawn.
    """

    clean: FrameCache
    cluster: Integers
    foreign: FrameCache
    seed: int

    def __len__(self) -> int:
        return len(self.cluster)

    def probed(self, kind: str) -> FrameCache:
        """The same pieces with an anomaly of this kind in each: made when asked for, the same every time."""
        images, motions = [], []
        source = self.clean if kind == "frozen" else self.foreign
        count = int(source.segment[-1]) + 1
        for number in range(len(self)):
            rows = np.flatnonzero(self.clean.segment == number)
            random = np.random.default_rng([self.seed, zlib.crc32(kind.encode()), number])
            # Never the piece itself, where there is another.
            other = (number + int(random.integers(1, max(count, 2)))) % count
            foreign = _stretch(source, np.flatnonzero(source.segment == other))
            found = probed(_stretch(self.clean, rows), kind, random, foreign)
            images.append(found.images)
            if found.motion is not None:
                motions.append(found.motion)
        clean = self.clean
        motion = np.concatenate(motions) if motions else None
        return FrameCache(np.concatenate(images), motion, clean.timestamp_ns, clean.segment, 0, clean.camera)


def exam_of(
    cache: FrameCache,
    *,
    pieces: int,
    foreign: FrameCache | None = None,
    avoid: npt.NDArray[np.bool_] | None = None,
    seed: int = 0,
) -> Exam | None:
    """At most `pieces` pieces spread evenly over `cache`, or None where it has none.

    `foreign` None takes splices from the pieces themselves. `avoid` (N,) marks frames that are better left out, such as
    those in events: pieces without any are taken where they make half of what is wanted, else all count.
    """
    found = _pieces(cache)
    calm = [rows for rows in found if avoid is None or not avoid[rows].any()]
    chosen = calm if 2 * len(calm) >= min(pieces, len(found)) else found
    if not chosen:
        return None
    taken = np.unique(np.linspace(0, len(chosen) - 1, min(pieces, len(chosen))).round().astype(np.int64))
    kept = [chosen[k] for k in taken]
    rows = np.concatenate(kept)
    number = np.repeat(np.arange(len(kept), dtype=np.int32), [len(one) for one in kept])
    first = np.array([one[0] for one in kept])
    places = np.stack([cache.segment[first], cache.timestamp_ns[first] // round(_CLUSTER_S * 1e9)], axis=1)
    _, cluster = np.unique(places, axis=0, return_inverse=True)
    clean = FrameCache(
        np.ascontiguousarray(cache.images[rows]),
        None if cache.motion is None else np.ascontiguousarray(cache.motion[rows]),
        cache.timestamp_ns[rows],
        number,
        0,
        cache.camera,
    )
    return Exam(clean, cluster.reshape(-1).astype(np.int64), clean if foreign is None else foreign, seed)


def piece_scores(
    backend: Backend, frames: FrameCache, calibration: Calibration, progress: Callable[[int], None] = lambda done: None
) -> npt.NDArray[np.float64]:
    """The anomaly score of each piece (K,) of `frames`, whose `segment` numbers them from 0; NaN where it has none.

    Raises:
        BackendError: the engine failed.
    """
    found = judge(backend, frames, np.arange(len(frames)), calibration, progress, heatmaps=False).anomaly
    scores = np.full(int(frames.segment[-1]) + 1, -np.inf)
    for number in range(len(scores)):
        own = found[frames.segment == number]
        scores[number] = own[len(own) // 2 :].max()
    return scores


def _stretch(cache: FrameCache, rows: Rows) -> Stretch:
    return Stretch(np.asarray(cache.images[rows]), None if cache.motion is None else np.asarray(cache.motion[rows]))


def _starts(segment: npt.NDArray[np.integer]) -> Rows:
    return np.flatnonzero(np.r_[True, np.diff(segment) != 0]).astype(np.int64)


def _pieces(cache: FrameCache) -> list[Rows]:
    """Rows of each piece: STRETCH_FRAMES of a segment, or its end where that fills half of it."""
    found = []
    for rows in np.split(np.arange(len(cache)), _starts(cache.segment)[1:]):
        for start in range(0, len(rows), STRETCH_FRAMES):
            piece = rows[start : start + STRETCH_FRAMES]
            if len(piece) >= _LEAST_FRAMES:
                found.append(piece)
    return found
