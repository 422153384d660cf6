"""Frames that a model learned from, kept so that what it learns later does not replace what it knew.

A model folder and a bundle hold some, as the scoring graph takes them: short stretches from all over the recordings, so
that motion and sliding windows mean the same in them as on the road.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from edgevad.model.cache import FrameCache

__all__ = ["BUNDLE_BYTES", "BUNDLE_FRAMES", "REPLAY_ARRAYS", "Replay"]

REPLAY_ARRAYS = ("frames", "timestamp_ns", "segment", "anomaly")
# Of a bundle: enough for a gate to see that nothing was forgotten, too little to be felt on the way to a car.
BUNDLE_FRAMES, BUNDLE_BYTES = 400, 8 << 20
# Frames of a stretch: a second at the rate that training samples at, the length of the usual window.
STRETCH_FRAMES = 10


@dataclass(frozen=True)
class Replay:
    """
    Attributes:
        images: (N, h, w, 3) uint8, blue, green, red, at the model's input size.
        motion: (N, h, w, M) float16 in the units of `MotionSpec`, or None.
        timestamp_ns: (N,) int64, of their recordings; ascending within a stretch.
        segment: (N,) int32, the number of the stretch, ascending.
        anomaly: (N,) float32 anomaly score by the model that chose them.
    """

    images: npt.NDArray[np.uint8]
    motion: npt.NDArray[np.float16] | None
    timestamp_ns: npt.NDArray[np.int64]
    segment: npt.NDArray[np.int32]
    anomaly: npt.NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.images)

    @property
    def frame_bytes(self) -> int:
        """Of one frame, its motion included."""
        return _frame_bytes(self.images, self.motion)

    @classmethod
    def of(
        cls,
        cache: FrameCache,
        anomaly: npt.NDArray[np.floating],
        keep: npt.NDArray[np.bool_],
        *,
        frames: int,
        max_bytes: int,
    ) -> Replay | None:
        """Stretches spread evenly over `cache`, at most `frames` frames and `max_bytes`; None where none fits.

        `anomaly` (N,) of its frames; `keep` (N,) which of them may be kept: a stretch ends where one may not.
        """
        per_frame = _frame_bytes(cache.images, cache.motion)
        stretches = _stretches(cache.segment, keep)
        rows = _evenly(stretches, min(frames, max_bytes // max(per_frame, 1)))
        if not len(rows):
            return None
        begins = np.diff(rows) != 1
        begins |= np.diff(cache.segment[rows]) != 0
        # Two that follow each other without a gap are one moment in two stretches, and stay two.
        number = np.searchsorted(np.array([first for first, _ in stretches]), rows, side="right")
        begins |= np.diff(number) != 0
        return cls(
            np.ascontiguousarray(cache.images[rows]),
            None if cache.motion is None else np.ascontiguousarray(cache.motion[rows]),
            cache.timestamp_ns[rows],
            np.concatenate([[0], np.cumsum(begins)]).astype(np.int32),
            np.asarray(anomaly, dtype=np.float32)[rows],
        )

    def thinned(self, frames: int, max_bytes: int) -> Replay | None:
        """Of these stretches, evenly spread, as many as stay within `frames` and `max_bytes`."""
        return Replay.of(self.cache(), self.anomaly, np.ones(len(self), np.bool_), frames=frames, max_bytes=max_bytes)

    def without(self, images: npt.NDArray[np.uint8]) -> Replay | None:
        """Without the frames that are among `images` (N, h, w, 3); None where nothing is left."""
        known = {_digest(image) for image in images}
        keep = np.array([_digest(image) not in known for image in self.images], np.bool_)
        if keep.all():
            return self
        return Replay.of(self.cache(), self.anomaly, keep, frames=len(self), max_bytes=1 << 62)

    def joined(self, later: Replay) -> Replay:
        """The stretches of both, these first; of frames alike (with motion, or without)."""
        motion = None
        if self.motion is not None and later.motion is not None:
            motion = np.concatenate([self.motion, later.motion])
        segments, first = [], 0
        for part in (self, later):
            number = np.unique(part.segment, return_inverse=True)[1].reshape(-1)
            segments.append(number + first)
            first += int(number[-1]) + 1 if len(number) else 0
        return Replay(
            np.concatenate([self.images, later.images]),
            motion,
            np.concatenate([self.timestamp_ns, later.timestamp_ns]),
            np.concatenate(segments).astype(np.int32),
            np.concatenate([self.anomaly, later.anomaly]),
        )

    def cache(self) -> FrameCache:
        """The same frames as everything that learns or judges takes them; in memory."""
        from edgevad.model.cache import FrameCache

        return FrameCache(self.images, self.motion, self.timestamp_ns, self.segment, 0)

    def arrays(self) -> dict[str, npt.NDArray[Any]]:
        """The arrays under the names they have on disk."""
        arrays: dict[str, npt.NDArray[Any]] = {
            "frames": self.images,
            "timestamp_ns": self.timestamp_ns,
            "segment": self.segment,
            "anomaly": self.anomaly,
        }
        return arrays if self.motion is None else {**arrays, "motion": self.motion}

    @classmethod
    def from_arrays(cls, arrays: dict[str, npt.NDArray[Any]], shape: tuple[int, int], channels: int) -> Replay:
        """From what `arrays` gave, for frames of `shape` (h, w) and `channels` of motion (0: none).

        Raises:
            KeyError: an array is missing.
            ValueError: says which array is not as it should be.
        """
        count = len(arrays["frames"])
        expected: dict[str, tuple[type[np.generic], tuple[int, ...]]] = {
            "frames": (np.uint8, (count, *shape, 3)),
            "timestamp_ns": (np.int64, (count,)),
            "segment": (np.int32, (count,)),
            "anomaly": (np.float32, (count,)),
        }
        if channels:
            expected["motion"] = (np.float16, (count, *shape, channels))
        for name, (kind, size) in expected.items():
            array = arrays[name]
            if count == 0 or array.shape != size or array.dtype != kind:
                raise ValueError(f"{name} is {array.dtype} of shape {array.shape}, not {np.dtype(kind)} of {size}")
        if (np.diff(arrays["segment"]) < 0).any() or not np.isfinite(arrays["anomaly"]).all():
            raise ValueError("its stretches are out of order, or scores are no numbers")
        motion = arrays["motion"] if channels else None
        if motion is not None and not np.isfinite(motion).all():
            raise ValueError("its motion is not all numbers")
        return cls(arrays["frames"], motion, arrays["timestamp_ns"], arrays["segment"], arrays["anomaly"])


def _frame_bytes(images: npt.NDArray[np.uint8], motion: npt.NDArray[np.float16] | None) -> int:
    return images[:1].nbytes + (0 if motion is None else motion[:1].nbytes)


def _digest(image: npt.NDArray[np.uint8]) -> bytes:
    return hashlib.sha256(np.ascontiguousarray(image).data).digest()


def _stretches(segment: npt.NDArray[np.integer], keep: npt.NDArray[np.bool_]) -> list[tuple[int, int]]:
    """First row and length of each run of kept frames of one segment, cut into pieces of STRETCH_FRAMES."""
    rows = np.flatnonzero(keep)
    if not len(rows):
        return []
    breaks = np.flatnonzero((np.diff(rows) != 1) | (np.diff(segment[rows]) != 0)) + 1
    found = []
    for run in np.split(rows, breaks):
        for start in range(0, len(run), STRETCH_FRAMES):
            found.append((int(run[start]), min(STRETCH_FRAMES, len(run) - start)))
    return found


def _evenly(stretches: list[tuple[int, int]], most: int) -> npt.NDArray[np.int64]:
    """Rows of stretches spread evenly, at most `most` rows."""
    if not stretches or most < 1:
        return np.zeros(0, np.int64)
    total = sum(length for _, length in stretches)
    # Those at the ends of segments are shorter than others: as many as fit, by their mean length.
    count = len(stretches) if total <= most else max(1, int(len(stretches) * most / total))
    chosen = np.unique(np.linspace(0, len(stretches) - 1, count).round().astype(np.int64))
    rows = np.concatenate([np.arange(first, first + length) for first, length in (stretches[k] for k in chosen)])
    return np.asarray(rows[:most], dtype=np.int64)
