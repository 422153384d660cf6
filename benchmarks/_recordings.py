"""The labelled sets of EDGEVAD_DATA in memory, as a trainer's cache and with their labels."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from edgevad.datasets import labelled_recording, open_dataset
from edgevad.evaluation.labels import Labels
from edgevad.evaluation.segments import with_segments
from edgevad.model.cache import FrameCache
from edgevad.model.camera_motion import CameraProbe
from edgevad.runtime.preprocess import Preprocessor
from edgevad.spec import InputSpec, MotionSpec

__all__ = ["PROTOCOLS", "LabelledCache", "read"]

# Name on the command line -> folder, and whether the training clips are part of the recording.
PROTOCOLS = {
    "donkey_track_1124": ("donkey_track_1124", False),
    "donkey_usi_mit": ("donkey_usi_mit", False),
    "ucsd_ped2_test": ("ucsd_ped2", False),
    "ucsd_ped2_merge": ("ucsd_ped2", True),
}


@dataclass(frozen=True)
class LabelledCache:
    """Frames, motion and labels of a recording; entry k of everything is about the same frame.

    Attributes:
        cache: flow is always there, whatever the camera does, so that baselines can use it.
        level: (N,) int8, 0 normal, 1 ambiguous, 2 anomalous.
        event: N names.
        index: (N,) int64, each frame's place in the recording; motion has none for a segment's first frame.
    """

    name: str
    cache: FrameCache
    level: npt.NDArray[np.int8]
    event: tuple[str, ...]
    index: npt.NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.level)

    def part(self, rows: slice | npt.NDArray[np.int64]) -> LabelledCache:
        """Some of the frames."""
        numbers = np.arange(len(self))[rows]
        cache = self.cache
        assert cache.motion is not None
        kept = replace(
            cache,
            images=cache.images[numbers],
            motion=cache.motion[numbers],
            timestamp_ns=cache.timestamp_ns[numbers],
            segment=cache.segment[numbers],
        )
        event = tuple(self.event[k] for k in numbers)
        return LabelledCache(self.name, kept, self.level[numbers], event, self.index[numbers])


def read(name: str, root: Path, size_px: int = 64) -> LabelledCache:
    """Read a set whole. `name` is a key of PROTOCOLS."""
    folder, merge = PROTOCOLS[name]
    dataset = open_dataset(root / folder)
    clips = (*dataset.train, *dataset.test) if merge else dataset.test
    source, truth = labelled_recording(clips, name)
    spec = InputSpec(size_px, size_px, MotionSpec("flow"))
    preprocess, probe = Preprocessor(spec), CameraProbe()
    images, motion, times, segments, index = [], [], [], [], []
    with with_segments(source, truth.segment) if truth.segment is not None else source as frames:
        for frame in frames:
            probe.push(frame)
            item = preprocess(frame)
            if item is None or item.motion is None:
                continue
            images.append(item.image)
            motion.append(item.motion.astype(np.float16))
            times.append(frame.timestamp_ns)
            segments.append((frame.source_id, frame.segment))
            index.append(frame.index)
    labels: Labels = truth.fitted(source.positions, name)
    rows = np.array(index)
    # Labels know of gaps that a video file does not; where they do, the segments above were theirs already.
    _, segment = np.unique(np.array([f"{s}/{k:06d}" for s, k in segments]), return_inverse=True)
    changes = np.cumsum(np.r_[0, np.diff(segment) != 0]).astype(np.int32)
    cache = FrameCache(
        np.stack(images), np.stack(motion), np.array(times, np.int64), changes, source.skipped, probe.decision()
    )
    return LabelledCache(name, cache, labels.level[rows], tuple(labels.event[k] for k in rows), rows)
