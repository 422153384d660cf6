"""The scoring graph in torch: the contract of the exported ONNX (docs/architecture.md)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from edgevad.model.autoencoder import Autoencoder, Representation
from edgevad.model.config import ModelConfig
from edgevad.model.memory import RecurrenceMemory, cell_means, channel_mean

__all__ = ["ScoringModule", "local_errors", "motion_errors", "pearson_distance"]


class ScoringModule(nn.Module):
    """frames (N, H, W, 3) uint8 [, motion (N, H, W, M) float32] [, bank (E, m, d + 1) float32]
    -> score (N, P), heatmap (N, Q, h, w), latent (N, d).

    The columns of the score are `config.parts`; the first Q of them, those that point at a place, have a heatmap: means
    over overlapping cells of `cell_px` pixels, half a cell apart. All are squared errors in units of the training
    recording's variance, but `view`, a distance in their square root, `motion` and its heatmap, root mean squares in
    the motion's own units, and `pcc`, 1 - correlation.
    """

    mean_motion: Tensor  # (H, W, M), what moves at each place on average; only where motion is a part

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.representation = Representation(config)
        self.autoencoder = Autoencoder(config)
        self.memory = RecurrenceMemory(config) if config.score == "parts" else None
        if "motion" in config.parts:
            self.register_buffer("mean_motion", torch.zeros(config.size_px, config.size_px, config.motion_channels))

    def forward(self, frames: Tensor, *inputs: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """`inputs` are those of `motion` and `bank` that the model uses, in this order."""
        motion = inputs[0] if self.config.motion_channels else None
        if self.memory is None:
            return self._one_score(self.representation(frames, motion))
        return self.parts(frames, motion, inputs[-1])

    def parts(
        self, frames: Tensor, motion: Tensor | None, bank: Tensor, excluded: Tensor | None = None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """The graph of a model with parts; `excluded` (N, E, m) bool, entries of the bank that do not count."""
        assert self.memory is not None
        x = self.representation(frames, None)
        reconstruction, latent = self.autoencoder(x)
        view, detail = self.memory(x, bank, excluded)
        maps = [local_errors(x, reconstruction, self.config.cell_px), detail]
        scores = [error.amax(dim=(1, 2)) for error in maps]
        if motion is not None:
            fine, coarse = motion_errors(motion - self.mean_motion, self.config.cell_px)
            maps.append(fine.sqrt())
            # Root mean squares, largest at two scales, geometric mean: neither one pixel gone astray nor a slow crowd.
            scores.append((fine.amax(dim=(1, 2)) * coarse.amax(dim=(1, 2))).pow(0.25))
        return torch.stack([*scores, view], dim=1), torch.stack(maps, dim=1), latent

    def _one_score(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        reconstruction, latent = self.autoencoder(x)
        heatmap = local_errors(x, reconstruction, self.config.cell_px)
        if self.config.score == "pcc":
            score = pearson_distance(x, reconstruction)
        elif self.config.score == "mse":
            score = (x - reconstruction).square().mean(dim=(1, 2, 3))
        else:
            score = heatmap.amax(dim=(1, 2))
        return score.unsqueeze(1), heatmap.unsqueeze(1), latent


def local_errors(x: Tensor, reconstruction: Tensor, cell_px: int) -> Tensor:
    """Mean squared error over cells of cell_px, half a cell apart: (N, C, H, W) twice -> (N, h, w)."""
    error = channel_mean((x - reconstruction).square(), dim=1).unsqueeze(1)  # (N, 1, H, W)
    return cell_means(error, cell_px).squeeze(1)


def motion_errors(deviation: Tensor, cell_px: int) -> tuple[Tensor, Tensor]:
    """Mean squared deviation of motion (N, H, W, M) over cells of cell_px and of twice that, half a cell apart."""
    squared = channel_mean(deviation.square(), dim=3).unsqueeze(1)  # (N, 1, H, W)
    fine = cell_means(squared, cell_px)
    coarse = F.avg_pool2d(squared, min(2 * cell_px, squared.shape[-1]), stride=cell_px)
    return fine.squeeze(1), coarse.squeeze(1)


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
