"""The Minimal-Latent-Entropy term: Rényi's entropy of order 2 of a batch of latents, by Gaussian kernel density.

Principe, "Information Theoretic Learning" (2010), section 2: with a Gaussian Parzen window of width sigma the quadratic
entropy needs no integral,

    H2(Z) = -log V(Z),   V(Z) = 1/N^2 sum_ij exp(-||z_i - z_j||^2 / (4 sigma^2)),

where V is the *information potential*. (The kernel's normalising constant is left out; it only shifts H2.)
Minimising H2 pulls latents toward where they are dense: rare frames into the cluster of the common ones.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

__all__ = ["information_potential_log", "latent_scale", "renyi2_entropy", "renyi_entropy"]


def latent_scale(z: Tensor, floor: float = 1e-6) -> Tensor:
    """Root-mean-square distance of the latents from their mean, detached from the gradient.

    z: (N, d) float. Returns a float32 scalar, at least `floor`.
    """
    centred = z.detach().float()
    centred = centred - centred.mean(dim=0)
    return centred.square().sum(dim=1).mean().sqrt().clamp_min(floor)


def information_potential_log(z: Tensor, sigma: float) -> Tensor:
    """log V(Z) for latents z (N, d) and kernel width sigma in the units of z: a float32 scalar in [-log N, 0].

    Summed in log space, so that far-apart latents give -log N and not log 0. Distances are taken in float32 after
    centring, whatever the type of z: half precision would lose them in ||a||^2 + ||b||^2 - 2ab.
    """
    return torch.logsumexp(_log_kernel(z, sigma).flatten(), dim=0) - 2.0 * math.log(len(z))


def renyi2_entropy(z: Tensor, sigma: float = 1.0, *, scale_free: bool = True, scale_floor: float = 1e-6) -> Tensor:
    """Rényi-2 entropy of a batch of latents, in nats: 0 where all are one point, log N where all are far apart.

    z: (N, d) float. `sigma` is the kernel width, in units of the latents' own root-mean-square distance from their
    mean where `scale_free` (the default), in units of z otherwise (the paper as written).

    With a fixed width an encoder lowers the entropy by shrinking all latents, and the decoder multiplies them back:
    nothing is learned. Dividing by the *detached* scale takes that way out: H2(c z) = H2(z), while the gradient still
    pulls latents together. That pull grows as the scale falls, so a collapse into one point would be for ever;
    `scale_floor`, in units of z, bounds it and leaves the reconstruction a way out.
    """
    if scale_free:
        z = z.float() / latent_scale(z, scale_floor)
    return -information_potential_log(z, sigma)


def renyi_entropy(
    z: Tensor, alpha: float, sigma: float = 1.0, *, scale_free: bool = True, scale_floor: float = 1e-6
) -> Tensor:
    """Rényi entropy of any order but 1 of a batch of latents, in nats, from 0 to log N: the plug-in estimate

        H_a(Z) = 1/(1 - a) log 1/N sum_i (1/N sum_j k_ij)^(a - 1)

    with the kernel of order 2 whatever the order, so that `alpha` = 2 is `renyi2_entropy`; everything else as there.
    """
    if not alpha > 0 or alpha == 1:
        raise ValueError(f"expected an order > 0 other than 1 but got {alpha}")
    if scale_free:
        z = z.float() / latent_scale(z, scale_floor)
    count = math.log(len(z))
    density = torch.logsumexp(_log_kernel(z, sigma), dim=1) - count  # (N,)
    return (torch.logsumexp((alpha - 1.0) * density, dim=0) - count) / (1.0 - alpha)


def _log_kernel(z: Tensor, sigma: float) -> Tensor:
    """-||z_i - z_j||^2 / (4 sigma^2) for latents z (N, d): (N, N) float32, 0 on the diagonal."""
    if z.ndim != 2 or z.shape[0] == 0:
        raise ValueError(f"expected latents of shape (N, d) with N > 0 but got shape {tuple(z.shape)}")
    if not sigma > 0:
        raise ValueError(f"expected a kernel width > 0 but got {sigma}")
    with torch.autocast(z.device.type, enabled=False):
        z = z.float()
        z = z - z.mean(dim=0).detach()
        square = z.square().sum(dim=1)  # (N,)
        distance2 = (square[:, None] + square[None, :] - 2.0 * (z @ z.T)).clamp_min(0.0)  # (N, N)
        # Rounding may leave a frame a little away from itself.
        distance2 = distance2.masked_fill(torch.eye(len(z), dtype=torch.bool, device=z.device), 0.0)
        return -distance2 / (4.0 * sigma**2)
