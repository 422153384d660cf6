"""The scoring graph in torch: the contract of the exported ONNX (docs/architecture.md)."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from edgevad.model.autoencoder import Autoencoder, Representation
from edgevad.model.config import ModelConfig

__all__ = ["ScoringModule", "local_errors", "pearson_distance"]


class ScoringModule(nn.Module):
    """frames (N, H, W, 3) uint8 [, motion (N, H, W, M) float32] -> score (N,), heatmap (N, h, w), latent (N, d).

    The heatmap holds the mean squared error of overlapping cells of `cell_px` pixels, half a cell apart, in units of
    the training recording's variance.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.representation = Representation(config)
        self.autoencoder = Autoencoder(config)

    def forward(self, frames: Tensor, motion: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor]:
        x = self.representation(frames, motion)
        reconstruction, latent = self.autoencoder(x)
        heatmap = local_errors(x, reconstruction, self.config.cell_px)
        if self.config.score == "pcc":
            score = pearson_distance(x, reconstruction)
        elif self.config.score == "mse":
            score = (x - reconstruction).square().mean(dim=(1, 2, 3))
        else:
            score = heatmap.amax(dim=(1, 2))
        return score, heatmap, latent


def local_errors(x: Tensor, reconstruction: Tensor, cell_px: int) -> Tensor:
    """Mean squared error over cells of cell_px, half a cell apart: (N, C, H, W) twice -> (N, h, w)."""
    error = (x - reconstruction).square().mean(dim=1, keepdim=True)  # (N, 1, H, W)
    return F.avg_pool2d(error, cell_px, stride=cell_px // 2).squeeze(1)


def pearson_distance(x: Tensor, reconstruction: Tensor) -> Tensor:
    """1 - Pearson correlation between each frame and its reconstruction, over all channels and pixels: (N,) in [0, 2].

    A frame or reconstruction without contrast correlates with nothing: its distance is 1.
    """
    a = x.flatten(1)
    b = reconstruction.flatten(1)
    a = a - a.mean(dim=1, keepdim=True)
    b = b - b.mean(dim=1, keepdim=True)
    norm = (a.square().sum(dim=1) * b.square().sum(dim=1)).sqrt()
    return 1.0 - (a * b).sum(dim=1) / norm.clamp_min(1e-8)
