"""Days of driving for the tiny bundle: a camera that sees what was kept of old frames, or something else."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tiny import GRAY

from edgevad.bundle import Bundle
from edgevad.bundle.replay import Replay
from edgevad.drives.log import DriveLog
from edgevad.drives.policy import LegRetention, LogPolicy
from edgevad.events import RunInfo
from edgevad.runtime.pipeline import Result
from edgevad.runtime.shrinking import shrink
from edgevad.sources import Frame

START_NS = 1_800_000_000 * 10**9
DAY_NS = 86_400 * 10**9
# A longer gap between two frames would be one in time.
STEP_S = 0.9


def run_of(bundle: Bundle, run_id: str = "0123456789ab", started_ns: int = START_NS) -> RunInfo:
    return RunInfo(
        str(bundle.path), "tiny", bundle.digest, "onnxruntime fp32", ("front",), 2.5, True, run_id, started_ns, "car"
    )


def picture(rng: np.random.Generator, gray: float) -> NDArray[np.uint8]:
    """A scene with structure that JPEG leaves alone, (48, 64, 3), its light around a gray level in [0, 1]."""
    scene = 40 * np.sin(np.arange(64) / 3)[None, :] * np.cos(np.arange(48) / 4)[:, None]
    light = 255 * gray + rng.normal(0, 3) + scene + rng.normal(0, 1, (48, 64))
    return np.clip(light, 0, 255).astype(np.uint8)[:, :, None].repeat(3, axis=2)


def replay_frames() -> Replay:
    """400 frames of it at 32x32 px, in stretches of ten."""
    rng = np.random.default_rng(100)
    images = np.stack([shrink(picture(rng, GRAY), (32, 32)) for _ in range(400)])
    times = np.arange(400, dtype=np.int64) * 100_000_000
    return Replay(images, None, times, (np.arange(400) // 10).astype(np.int32), np.zeros(400, np.float32))


def results(
    seconds: float,
    *,
    gray: float = GRAY,
    deviate: float = 0.0,
    camera: str = "front",
    start_ns: int = START_NS,
    seed: int = 0,
) -> Iterator[Result]:
    """Frames of the scene, 0.9 s apart; deviates around `deviate`."""
    rng = np.random.default_rng(seed)
    for index in range(round(seconds / STEP_S)):
        score = deviate + rng.normal()
        frame = Frame(picture(rng, gray), index, start_ns + round(index * STEP_S * 1e9), camera, 0)
        yield Result(frame, (1.0,), (score,), score, score, "patch", False, "normal", None, 0.001, None)


def log_days(root: Path, bundle: Bundle, days: int, *, first: int = 0, seconds: float = 150, **seen: float) -> None:
    """A drive a day, from the day `first` on; `seen` as `results` takes it."""
    for day in range(first, first + days):
        start_ns = START_NS + day * DAY_NS
        with DriveLog(root, LogPolicy(image_fps_hz=None, pre_roll_s=0), LegRetention(floor_bytes=0)) as log:
            log.start(run_of(bundle, f"{day:012x}", start_ns))
            for result in results(seconds, start_ns=start_ns, seed=day, **seen):  # type: ignore[arg-type]
                log.push(result)
