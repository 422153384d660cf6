"""Frames and bundles to judge: the tiny graph, whose score is how far a place is from one gray level."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
from tiny import GRAY, edit_manifest, write_tiny_bundle

from edgevad.bundle import Bundle
from edgevad.bundle.replay import Replay
from edgevad.model.cache import FrameCache
from edgevad.refit.selection import Selection
from edgevad.spec import InputSpec

SPEC = InputSpec(32, 32)
STEP_NS = 100_000_000


def world(count: int, seed: int = 0, *, level: float = GRAY, contrast: float = 0.04) -> np.ndarray:
    """(count, 32, 32, 3) uint8: a texture that moves by, about one gray level."""
    random = np.random.default_rng(seed)
    texture = cv2.GaussianBlur(random.normal(0, 1, (32, 32 + 2 * count)), (0, 0), 1.0)
    texture *= contrast / texture.std()
    frames = np.stack([texture[:, 2 * k : 2 * k + 32] for k in range(count)])
    noise = random.normal(0, 0.01, (*frames.shape, 3))
    return np.clip(255 * (level + frames[..., None] + noise), 0, 255).astype(np.uint8)


def cache_of(images: np.ndarray) -> FrameCache:
    count = len(images)
    return FrameCache(images, None, np.arange(count, dtype=np.int64) * STEP_NS, np.zeros(count, np.int32), 0)


def selection_of(images: np.ndarray) -> Selection:
    return Selection.of_recording(cache_of(images))


def replay_of(images: np.ndarray) -> Replay:
    count = len(images)
    number = (np.arange(count) // 10).astype(np.int32)
    times = np.arange(count, dtype=np.int64) * STEP_NS
    return Replay(images, None, times, number, np.zeros(count, np.float32))


def champion_in(folder: Path) -> Bundle:
    """A tiny bundle that was calibrated on `world`."""
    from edgevad.calibration import calibrate
    from edgevad.calibration.judging import judge
    from edgevad.runtime.backends.opening import open_backend

    bundle = write_tiny_bundle(folder, SPEC)
    engine = open_backend(bundle)
    cache = cache_of(world(600, seed=1))
    found = judge(engine, cache, np.arange(len(cache)), bundle.manifest.calibration, heatmaps=False)
    engine.close()
    window = bundle.manifest.calibration.window
    calibration = calibrate(found.score, cache.timestamp_ns, cache.segment, window, 1.0, parts=("patch",))
    edit_manifest(folder, calibration=calibration.to_json())
    return Bundle.open(folder)


def challenger_in(folder: Path, champion: Bundle, *, threshold: float = 1.0, name: str = "next") -> Bundle:
    """The champion with another threshold, so many times its own."""
    shutil.copytree(champion.path, folder)
    calibration = replace(champion.manifest.calibration, threshold=threshold * champion.manifest.calibration.threshold)
    edit_manifest(folder, calibration=json.loads(json.dumps(calibration.to_json())), name=name)
    return Bundle.open(folder)
