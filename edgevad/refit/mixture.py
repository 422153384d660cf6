"""What a run learns from: frames of the drives chosen, and frames of what was learned before, in one sequence."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edgevad._files import output_errors
from edgevad.bundle.replay import Replay
from edgevad.errors import RefitError
from edgevad.model.cache import FrameCache, begin_cache, runs_of
from edgevad.refit.selection import Selection

__all__ = ["EARLIER_SHARE", "Mixture"]

# Of all draws, how many are of what was learned before.
EARLIER_SHARE = 0.5
CHUNK = 512


@dataclass(frozen=True)
class Mixture:
    """
    Attributes:
        cache: what was learned before, then what is new; memory-mapped.
        weight: (N,) float64, how often a frame is drawn: the two sides have their share, whatever their numbers, and
            on the side of the new frames each counts as much as it is trusted.
        earlier: (N,) bool, was learned before.
        doubted: (N,) bool, trusted less than others: inside or near an event.
        rows: (n,) int64, the new frames' numbers in the selection.
    """

    cache: FrameCache
    weight: npt.NDArray[np.float64]
    earlier: npt.NDArray[np.bool_]
    doubted: npt.NDArray[np.bool_]
    rows: npt.NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.cache)

    @property
    def fingerprint(self) -> str:
        """Tells this mixture from another: its frames, and how often each is drawn."""
        return hashlib.sha256(self.cache.fingerprint.encode() + self.weight.tobytes()).hexdigest()

    @classmethod
    def build(
        cls, directory: Path, replay: Replay, selection: Selection, *, earlier_share: float = EARLIER_SHARE
    ) -> Mixture:
        """Copy the frames into `directory`, where they are mapped from: memory stays flat.

        Raises:
            RefitError: the two are of different sizes, or nothing may be learned from.
            OutputError: the disk is full.
        """
        rows = np.flatnonzero(selection.learnable).astype(np.int64)
        new = selection.cache
        if not len(rows):
            raise RefitError(
                f"of {len(selection)} frames not one may be learned from",
                fix="Choose other drives, or more of them: edgevad drives choose",
            )
        shapes = [_shape(replay.images, replay.motion), _shape(new.images, new.motion)]
        if shapes[0] != shapes[1]:
            raise RefitError(
                f"frames of {shapes[1]}", expected=f"frames of {shapes[0]}, as the model takes them", fix="Choose again"
            )
        begin_cache(directory)
        with output_errors(directory):
            images = _joined(directory / "images.npy", [(replay.images, None), (new.images, rows)])
            motion = None
            if replay.motion is not None and new.motion is not None:
                motion = _joined(directory / "motion.npy", [(replay.motion, None), (new.motion, rows)])
        segment = np.concatenate([replay.segment, runs_of(rows, new.segment) + int(replay.segment[-1]) + 1])
        times = np.concatenate([replay.timestamp_ns, new.timestamp_ns[rows]])
        cache = FrameCache(images, motion, times, segment.astype(np.int32), new.skipped, new.camera)
        earlier = np.arange(len(cache)) < len(replay)
        trust = np.asarray(selection.weight[rows], dtype=np.float64)
        sides = [
            np.full(len(replay), earlier_share / len(replay)),
            (1.0 - earlier_share) * trust / trust.sum(),
        ]
        doubted = np.concatenate([np.zeros(len(replay), np.bool_), selection.weight[rows] < 1.0])
        return cls(cache, np.concatenate(sides), earlier, doubted, rows)


def _shape(images: npt.NDArray[np.uint8], motion: npt.NDArray[np.float16] | None) -> str:
    size = f"{images.shape[2]}x{images.shape[1]} pixels"
    return size if motion is None else f"{size} and {motion.shape[3]} of motion"


def _joined(path: Path, parts: Sequence[tuple[npt.NDArray[Any], npt.NDArray[np.int64] | None]]) -> npt.NDArray[Any]:
    """Rows of arrays (all, where None) behind each other in one file, copied a few at a time; mapped, read only."""
    counts = [len(array) if rows is None else len(rows) for array, rows in parts]
    first = parts[0][0]
    target = np.lib.format.open_memmap(path, "w+", dtype=first.dtype, shape=(sum(counts), *first.shape[1:]))
    place = 0
    for (array, rows), count in zip(parts, counts, strict=True):
        for start in range(0, count, CHUNK):
            taken = slice(start, min(start + CHUNK, count))
            block = array[taken] if rows is None else array[rows[taken]]
            target[place : place + len(block)] = block
            place += len(block)
    target.flush()
    del target
    joined: npt.NDArray[Any] = np.load(path, mmap_mode="r", allow_pickle=False)
    return joined
