"""What the entropy term costs: time and memory against the batch size, and against an estimate by random features.

The information potential V is the mean of a Gaussian kernel over all pairs of latents, N x N. By random Fourier
features (Rahimi and Recht 2007) it is a mean over frequencies w drawn from the kernel's spectrum, without any pairs:

    V = E_w |1/N sum_i exp(i w z_i)|^2,   w ~ Normal(0, 1 / (2 sigma^2)).
"""

from __future__ import annotations

from collections.abc import Iterator
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmarks._common import Stopwatch, in_turns
from benchmarks.trainer import entropy_cost
from edgevad.model.entropy import latent_scale, renyi2_entropy
from edgevad.model.statistics import batch_of
from edgevad.model.trainer import Trainer

__all__ = ["cost_results", "fourier_entropy", "latents_of", "peak_mb", "term_ms"]

BATCHES = (32, 64, 128, 256, 512, 1024, 2048)
COUNTS = (256, 1024, 4096)
FEATURES = (64, 256, 1024)
DRAWS = 10


def cost_results(trainer: Trainer, batches: tuple[int, ...] = BATCHES, repeats: int = 5) -> Iterator[dict[str, Any]]:
    """One result for each batch size ("step") and for each number of latents and of features ("fourier")."""
    for size in [size for size in batches if size <= len(trainer.cache)]:
        steps = max(1, 1024 // size)
        with_, without, share = entropy_cost(
            trainer.cache.images, trainer.module.config, size, steps=steps, repeats=repeats
        )
        yield {
            "kind": "step",
            "batch": size,
            "with_ms": with_.median,
            "without_ms": without.median,
            "share": share.median,
            "share_min": min(share.values),
            "share_max": max(share.values),
            "term_ms": term_ms(size, trainer.module.config.latent),
            "matrix_mb": 4 * size**2 / 1e6,
            "peak_mb": peak_mb(size, trainer.module.config.latent),
        }
    latents = latents_of(trainer)
    for count in [count for count in COUNTS if count <= len(latents)]:
        rows = np.random.default_rng(0).choice(len(latents), count, replace=False)
        for features in FEATURES:
            yield {"kind": "fourier", "latents": count, "features": features, **_compare(latents[rows], features)}


def term_ms(count: int, size: int, repeats: int = 15) -> float:
    """CPU time of the term by itself, forward and backward, for latents (count, size); median, milliseconds."""
    z = torch.randn(count, size, generator=torch.Generator().manual_seed(0), requires_grad=True)
    times = []
    for _ in range(repeats + 1):
        watch = Stopwatch()
        torch.autograd.grad(renyi2_entropy(z), z)
        times.append(1e3 * watch.cpu_s())
    return float(np.median(times[1:]))


@torch.no_grad()
def latents_of(trainer: Trainer) -> Tensor:
    """Latents of all frames of a trainer's recording, in units of their scale: (N, d)."""
    chunks = np.array_split(np.arange(len(trainer.cache)), max(1, len(trainer.cache) // 256))
    module = trainer.module
    z = torch.cat([module.autoencoder.encode(module.representation(batch_of(trainer.cache, c)[0])) for c in chunks])
    return z / latent_scale(z)


def fourier_entropy(z: Tensor, sigma: float, features: int, generator: torch.Generator) -> Tensor:
    """Rényi-2 entropy of latents z (N, d) by `features` random frequencies; sigma in units of z."""
    frequencies = torch.randn(z.shape[1], features, generator=generator) / (2.0**0.5 * sigma)
    phase = z @ frequencies
    return -(phase.cos().mean(dim=0).square() + phase.sin().mean(dim=0).square()).mean().log()


def peak_mb(count: int, size: int) -> float | None:
    """What the term adds to a fresh process's peak memory, forward and backward, for latents (count, size)."""
    with get_context("spawn").Pool(1) as pool:
        return pool.apply(_peak_mb, (count, size))


def _peak_mb(count: int, size: int) -> float | None:
    torch.set_num_threads(1)
    status, reset = Path("/proc/self/status"), Path("/proc/self/clear_refs")
    if not status.exists():
        return None
    renyi2_entropy(torch.randn(16, size, requires_grad=True)).backward()  # whatever is loaded at first use
    z = torch.randn(count, size, requires_grad=True)
    reset.write_text("5", encoding="ascii")  # the peak starts again from what is resident now

    def peak_kb() -> int:
        return next(int(line.split()[1]) for line in status.read_text().splitlines() if line.startswith("VmHWM"))

    before = peak_kb()
    renyi2_entropy(z).backward()
    return (peak_kb() - before) * 1024 / 1e6


def _compare(latents: Tensor, features: int) -> dict[str, float]:
    """Random features against all pairs: error of the entropy in nats, likeness of the gradient, CPU time."""
    generator = torch.Generator().manual_seed(0)
    z = latents.clone().requires_grad_()

    def gradient(value: Tensor) -> Tensor:
        (found,) = torch.autograd.grad(value, z)
        return found.flatten()

    exact = renyi2_entropy(z, scale_free=False)
    right = gradient(exact)
    right_value = float(exact.detach())
    errors, likeness = [], []
    for _ in range(DRAWS):
        value = fourier_entropy(z, 1.0, features, generator)
        errors.append(abs(float(value.detach()) - right_value))
        likeness.append(float(torch.cosine_similarity(gradient(value), right, dim=0)))

    def exact_ms() -> float:
        watch = Stopwatch()
        gradient(renyi2_entropy(z, scale_free=False))
        return 1e3 * watch.cpu_s()

    def fourier_ms() -> float:
        watch = Stopwatch()
        gradient(fourier_entropy(z, 1.0, features, generator))
        return 1e3 * watch.cpu_s()

    times = in_turns({"exact": exact_ms, "fourier": fourier_ms}, 5)
    return {
        "entropy": right_value,
        "mean_error": float(np.mean(errors)),
        "largest_error": max(errors),
        "gradient_cosine": float(np.mean(likeness)),
        "exact_ms": float(np.median(times["exact"])),
        "fourier_ms": float(np.median(times["fourier"])),
    }
