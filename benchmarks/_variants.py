"""Trainers that differ from the shipped one in a term of the loss."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from edgevad.model.cache import FrameCache
from edgevad.model.config import ModelConfig
from edgevad.model.entropy import renyi_entropy
from edgevad.model.statistics import batch_of
from edgevad.model.trainer import SCALE_FLOOR, TrainConfig, Trainer

__all__ = ["RenyiTrainer", "SsimTrainer", "ssim"]

SAMPLE_FRAMES = 512


class RenyiTrainer(Trainer):
    """The entropy is Rényi's of order `alpha`."""

    def __init__(self, model: ModelConfig, config: TrainConfig, cache: FrameCache, *, alpha: float) -> None:
        super().__init__(model, config, cache)
        self.alpha = alpha

    def _entropy(self, z: Tensor) -> Tensor:
        floor = SCALE_FLOOR * self.module.config.latent**0.5
        config = self.config
        return renyi_entropy(z, self.alpha, config.sigma, scale_free=config.scale_free, scale_floor=floor)


class SsimTrainer(Trainer):
    """What is charged is 1 - SSIM instead of the squared error, 1 for always answering the mean frame like that.

    Structural similarity wants intensities in a known range, so frames are taken back from standardised to [0, 1] of
    the logarithm. The explained variance, which steers the entropy weight, stays that of the squared error, and frames
    are scored as ever.
    """

    def __init__(self, model: ModelConfig, config: TrainConfig, cache: FrameCache) -> None:
        if model.appearance != "log" or model.channels != 1:
            raise ValueError("only for log intensity alone")
        super().__init__(model, config, cache)
        representation = self.module.representation
        low, high = (math.log(value + model.log_offset) for value in (0.0, 1.0))
        self._slope = float(representation.scale) / (high - low)
        self._offset = (float(representation.mean) - low) / (high - low)
        sample = torch.linspace(0, len(cache) - 1, min(len(cache), SAMPLE_FRAMES)).long().numpy()
        with torch.no_grad():
            x = representation(batch_of(cache, sample)[0].to(self.device), None)
            self._charge_of_mean = float(1.0 - self._similarity(x, self._anchor.expand_as(x)))

    def _reconstruction_term(self, x: Tensor, reconstruction: Tensor, error: Tensor) -> Tensor:
        return (1.0 - self._similarity(x, reconstruction)) / self._charge_of_mean

    def _similarity(self, x: Tensor, reconstruction: Tensor) -> Tensor:
        return ssim(x * self._slope + self._offset, reconstruction * self._slope + self._offset).mean()


def ssim(a: Tensor, b: Tensor, window_px: int = 7) -> Tensor:
    """Structural similarity of images in [0, 1] (N, C, H, W): (N,), 1 where they are equal.

    Wang et al. 2004, with their constants and a flat window instead of a Gaussian one.
    """
    c1, c2 = 0.01**2, 0.03**2

    def mean(image: Tensor) -> Tensor:
        return F.avg_pool2d(image, window_px, stride=1)

    mean_a, mean_b = mean(a), mean(b)
    variance_a = mean(a * a) - mean_a.square()
    variance_b = mean(b * b) - mean_b.square()
    covariance = mean(a * b) - mean_a * mean_b
    luminance = (2 * mean_a * mean_b + c1) / (mean_a.square() + mean_b.square() + c1)
    structure = (2 * covariance + c2) / (variance_a + variance_b + c2)
    return (luminance * structure).mean(dim=(1, 2, 3))
