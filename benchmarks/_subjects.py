"""What is measured where nothing is given: frames and videos made up here, and models fitted for a moment.

How fast a model is does not depend on how well it was fitted; that its scores are calibrated numbers of real size does
matter to agreement, so it is fitted a little, by the real trainer.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from edgevad.bundle import write_bundle
from edgevad.calibration import calibrate
from edgevad.export import onnx_from_model
from edgevad.model.cache import CacheKey, FrameCache
from edgevad.model.config import ModelConfig
from edgevad.model.recording_scores import score_recording
from edgevad.model.scorer import TorchBackend
from edgevad.model.trainer import TrainConfig, Trainer
from edgevad.runtime.preprocess import Preprocessor
from edgevad.runtime.window import WindowSpec
from edgevad.sources import Frame, open_source
from edgevad.spec import InputSpec
from edgevad.targets import load_target

__all__ = ["Input", "cache_of", "drifting_frames", "fitted", "model_inputs", "write_bundle_of", "write_video"]

# What a backend takes: frames (1, h, w, 3) uint8 and motion (1, h, w, M) float32 or None.
Input = tuple[npt.NDArray[np.uint8], npt.NDArray[np.float32] | None]

FPS_HZ = 10.0
_SELFTEST_FRAMES = 16


def drifting_frames(count: int, size: tuple[int, int] = (64, 64), *, seed: int = 0) -> Iterator[Frame]:
    """`count` frames of (width, height) px at 10 Hz: a smooth texture that drifts sideways, and sensor noise."""
    rng = np.random.default_rng(seed)
    width, height = size
    coarse = rng.integers(30, 220, (max(height // 8, 2), max(width // 2, 8), 3)).astype(np.uint8)
    texture = cv2.resize(coarse, (4 * width, height), interpolation=cv2.INTER_CUBIC)
    noise = rng.integers(0, 8, (16, height, width, 3)).astype(np.uint8)
    for index in range(count):
        left = 2 * index % (3 * width)
        image = np.asarray(cv2.add(texture[:, left : left + width], noise[index % 16]), dtype=np.uint8)
        yield Frame(image, index, round(index * 1e9 / FPS_HZ), "drifting", 0)


def write_video(path: Path, count: int, size: tuple[int, int]) -> Path:
    """`drifting_frames` as a video file."""
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), FPS_HZ, size)
    for frame in drifting_frames(count, size):
        writer.write(frame.image)
    writer.release()
    return path


def cache_of(
    source: str | None, directory: Path, config: ModelConfig, *, frames: int, sample_fps_hz: float | None = None
) -> FrameCache:
    """A cache on disk of `source`, or of `frames` drifting frames where it is None."""
    key = CacheKey((source or "drifting",), config.input, sample_fps_hz)
    if source is None:
        return FrameCache.build(directory, key, drifting_frames(frames, (config.size_px, config.size_px)))
    with open_source(source) as opened:
        return FrameCache.build(directory, key, opened)


def model_inputs(source: str, spec: InputSpec, frames: int) -> list[Input]:
    """The first frames of a recording, as the graph takes them."""
    prepare = Preprocessor(spec)
    with open_source(source) as opened:
        items = [item for frame in islice(opened, frames) if (item := prepare(frame)) is not None]
    return [(item.image[None], None if item.motion is None else item.motion[None]) for item in items]


def fitted(cache: FrameCache, config: ModelConfig) -> Trainer:
    """A trainer that has done 50 steps: no good model, but one with templates, statistics and weights that moved."""
    trainer = Trainer(config, TrainConfig(max_rounds=5, round_steps=10, device="cpu"), cache)
    trainer.fit()
    return trainer


def write_bundle_of(trainer: Trainer, path: Path, *, forget: npt.NDArray[np.int64] | None = None) -> Path:
    """Export what `trainer` has, calibrated on its own cache; the frames numbered in `forget` are not remembered."""
    cache, module, config = trainer.cache, trainer.module, trainer.module.config
    found = score_recording(module, cache)
    keep = np.ones(len(cache), np.bool_)
    keep[:_SELFTEST_FRAMES] = False
    keep[[] if forget is None else forget] = False
    bank = found.bank(keep)
    selftest: dict[str, npt.NDArray[Any]] = {"frames": np.array(cache.images[:_SELFTEST_FRAMES])}
    motion = None
    if cache.motion is not None:
        motion = cache.motion[:_SELFTEST_FRAMES].astype(np.float32)
        selftest["motion"] = motion
    selftest["score"] = TorchBackend(module, bank).score(selftest["frames"], motion).score
    rows = (found.score, cache.timestamp_ns, cache.segment)
    bundle = write_bundle(
        path,
        name="benchmark",
        target=load_target("cpu"),
        backend="onnxruntime",
        precision="fp32",
        graphs={"fp32": onnx_from_model(module, bank=bank)},
        input=config.input,
        score=config.score,
        calibration=calibrate(*rows, WindowSpec(), 1.0, parts=config.parts),
        provenance={"steps": trainer.step},
        selftest=selftest,
        selftest_rtol=1e-3,
        scores={"score": found.score, "timestamp_ns": cache.timestamp_ns, "segment": cache.segment},
        bank=bank,
    )
    return bundle.path
