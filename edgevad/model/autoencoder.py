"""The autoencoder: representation, encoder, decoder. What a frame is turned into, and how it is given back."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from edgevad.model.config import ModelConfig

__all__ = ["Autoencoder", "Representation"]

# Rec. 601 luma in OpenCV's channel order (blue, green, red).
LUMA_BGR = (0.114, 0.587, 0.299)


class Representation(nn.Module):
    """From the graph's inputs to standardised channels; part of the graph, so that every backend computes it alike.

    Buffers `mean` and `scale` (C,) are the channels' statistics over the training recording.
    """

    mean: Tensor
    scale: Tensor
    luma: Tensor

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.register_buffer("mean", torch.zeros(config.channels))
        self.register_buffer("scale", torch.ones(config.channels))
        self.register_buffer("luma", torch.tensor(LUMA_BGR), persistent=False)

    def raw(self, frames: Tensor, motion: Tensor | None) -> Tensor:
        """frames (N, H, W, 3) uint8, motion (N, H, W, M) float or None -> (N, C, H, W) float32, not standardised."""
        channels = []
        if self.config.appearance != "none":
            # Channels first at once: broadcasting over a last dimension of 3 took ONNX Runtime 40 % of a frame.
            # Floats before that: TensorRT takes uint8 as an input of the graph and nowhere else.
            image = frames.float().permute(0, 3, 1, 2)  # (N, 3, H, W)
            if self.config.appearance == "color":
                image = image / 255.0
            else:
                image = F.conv2d(image, self.luma[None, :, None, None] / 255.0)  # (N, 1, H, W), a weighted sum
            if self.config.appearance == "log":
                image = torch.log(image + self.config.log_offset)
            channels.append(image)
        if self.config.motion_channels and self.config.score != "parts":
            if motion is None:
                raise ValueError("this model needs the motion input")
            channels.append(motion.permute(0, 3, 1, 2).float())
        return torch.cat(channels, dim=1)

    def forward(self, frames: Tensor, motion: Tensor | None = None) -> Tensor:
        x = self.raw(frames, motion)
        return (x - self.mean[:, None, None]) / self.scale[:, None, None]


class Autoencoder(nn.Module):
    """x (N, C, H, W) -> latent (N, d) -> reconstruction (N, C, H, W).

    `mean_frame` (C, H, W) is added to what the decoder says: a latent of zero means "the average view".
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        size = config.size_px
        widths = [min(config.width * 2**level, 4 * config.width) for level in range(config.depth)]
        grid = size // 2**config.depth

        layers: list[nn.Module] = []
        for before, after in zip([config.channels, *widths[:-1]], widths, strict=True):
            layers += [nn.Conv2d(before, after, 3, stride=2, padding=1), nn.ReLU()]
        layers += [nn.Flatten(), nn.Linear(widths[-1] * grid * grid, config.latent)]
        self.encoder = nn.Sequential(*layers)

        self.mean_frame = nn.Parameter(torch.zeros(config.channels, size, size))
        if config.decoder == "linear":
            # Templates (d, C*H*W): what one unit of each latent adds to the mean frame.
            self.decoder: nn.Module = nn.Sequential(
                nn.Linear(config.latent, config.channels * size * size, bias=False),
                nn.Unflatten(1, (config.channels, size, size)),
            )
        else:
            self.decoder = _conv_decoder(config, widths[::-1], grid)

    def encode(self, x: Tensor) -> Tensor:
        latent: Tensor = self.encoder(x)
        return latent

    def decode(self, z: Tensor) -> Tensor:
        decoded: Tensor = self.decoder(z)
        return decoded + self.mean_frame

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Returns the reconstruction (N, C, H, W) and the latent (N, d)."""
        z = self.encode(x)
        return self.decode(z), z

    @torch.no_grad()
    def start_from_templates(self, mean_frame: Tensor, templates: Tensor) -> None:
        """Start from the mean frame (C, H, W) and, with a linear decoder, from PCA templates (k, C*H*W), k <= d.

        A template is a principal direction times its standard deviation, so that latents start at unit variance.
        """
        self.mean_frame.copy_(mean_frame)
        if self.config.decoder == "linear":
            linear = self.decoder[0]  # type: ignore[index]
            linear.weight[:, : len(templates)] = templates.T
            linear.weight[:, len(templates) :] *= 0.01


def _conv_decoder(config: ModelConfig, widths: list[int], grid: int) -> nn.Module:
    layers: list[nn.Module] = [
        nn.Linear(config.latent, widths[0] * grid * grid),
        nn.ReLU(),
        nn.Unflatten(1, (widths[0], grid, grid)),
    ]
    for before, after in zip(widths, [*widths[1:], config.width], strict=True):
        layers += [_Upsample(), nn.Conv2d(before, after, 3, padding=1), nn.ReLU()]
    layers.append(nn.Conv2d(config.width, config.channels, 3, padding=1))
    return nn.Sequential(*layers)


class _Upsample(nn.Module):
    """Nearest neighbour, factor 2; ConvTranspose with explicit Q/DQ is slow and has been wrong in TensorRT."""

    def forward(self, x: Tensor) -> Tensor:
        return F.interpolate(x, scale_factor=2.0, mode="nearest")
