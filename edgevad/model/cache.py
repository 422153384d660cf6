"""The frames of a training run, resized once and kept on disk: memory stays flat for hours of video."""

from __future__ import annotations

import glob
import hashlib
import json
import shutil
from array import array
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edgevad._files import output_errors, write_json
from edgevad.errors import OutputError, TrainingError
from edgevad.model.camera_motion import NOTHING_SEEN, CameraDecision, CameraProbe
from edgevad.runtime.preprocess import Preprocessor
from edgevad.sources.frame import Frame
from edgevad.spec import InputSpec

__all__ = ["SEPARATE_S", "CacheKey", "FrameCache", "begin_cache", "remove_cache", "runs_of"]

# What came back after this long came back: the most that a gap counts for, and the length of an episode.
SEPARATE_S = 30.0

_META = "cache.json"
# Stands in every folder of ours from its first moment: a folder without it is somebody else's and is never emptied.
_MARKER = ".edgevad-cache"
_FORMAT = 2


@dataclass(frozen=True)
class CacheKey:
    """What a cache was made from: another key means another cache.

    Attributes:
        sources: the source strings, in order.
        input: size and motion of the frames kept.
        sample_fps_hz: at most this many frames a second were kept; None means all.
        options: how the sources were opened (frame rate, deleted records …).
    """

    sources: tuple[str, ...]
    input: InputSpec
    sample_fps_hz: float | None = None
    options: tuple[tuple[str, str], ...] = ()

    def digest(self) -> str:
        """Hash of the key, and of name, size and modification time of every file the sources name or hold."""
        stamps = [[source, _stamps(source)] for source in self.sources]
        text = json.dumps([_FORMAT, stamps, self.input.to_json(), self.sample_fps_hz, self.options])
        return hashlib.sha256(text.encode()).hexdigest()


@dataclass(frozen=True)
class FrameCache:
    """Frames as the scoring graph takes them, memory-mapped.

    Attributes:
        images: (N, h, w, 3) uint8, blue, green, red.
        motion: (N, h, w, M) float16 in the units of `MotionSpec`, or None.
        timestamp_ns: (N,) int64.
        segment: (N,) int32; grows at each gap in time and at each new source.
        skipped: frames the sources could not decode.
        camera: whether the camera moves.
    """

    images: npt.NDArray[np.uint8]
    motion: npt.NDArray[np.float16] | None
    timestamp_ns: npt.NDArray[np.int64]
    segment: npt.NDArray[np.int32]
    skipped: int
    camera: CameraDecision = NOTHING_SEEN

    def __len__(self) -> int:
        return len(self.images)

    @property
    def fingerprint(self) -> str:
        """Tells this recording from another: a hash of all times and of one frame in a hundred."""
        digest = hashlib.sha256(self.timestamp_ns.tobytes() + self.segment.tobytes())
        digest.update(np.ascontiguousarray(self.images[::100]).tobytes())
        return digest.hexdigest()

    @property
    def duration_s(self) -> float:
        """Seconds recorded, gaps left out."""
        return float(np.sum(self.step_s()))

    def step_s(self) -> npt.NDArray[np.float64]:
        """Seconds from each frame to the next of its segment: (N - 1,), 0 across a gap."""
        step = np.diff(self.timestamp_ns) / 1e9
        return np.where(np.diff(self.segment) == 0, np.maximum(step, 0.0), 0.0)

    def elapsed_s(self) -> npt.NDArray[np.float64]:
        """Seconds on one clock that runs on across segments and sources: (N,) float64, ascending.

        A gap in time lasts as long as it did, at most SEPARATE_S; where the clock starts anew, with another recording,
        that long, so that two recordings are never 'the same time'.
        """
        step = np.diff(self.timestamp_ns) / 1e9
        changes = np.diff(self.segment) != 0
        between = np.where(step > 0, np.minimum(step, SEPARATE_S), SEPARATE_S)
        return np.concatenate([[0.0], np.cumsum(np.where(changes, between, self.step_s()))])

    @classmethod
    def build(
        cls,
        directory: Path,
        key: CacheKey,
        frames: Iterable[Frame],
        *,
        skipped: Callable[[], int] = lambda: 0,
        progress: Callable[[int], None] = lambda done: None,
    ) -> FrameCache:
        """Stream `frames` once into `directory`; the cache counts as one only when `cache.json` is written, last.

        Raises:
            OutputError: the disk is full or refuses, or `directory` holds something else.
            SourceError: the frames end in an error, or one is too small.
            TrainingError: no frame at all.
        """
        begin_cache(directory)
        with output_errors(directory):
            timestamps, segments, camera = _write_frames(directory, key, frames, progress)
            if not timestamps:
                remove_cache(directory)
                raise TrainingError(
                    "no frame to train on", where=", ".join(key.sources), fix="Check it with: edgevad inspect SOURCE"
                )
            np.save(directory / "timestamp_ns.npy", np.array(timestamps, np.int64))
            np.save(directory / "segment.npy", np.array(segments, np.int32))
        meta = {
            "digest": key.digest(),
            "frames": len(timestamps),
            "skipped": skipped(),
            "camera": camera.to_json(),
        }
        write_json(directory / _META, meta)
        cache = cls.open(directory, key)
        assert cache is not None
        return cache

    @classmethod
    def open(cls, directory: Path, key: CacheKey) -> FrameCache | None:
        """The finished cache in `directory` if it was made from `key` and is whole, else None."""
        try:
            meta: dict[str, Any] = json.loads((directory / _META).read_text(encoding="utf-8"))
            if meta["digest"] != key.digest():
                return None
            count, spec = int(meta["frames"]), key.input
            shape = (count, spec.height_px, spec.width_px)
            images = np.memmap(directory / "images.u8", np.uint8, "r", shape=(*shape, 3))
            motion = None
            if spec.motion is not None:
                motion = np.memmap(directory / "motion.f16", np.float16, "r", shape=(*shape, spec.motion.channels))
            timestamp_ns = np.load(directory / "timestamp_ns.npy", allow_pickle=False)
            segment = np.load(directory / "segment.npy", allow_pickle=False)
            camera = CameraDecision.from_json(meta["camera"])
        except (OSError, KeyError, TypeError, ValueError):
            return None
        return cls(images, motion, timestamp_ns, segment, int(meta["skipped"]), camera)


def begin_cache(directory: Path) -> None:
    """Make an empty folder that `remove_cache` will know again; an earlier cache there is deleted.

    Raises:
        OutputError: it cannot be made, or holds something else.
    """
    remove_cache(directory)
    with output_errors(directory):
        directory.mkdir(parents=True, exist_ok=True)
        if any(directory.iterdir()):
            raise OutputError("is not a cache of edgevad's and is not empty", where=directory, fix="Move it away")
        (directory / _MARKER).touch()


def runs_of(rows: npt.NDArray[np.int64], segment: npt.NDArray[np.integer]) -> npt.NDArray[np.int64]:
    """Segments (n,), numbered from 0, of some frames: `rows` (n,) ascending, of a recording of `segment` (N,).

    Frames left out between two are a gap, as between segments.
    """
    begins = (np.diff(rows) > 1) | (np.diff(segment[rows]) != 0)
    return np.concatenate([[0], np.cumsum(begins)]).astype(np.int64) if len(rows) else np.zeros(0, np.int64)


def remove_cache(directory: Path) -> None:
    """Delete a cache; any other folder is left alone."""
    if (directory / _MARKER).is_file():
        shutil.rmtree(directory, ignore_errors=True)


def _stamps(source: str) -> list[tuple[str, int, int]]:
    if "://" in source or " ! " in source:
        return []
    path = Path(source)
    files = list(Path(path.anchor).glob(str(path.relative_to(path.anchor)))) if glob.has_magic(source) else [path]
    found = [inner for file in files for inner in ([file, *file.rglob("*")] if file.is_dir() else [file])]
    return sorted((str(file), file.stat().st_size, file.stat().st_mtime_ns) for file in found if file.is_file())


def _write_frames(
    directory: Path, key: CacheKey, frames: Iterable[Frame], progress: Callable[[int], None]
) -> tuple[array[int], array[int], CameraDecision]:
    preprocess, probe = Preprocessor(key.input), CameraProbe()
    timestamps, segments = array("q"), array("q")
    last: tuple[str, int] | None = None
    segment = -1
    next_ns = 0
    step_ns = 0 if key.sample_fps_hz is None else round(1e9 / key.sample_fps_hz)
    with (directory / "images.u8").open("wb") as images, (directory / "motion.f16").open("wb") as motions:
        for frame in frames:
            # The preprocessor sees every frame: motion is against the true past, not against the last one kept.
            item = preprocess(frame)
            probe.push(frame)
            here = (frame.source_id, frame.segment)
            if here != last:
                last, next_ns = here, frame.timestamp_ns
                segment += 1
            # An eighth of a step of tolerance: clocks jitter.
            if item is None or frame.timestamp_ns + step_ns // 8 < next_ns:
                continue
            next_ns = max(next_ns + step_ns, frame.timestamp_ns)
            images.write(item.image.data)
            if item.motion is not None:
                motions.write(item.motion.astype(np.float16).data)
            timestamps.append(frame.timestamp_ns)
            segments.append(segment)
            progress(len(timestamps))
    return timestamps, segments, probe.decision()
