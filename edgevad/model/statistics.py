"""What the trainer learns of a recording before the first step: statistics, PCA templates, what recurrence explains.

Everything is taken from a sample of frames spread evenly over the recording. No label is read.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from edgevad.model.autoencoder import Representation
from edgevad.model.cache import FrameCache
from edgevad.model.memory import at_memory_size

__all__ = ["RecordingStatistics", "batch_of", "recording_statistics", "recurrence_share"]

SAMPLE_FRAMES = 4000
# The sample is held in float32, a few copies at a time: larger inputs get a smaller one.
SAMPLE_BYTES = 256e6
CHUNK = 256
# Frames nearer in time than this are the same moment, not a recurrence of it.
ELSEWHEN_S = 15.0
NEIGHBOURS = 40


@dataclass(frozen=True)
class RecordingStatistics:
    """
    Attributes:
        mean, scale: (C,) of the raw representation.
        mean_frame: (C, H, W) of the standardised representation.
        templates: (k, C*H*W) principal directions times their standard deviations, strongest first.
        remembered: mean frame and templates of the same frames at the size that the memory keeps (`memory_px`).
        variance: mean squared distance per value of standardised frames from the mean frame.
        template_share: share of that variance that the templates explain, in [0, 1].
        recurrence: share of that variance that frames of other times explain; None where the recording is too short.
        sample: (n,) int64, ascending, the frames that all this was taken from.
    """

    mean: Tensor
    scale: Tensor
    mean_frame: Tensor
    templates: Tensor
    remembered: tuple[Tensor, Tensor]
    variance: float
    template_share: float
    recurrence: float | None
    sample: npt.NDArray[np.int64]


def batch_of(cache: FrameCache, indices: np.ndarray) -> tuple[Tensor, Tensor | None]:
    """The graph's inputs for these frames: (n, H, W, 3) uint8 and (n, H, W, M) float16 or None."""
    frames = torch.from_numpy(np.ascontiguousarray(cache.images[indices]))
    motion = None if cache.motion is None else torch.from_numpy(np.ascontiguousarray(cache.motion[indices]))
    return frames, motion


@torch.no_grad()
def recording_statistics(
    cache: FrameCache,
    representation: Representation,
    components: int,
    *,
    seed: int = 0,
    sample: npt.NDArray[np.int64] | None = None,
) -> RecordingStatistics:
    """Set `representation`'s mean and scale from the recording and return everything the trainer starts from.

    `sample`, ascending frame numbers, says what is representative of the recording; all its frames alike unless given.
    Of more than fit into memory some are taken, evenly.
    """
    config = representation.config
    values = config.channels * config.size_px**2
    sample = np.arange(len(cache)) if sample is None else sample
    count = min(len(sample), SAMPLE_FRAMES, int(SAMPLE_BYTES / (4 * values)))
    sample = sample[np.unique(np.linspace(0, len(sample) - 1, count).round().astype(np.int64))]
    x = torch.cat([representation.raw(*batch_of(cache, sample[i : i + CHUNK])) for i in range(0, len(sample), CHUNK)])
    mean = x.mean(dim=(0, 2, 3))
    scale = (x - mean[:, None, None]).square().mean(dim=(0, 2, 3)).sqrt().clamp_min(1e-4)
    representation.mean.copy_(mean)
    representation.scale.copy_(scale)
    x = (x - mean[:, None, None]) / scale[:, None, None]

    mean_frame = x.mean(dim=0)
    flat = (x - mean_frame).flatten(1)  # (n, C*H*W)
    variance = max(float(flat.square().mean()), 1e-8)
    templates, u, s = _principal(flat, components, seed)
    template_share = min(float(s[: len(templates)].square().sum()) / (variance * flat.numel()), 1.0)
    times_s = torch.from_numpy(cache.elapsed_s()[sample])
    neighbours = max(5, round(NEIGHBOURS * len(sample) / len(cache)))
    recurrence = recurrence_share(flat, u * s, times_s, neighbours)
    remembered = mean_frame, templates
    if config.memory_px != config.size_px:
        # Directions of the small frames themselves: those of the large ones, made small, are no longer orthogonal.
        small = at_memory_size(x, config.memory_px)
        small_frame = small.mean(dim=0)
        remembered = small_frame, _principal((small - small_frame).flatten(1), components, seed)[0]
    return RecordingStatistics(
        mean, scale, mean_frame, templates, remembered, variance, template_share, recurrence, sample
    )


def _principal(flat: Tensor, components: int, seed: int) -> tuple[Tensor, Tensor, Tensor]:
    """Of frames (n, D) about their mean: templates (k, D), and u (n, q), s (q,) of the decomposition they come from."""
    k = min(components, len(flat) - 1)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        u, s, v = torch.svd_lowrank(flat, q=min(k + 8, *flat.shape), niter=3)
    return (v[:, :k] * (s[:k] / len(flat) ** 0.5)).T.contiguous(), u, s


def recurrence_share(flat: Tensor, coordinates: Tensor, times_s: Tensor, neighbours: int = NEIGHBOURS) -> float | None:
    """Share of the variance that the mean of each frame's `neighbours` most similar frames at other times explains.

    flat: (n, D) frames about their mean; coordinates: (n, k), where similarity is measured; times_s: (n,) seconds.
    Returns a number in [0, 1], or None where no frame has twice that many others at least 15 s away.
    """
    square = coordinates.square().sum(dim=1)
    error = total = 0.0
    for start in range(0, len(flat), CHUNK):
        rows = slice(start, start + CHUNK)
        distance2 = square[rows, None] + square[None] - 2.0 * coordinates[rows] @ coordinates.T
        same_time = (times_s[rows, None] - times_s[None]).abs() < ELSEWHEN_S
        distance2 = distance2.masked_fill(same_time, torch.inf)
        enough = (~same_time).sum(dim=1) >= 2 * neighbours
        if not enough.any():
            continue
        nearest = distance2[enough].topk(neighbours, largest=False).indices
        own = flat[rows][enough]
        mean = torch.zeros_like(own)
        for k in range(neighbours):  # one at a time: gathered at once they would be forty copies
            mean += flat[nearest[:, k]] / neighbours
        error += float((own - mean).square().sum())
        total += float(own.square().sum())
    return None if total == 0.0 else min(max(1.0 - error / total, 0.0), 1.0)
