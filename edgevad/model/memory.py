"""What recurs, held against a frame: the part of the scoring graph that remembers.

A frame is written as its coordinates on the recording's principal directions. The bank holds coordinates of earlier
frames, sorted into *episodes*, stretches of time. What was seen in several episodes recurs, and what recurs is normal.
Per episode the nearest entry is looked up, and the nearest episodes are compared with the frame:

- `view`, the distance to the rank-th nearest episode: has the whole view been here that often?
- `detail`, the largest local error that not one of the nearest episodes explains: is every spot as in one of them?

Nearest *episodes* and not nearest frames: an anomaly lasts, so that its frames resemble each other, yet it rarely
comes back another time.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from edgevad.model.config import ModelConfig
from edgevad.spec import EXCLUDED, NEAREST_EPISODES

__all__ = ["EXCLUDED", "NEIGHBOURS", "RecurrenceMemory", "at_memory_size", "cell_means", "channel_mean"]

# Nearest episodes that a frame is compared with.
NEIGHBOURS = NEAREST_EPISODES


class RecurrenceMemory(nn.Module):
    """Principal directions of a recording, and the comparison of frames with a bank of coordinates.

    Frames above 96 pixels are remembered at half their size: products with the templates, which are never quantised,
    took a third of a graph of 8 bits at 128 pixels.

    Buffers, with D = C * memory_px**2 values in a standardised frame as it is remembered, and d coordinates:
        mean_frame: (D,).
        templates: (d, D), orthogonal, each of norm sqrt(D), so that squared distances of coordinates are mean squared
            differences per value.
        rank: (NEIGHBOURS,), one at the rank that `view` looks at, else zero.
    """

    mean_frame: Tensor
    templates: Tensor
    rank: Tensor

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.shape = (config.channels, config.memory_px, config.memory_px)
        self.cell_px = config.cell_px * config.memory_px // config.size_px
        values = config.channels * config.memory_px**2
        self.register_buffer("mean_frame", torch.zeros(values))
        self.register_buffer("templates", torch.zeros(config.latent, values))
        self.register_buffer("rank", F.one_hot(torch.tensor(0), NEIGHBOURS).float())

    @torch.no_grad()
    def learn(self, mean_frame: Tensor, directions: Tensor) -> None:
        """Take the mean frame, D values, and principal directions (k, D) of any length, k <= d; the rest stay zero.

        Both are of frames at the size they are remembered at.
        """
        self.mean_frame.copy_(mean_frame.flatten())
        norm = directions.norm(dim=1, keepdim=True).clamp_min(1e-12)
        self.templates.zero_()
        self.templates[: len(directions)] = directions / norm * directions.shape[1] ** 0.5

    def remembered(self, x: Tensor) -> Tensor:
        """Standardised frames (N, C, H, W) -> the same at the size they are remembered at."""
        return at_memory_size(x, self.shape[1])

    def coordinates(self, x: Tensor) -> Tensor:
        """Standardised frames (N, C, H, W) -> (N, d)."""
        return self._coordinates(self.remembered(x))

    def _coordinates(self, remembered: Tensor) -> Tensor:
        flat = remembered.flatten(1) - self.mean_frame
        return flat @ self.templates.T / flat.shape[1]

    def frames(self, coordinates: Tensor) -> Tensor:
        """Coordinates (..., d) -> frames (..., D) as they are remembered."""
        return coordinates @ self.templates + self.mean_frame

    def nearest(self, coordinates: Tensor, bank: Tensor, excluded: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Per frame the nearest entry of each of the nearest episodes.

        coordinates (N, d); bank (E, m, d + 1), the last value the entry's squared norm, or EXCLUDED and more for
        padding; excluded (N, E, m) bool, entries that do not count for that frame, or None.
        Returns squared distances (N, NEIGHBOURS), nearest first, and the entries' coordinates (N, NEIGHBOURS, d).
        """
        d = coordinates.shape[1]
        entries = bank.flatten(0, 1)  # (E*m, d + 1)
        # |z|^2 - 2 z b + |b|^2 in one product with the entries as they lie: taking their columns apart copies the bank.
        query = torch.cat([-2.0 * coordinates, torch.ones_like(coordinates[:, :1])], dim=1)
        distance = coordinates.square().sum(dim=1, keepdim=True) + query @ entries.T  # (N, E*m)
        distance = distance.reshape(-1, bank.shape[0], bank.shape[1])  # (N, E, m)
        if excluded is not None:
            distance = distance.masked_fill(excluded, EXCLUDED)
        best = distance.amin(dim=2)  # (N, E)
        first = torch.arange(bank.shape[0], device=bank.device) * bank.shape[1]
        entry = distance.argmin(dim=2) + first  # (N, E), rows of `entries`
        squared, episode = best.topk(NEIGHBOURS, dim=1, largest=False, sorted=True)
        rows = entry.gather(1, episode)  # (N, NEIGHBOURS)
        chosen = entries[rows.flatten()][:, :d].reshape(-1, NEIGHBOURS, d)
        # The product's difference loses its digits where a frame meets itself: taken anew for the few that are left.
        exact = (chosen - coordinates.unsqueeze(1)).square().sum(dim=2)
        return torch.where(squared < EXCLUDED / 2, exact, squared), chosen

    def forward(self, x: Tensor, bank: Tensor, excluded: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Standardised frames (N, C, H, W) -> `view` (N,), and the local errors behind `detail` (N, h, w)."""
        seen = self.remembered(x)
        squared, coordinates = self.nearest(self._coordinates(seen), bank, excluded)
        view = ((squared * self.rank).sum(dim=1)).sqrt()
        recalled = self.frames(coordinates).reshape(-1, NEIGHBOURS, *self.shape)  # (N, NEIGHBOURS, C, H', W')
        error = channel_mean((seen.unsqueeze(1) - recalled).square(), dim=2)  # (N, NEIGHBOURS, H', W')
        cells = cell_means(error, self.cell_px)
        # What does not count must not explain anything either.
        unusable = (squared >= EXCLUDED / 2).float() * EXCLUDED
        return view, (cells + unusable[:, :, None, None]).amin(dim=1)


def at_memory_size(x: Tensor, memory_px: int) -> Tensor:
    """Frames (N, C, H, H) -> (N, C, memory_px, memory_px), means over blocks of pixels; x itself where that is H."""
    shrink = x.shape[-1] // memory_px
    return x if shrink == 1 else F.avg_pool2d(x, shrink)


def cell_means(values: Tensor, cell_px: int) -> Tensor:
    """Means over cells of cell_px, half a cell apart: (N, K, H, W) -> (N, K, h, w).

    Taken over half cells that do not overlap, and over four of those: every value is read once instead of four times.
    """
    return F.avg_pool2d(F.avg_pool2d(values, cell_px // 2), 2, stride=1)


def channel_mean(values: Tensor, dim: int) -> Tensor:
    """Mean over the channels, for nothing where there is only one: engines do not see that by themselves."""
    return values.squeeze(dim) if values.shape[dim] == 1 else values.mean(dim=dim)
