"""Independent random streams, so that a change to one part of a drive leaves the others as they were."""

from __future__ import annotations

import zlib

import cv2
import numpy as np
import numpy.typing as npt

from edgevad.synth.arrays import Floats, floats

__all__ = ["slow_wave", "smooth_noise", "stream"]


def stream(seed: int, name: str, *numbers: int) -> np.random.Generator:
    """The generator that belongs to `name` (and to a frame or an object, by its number) in the drive of `seed`."""
    return np.random.default_rng([seed, zlib.crc32(name.encode()), *numbers])


def slow_wave(rng: np.random.Generator, time_s: npt.NDArray[np.float64], periods_s: tuple[float, ...]) -> Floats:
    """Sum of sines of random phase with about these periods, scaled to [-1, 1]; same shape as `time_s`."""
    total = np.zeros_like(time_s)
    for period_s in periods_s:
        total += np.sin(2 * np.pi * time_s / (period_s * rng.uniform(0.85, 1.15)) + rng.uniform(0, 2 * np.pi))
    return floats(total / len(periods_s))


def smooth_noise(rng: np.random.Generator, shape: tuple[int, int], cells: tuple[int, int]) -> Floats:
    """(H, W) float32 noise of mean 0 and deviation about 1 with `cells` random values each way; both axes wrap."""
    grid = rng.standard_normal(cells, dtype=np.float32)
    pad = 2
    padded = np.pad(grid, pad, mode="wrap")
    step = (shape[0] / cells[0], shape[1] / cells[1])
    rows = (np.arange(shape[0], dtype=np.float32) + 0.5) / step[0] - 0.5 + pad
    columns = (np.arange(shape[1], dtype=np.float32) + 0.5) / step[1] - 0.5 + pad
    x, y = np.meshgrid(columns, rows)
    return floats(cv2.remap(padded, x, y, cv2.INTER_CUBIC))
