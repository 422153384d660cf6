"""Where training begins: with a new model, or with an earlier one, written in the units of another recording."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn

from edgevad.model.autoencoder import Autoencoder
from edgevad.model.checkpoint import load_weights
from edgevad.model.scoring import ScoringModule
from edgevad.model.statistics import RecordingStatistics

__all__ = ["Learnt", "Start", "WarmStart", "restandardise"]

Learnt = Literal["few", "all"]


class Start:
    """A new model: the mean frame and principal directions of the recording, and a random encoder.

    Attributes:
        entropy_weight: what the controller begins with.
        warm_up_rounds: over how many rounds the learning rate rises to its full value.
    """

    entropy_weight: float = 0.01
    warm_up_rounds: int = 0

    def fill(self, module: ScoringModule, statistics: RecordingStatistics) -> list[nn.Parameter]:
        """Set the autoencoder's weights and return the parameters that are learnt.

        `module.representation` has the recording's mean and scale already.
        """
        module.autoencoder.start_from_templates(statistics.mean_frame, statistics.templates)
        return list(module.parameters())


@dataclass(frozen=True)
class WarmStart(Start):
    """An earlier model of the same configuration, written in the new recording's units (`restandardise`).

    Attributes:
        weights: the earlier model's file.
        learnt: "all" parameters, or a "few": the encoder's biases, its last layer (from features to latents) and the
            mean frame. The filters and the decoder's templates stay as they are.
    """

    weights: Path
    learnt: Learnt = "all"
    entropy_weight: float = 0.01
    warm_up_rounds: int = 1

    def fill(self, module: ScoringModule, statistics: RecordingStatistics) -> list[nn.Parameter]:
        """Raises ModelError where the file is missing, damaged, or holds weights of another configuration."""
        earlier = ScoringModule(module.config)
        load_weights(self.weights, earlier)
        restandardise(earlier, module.representation.mean, module.representation.scale)
        module.autoencoder.load_state_dict(earlier.autoencoder.state_dict())
        if self.learnt == "all":
            return list(module.parameters())
        few = list(_few(module.autoencoder))
        module.requires_grad_(False)
        for parameter in few:
            parameter.requires_grad_(True)
        return few


def _few(autoencoder: Autoencoder) -> Iterator[nn.Parameter]:
    layers = [layer for layer in autoencoder.encoder if isinstance(layer, (nn.Conv2d, nn.Linear))]
    for layer in layers[:-1]:
        assert isinstance(layer.bias, nn.Parameter)
        yield layer.bias
    yield from layers[-1].parameters()
    yield autoencoder.mean_frame


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
