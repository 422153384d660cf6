"""Which frames of the drives a graph is quantised by, and which ones it is tried on.

The drives are cut into stretches of time. Two of three are a pool to choose calibration frames from, the third is
held out for the guard: neighbouring frames are near copies, so that a random split would try the graph on what it was
made from. From the pool likely anomalies are left out, and frames are taken farthest point first (Gonzalez 1985),
over the network's latents, exposure, contrast and motion: every frame of the pool then lies within the smallest
radius of a chosen one that this number of frames is known to reach (within a factor of two). No chance is involved:
the same drives give the same frames.
"""

from __future__ import annotations

import hashlib
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from edgevad.bundle.manifest import Calibration
from edgevad.calibration.judging import Judged, Progress, ignore, judge
from edgevad.errors import CalibrationError, SourceError, TrainingError
from edgevad.model.cache import CacheKey, FrameCache
from edgevad.runtime.backends.backend import Backend
from edgevad.sources import Frame, open_source
from edgevad.spec import InputSpec

__all__ = ["CalibrationFrames", "Drives", "choose_frames", "farthest_points", "read_drives"]

Floats = npt.NDArray[np.float64]
Indices = npt.NDArray[np.int64]

SAMPLE_FPS_HZ = 10.0
STRETCH_S = 20.0
LEAST_STRETCHES = 9
# One stretch in three is held out.
HELD_OUT_EVERY = 3
HELD_OUT_FRAMES = 2000
# Fewer than this and a rank correlation of 0.99 cannot be told from one of 0.95.
LEAST_HELD_OUT = 60
LEAST_CALIBRATION = 30
# Evenly taken from more.
POOL_FRAMES = 20_000
# Windowed anomaly score, in deviates, beyond which a frame may hold what the model should not be fitted to.
LIKELY_ANOMALY = 1.64


@dataclass(frozen=True)
class CalibrationFrames:
    """Frames of a cache, by index.

    Attributes:
        chosen: (n,) ascending, to quantise by.
        held_out: (m,) ascending, whole stretches, to try the graph on.
        pool: how many frames the chosen ones stand for.
        left_out: frames of the pool's stretches that looked like anomalies.
        radius: largest distance of a frame of the pool to the nearest chosen one, in standard deviations of the
            features.
        reference: what the float graph says of the held-out frames.
    """

    chosen: Indices
    held_out: Indices
    pool: int
    left_out: int
    radius: float
    reference: Judged

    def to_json(self, cache: FrameCache) -> dict[str, Any]:
        """What a report keeps: enough to find the same frames in the same drives again."""
        digest = hashlib.sha256()
        for index in self.chosen:
            digest.update(np.ascontiguousarray(cache.images[index]).tobytes())
        return {
            "frames": len(self.chosen),
            "pool": self.pool,
            "left_out_as_likely_anomalies": self.left_out,
            "radius": round(self.radius, 3),
            "held_out": len(self.held_out),
            "drives_fingerprint": cache.fingerprint,
            "frames_sha256": digest.hexdigest(),
            "segments": cache.segment[self.chosen].tolist(),
            "timestamps_ns": cache.timestamp_ns[self.chosen].tolist(),
        }


@dataclass(frozen=True)
class Drives:
    """Recordings as the scoring graph takes them.

    Attributes:
        sources: as they were named.
        cache: their frames, at most 10 a second.
        frame_index: (N,) int64, `Frame.index` of each of them.
        frame_count: how far `Frame.index` counted in all, unreadable frames included.
    """

    sources: tuple[str, ...]
    cache: FrameCache
    frame_index: Indices
    frame_count: int


def read_drives(
    sources: Sequence[str],
    spec: InputSpec,
    directory: Path,
    *,
    fps_hz: float | None = None,
    include_deleted: bool = False,
    sample_fps_hz: float | None = SAMPLE_FPS_HZ,
    progress: Progress = ignore,
) -> Drives:
    """Read recordings once, at most `sample_fps_hz` frames a second, into a cache at `directory`.

    `fps_hz` and `include_deleted` as for `open_source`.

    Raises:
        CalibrationError: a source is a camera, cannot be read, or holds no frame.
        OutputError: the disk is full.
    """
    key = CacheKey(tuple(sources), spec, sample_fps_hz)
    seen_ns, seen_index = array("q"), array("q")
    try:
        with open_source(list(sources), fps_hz=fps_hz, include_deleted=include_deleted) as source:
            if source.is_live:
                raise CalibrationError(
                    "a camera or stream never ends", where=source.name, fix="Record it first, then give the recording"
                )

            def frames() -> Iterator[Frame]:
                for frame in source:
                    seen_ns.append(frame.timestamp_ns)
                    seen_index.append(frame.index)
                    progress(len(seen_ns))
                    yield frame

            cache = FrameCache.build(directory, key, frames())
            count = source.positions
    except (SourceError, TrainingError) as error:
        raise CalibrationError(
            error.what, where=error.where, expected=error.expected, fix="Give a drive that can be read with --calib"
        ) from error
    # The frames kept are some of those seen, in the same order.
    rows, position = [], 0
    for timestamp_ns in cache.timestamp_ns.tolist():
        position = seen_ns.index(timestamp_ns, position) + 1
        rows.append(seen_index[position - 1])
    return Drives(tuple(sources), cache, np.array(rows, np.int64), count)


def choose_frames(
    cache: FrameCache, reference: Backend, calibration: Calibration, count: int, progress: Progress = ignore
) -> CalibrationFrames:
    """Choose `count` frames to quantise by, and hold others out; `reference` runs the float graph.

    Raises:
        CalibrationError: the drives are too short, or nearly everything in them looks like an anomaly.
    """
    stretch = _stretches(cache)
    found = judge(reference, cache, np.arange(len(cache)), calibration, progress, heatmaps=False)
    is_held_out = stretch % HELD_OUT_EVERY == HELD_OUT_EVERY - 1
    looks_normal = found.anomaly <= LIKELY_ANOMALY
    pool = np.flatnonzero(~is_held_out & looks_normal)
    held_out = _whole_stretches(stretch, is_held_out, HELD_OUT_FRAMES)
    if len(pool) < LEAST_CALIBRATION or len(held_out) < LEAST_HELD_OUT:
        raise CalibrationError(
            f"{len(cache)} frames leave {len(pool)} normal ones to quantise by and {len(held_out)} to try that on",
            expected=f"at least {LEAST_CALIBRATION} and {LEAST_HELD_OUT}",
            fix="Give longer drives, or more of them, with --calib",
        )
    if len(pool) > POOL_FRAMES:
        pool = pool[np.linspace(0, len(pool) - 1, POOL_FRAMES).round().astype(np.int64)]
    picked, radius = farthest_points(_features(cache, found, pool), count)
    # Judged by itself, as the quantised graph will be: the windows must begin and end at the same frames.
    judged = judge(reference, cache, held_out, calibration)
    if len(picked) < LEAST_CALIBRATION or np.ptp(judged.frame_score) <= 0:
        raise CalibrationError(
            f"{len(cache)} frames show {len(picked)} different normal views",
            expected=f"at least {LEAST_CALIBRATION}, and scores that differ",
            fix="Give drives in which the camera sees something, with --calib",
        )
    return CalibrationFrames(
        chosen=np.sort(pool[picked]),
        held_out=held_out,
        pool=len(pool),
        left_out=int((~is_held_out & ~looks_normal).sum()),
        radius=radius,
        reference=judged,
    )


def farthest_points(features: Floats, count: int) -> tuple[Indices, float]:
    """`count` rows of `features` (N, F), each the farthest from those before it, and the radius they leave uncovered.

    The first is the one nearest the mean. Where there are fewer distinct rows, all of them are taken.
    """
    distance = np.linalg.norm(features - features.mean(axis=0), axis=1)
    picked = [int(np.argmin(distance))]
    nearest = np.linalg.norm(features - features[picked[0]], axis=1)
    while len(picked) < min(count, len(features)) and nearest.max() > 0:
        picked.append(int(np.argmax(nearest)))
        np.minimum(nearest, np.linalg.norm(features - features[picked[-1]], axis=1), out=nearest)
    return np.array(picked, dtype=np.int64), float(nearest.max())


def _features(cache: FrameCache, found: Judged, rows: Indices) -> Floats:
    """(n, d + 3): latents, and exposure, contrast and motion each with as much weight as all latents together."""
    looks = []
    for index in rows:
        gray = cv2.cvtColor(np.asarray(cache.images[index]), cv2.COLOR_BGR2GRAY)
        moved = 0.0 if cache.motion is None else float(np.log1p(cache.motion[index].astype(np.float32)).mean())
        looks.append((float(gray.mean()), float(gray.std()), moved))
    latent = _standardised(found.latent[rows].astype(np.float64)) / np.sqrt(found.latent.shape[1])
    return np.hstack([latent, _standardised(np.array(looks))])


def _standardised(values: Floats) -> Floats:
    scale = values.std(axis=0)
    return np.asarray((values - values.mean(axis=0)) / np.where(scale > 0, scale, 1.0))


def _stretches(cache: FrameCache) -> Indices:
    """Number of the stretch of time that each frame lies in, counted through all segments: (N,), ascending."""
    seconds = np.concatenate([[0.0], np.cumsum(cache.step_s())])
    length_s = min(STRETCH_S, max(float(seconds[-1]) / LEAST_STRETCHES, 1e-9))
    inside = np.floor(seconds / length_s).astype(np.int64)
    changes = np.concatenate([[False], (np.diff(inside) != 0) | (np.diff(cache.segment) != 0)])
    return np.cumsum(changes)


def _whole_stretches(stretch: Indices, wanted: npt.NDArray[np.bool_], most: int) -> Indices:
    """Frames of the stretches that are `wanted`, evenly spread ones of them where they hold more than `most` frames."""
    numbers, sizes = np.unique(stretch[wanted], return_counts=True)
    if sizes.sum() > most:
        keep = max(1, int(most / max(float(sizes.mean()), 1.0)))
        numbers = numbers[np.unique(np.linspace(0, len(numbers) - 1, keep).round().astype(np.int64))]
    return np.flatnonzero(wanted & np.isin(stretch, numbers))
