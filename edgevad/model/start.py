"""Where training begins: with a new model, or with an earlier one, written in the units of another recording."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from edgevad.model.autoencoder import Autoencoder
from edgevad.model.cache import FrameCache
from edgevad.model.checkpoint import load_weights
from edgevad.model.scoring import ScoringModule
from edgevad.model.statistics import RecordingStatistics, batch_of

__all__ = ["Learnt", "Start", "WarmStart", "restandardise"]

Learnt = Literal["few", "all"]

CHUNK = 256
# Of the features' mean square: keeps directions that hardly vary out of the fit.
RIDGE = 1e-3


class Start:
    """A new model: the mean frame and principal directions of the recording, and a random encoder.

    Attributes:
        entropy_weight: what the controller begins with.
        warm_up_rounds: over how many rounds the learning rate rises to its full value.
    """

    entropy_weight: float = 0.01
    warm_up_rounds: int = 0

    def fill(self, module: ScoringModule, statistics: RecordingStatistics, cache: FrameCache) -> list[nn.Parameter]:
        """Set the autoencoder's weights and return the parameters that are learnt.

        `module.representation` has the recording's mean and scale already; `cache` is the recording.
        """
        module.autoencoder.start_from_templates(statistics.mean_frame, statistics.templates)
        return list(module.parameters())


@dataclass(frozen=True)
class WarmStart(Start):
    """An earlier model of the same configuration, written in the new recording's units (`restandardise`).

    Attributes:
        weights: the earlier model's file.
        learnt: "all" parameters, or a "few": the encoder's last layer, from features to latents, and the mean frame.
            The encoder's filters stay as they are; a linear decoder's templates become the recording's principal
            directions, as those of a new model, and the last layer begins where it gives their coordinates best.
    """

    weights: Path
    learnt: Learnt = "all"
    entropy_weight: float = 0.01
    warm_up_rounds: int = 1

    def fill(self, module: ScoringModule, statistics: RecordingStatistics, cache: FrameCache) -> list[nn.Parameter]:
        """Raises ModelError where the file is missing, damaged, or holds weights of another configuration."""
        earlier = ScoringModule(module.config)
        load_weights(self.weights, earlier)
        restandardise(earlier, module.representation.mean, module.representation.scale)
        autoencoder = module.autoencoder
        autoencoder.load_state_dict(earlier.autoencoder.state_dict())
        if self.learnt == "all":
            return list(module.parameters())
        if module.config.decoder == "linear":
            autoencoder.start_from_templates(statistics.mean_frame, statistics.templates)
            _fit_last_layer(module, statistics, cache)
        few = [*_last_layer(autoencoder).parameters(), autoencoder.mean_frame]
        module.requires_grad_(False)
        for parameter in few:
            parameter.requires_grad_(True)
        return few


def _last_layer(autoencoder: Autoencoder) -> nn.Linear:
    last = autoencoder.encoder[-1]
    assert isinstance(last, nn.Linear)
    return last


@torch.no_grad()
def _fit_last_layer(module: ScoringModule, statistics: RecordingStatistics, cache: FrameCache) -> None:
    """Least squares, with a ridge, from the filters' features to the coordinates on the templates."""
    autoencoder, templates = module.autoencoder, statistics.templates
    last, norms = _last_layer(autoencoder), templates.square().sum(dim=1).clamp_min(1e-12)
    fed = cache if module.config.channels > module.config.appearance_channels else replace(cache, motion=None)
    size = last.in_features + 1
    products, targets = torch.zeros(size, size), torch.zeros(size, len(templates))
    for start in range(0, len(statistics.sample), CHUNK):
        frames, motion = batch_of(fed, statistics.sample[start : start + CHUNK])
        x = module.representation(frames, motion)
        features = F.pad(autoencoder.encoder[:-1](x), (0, 1), value=1.0)  # (n, size), the last one for the bias
        coordinates = (x - statistics.mean_frame).flatten(1) @ templates.T / norms
        products += features.T @ features
        targets += features.T @ coordinates
    ridge = RIDGE * products.diagonal().mean()
    fitted = torch.linalg.solve(products + ridge * torch.eye(size), targets)  # (size, k)
    # A recording of few frames has fewer directions than latents: the others say nothing.
    last.weight.zero_()
    last.bias.zero_()
    last.weight[: len(templates)] = fitted[:-1].T
    last.bias[: len(templates)] = fitted[-1]


@torch.no_grad()
def restandardise(module: ScoringModule, mean: Tensor, scale: Tensor) -> None:
    """Write a module for other statistics of the representation, (C,) each: the same frames give the same
    reconstruction, in the new units, and the same latents.

    With x = a x' + b per channel the first convolution takes a and b into its weights and bias, the decoder and the
    mean frame 1 / a and b. Exact but at the image's edge, where the convolution pads with zeros: the zero of the new
    units is another gray than that of the old.
    """
    representation, autoencoder = module.representation, module.autoencoder
    a = scale / representation.scale  # (C,)
    b = (mean - representation.mean) / representation.scale
    first = autoencoder.encoder[0]
    assert isinstance(first, nn.Conv2d)
    assert first.bias is not None
    first.bias += (first.weight * b[None, :, None, None]).sum(dim=(1, 2, 3))
    first.weight *= a[None, :, None, None]
    autoencoder.mean_frame.copy_((autoencoder.mean_frame - b[:, None, None]) / a[:, None, None])
    if module.config.decoder == "linear":
        templates = autoencoder.decoder[0].weight  # type: ignore[index]  # (C*H*W, d)
        pixels = len(templates) // len(a)
        templates /= a.repeat_interleave(pixels)[:, None]
    else:
        last = autoencoder.decoder[-1]  # type: ignore[index]
        last.weight /= a[:, None, None, None]
        last.bias /= a
    representation.mean.copy_(mean)
    representation.scale.copy_(scale)
