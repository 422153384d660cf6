from __future__ import annotations

import math

import pytest
import torch

from edgevad.model.entropy import information_potential_log, latent_scale, renyi2_entropy


def naive(z: torch.Tensor, sigma: float) -> float:
    """The definition, pair by pair, in double precision."""
    rows = z.double().tolist()
    total = 0.0
    for a in rows:
        for b in rows:
            distance2 = sum((x - y) ** 2 for x, y in zip(a, b, strict=True))
            total += math.exp(-distance2 / (4 * sigma**2))
    return -math.log(total / len(rows) ** 2)


@pytest.fixture
def latents() -> torch.Tensor:
    return torch.randn(40, 6, generator=torch.Generator().manual_seed(3))


@pytest.mark.parametrize("sigma", [0.2, 0.5, 1.0, 3.0])
def test_agrees_with_the_double_loop(latents: torch.Tensor, sigma: float) -> None:
    got = renyi2_entropy(latents, sigma, scale_free=False)
    assert float(got) == pytest.approx(naive(latents, sigma), rel=1e-5)


def test_scale_free_is_the_definition_in_units_of_the_scale(latents: torch.Tensor) -> None:
    expected = naive(latents / latent_scale(latents), 0.5)
    assert float(renyi2_entropy(latents, 0.5)) == pytest.approx(expected, rel=1e-5)


def test_identical_points_have_no_entropy() -> None:
    assert float(renyi2_entropy(torch.full((32, 8), 2.5))) == pytest.approx(0.0, abs=1e-6)


@pytest.mark.parametrize("count", [2, 16, 64])
def test_far_apart_points_have_log_n(count: int) -> None:
    z = 1e3 * torch.eye(count)
    assert float(renyi2_entropy(z, 0.1, scale_free=False)) == pytest.approx(math.log(count), rel=1e-5)


def test_two_clusters_have_log_two() -> None:
    z = torch.cat([torch.zeros(16, 4), torch.full((16, 4), 100.0)])
    assert float(renyi2_entropy(z, 1.0, scale_free=False)) == pytest.approx(math.log(2), rel=1e-5)


@pytest.mark.parametrize("factor", [1e-3, 0.1, 50.0])
def test_scale_buys_nothing_where_scale_free_but_all_where_not(latents: torch.Tensor, factor: float) -> None:
    assert float(renyi2_entropy(factor * latents)) == pytest.approx(float(renyi2_entropy(latents)), rel=1e-4)
    fixed = float(renyi2_entropy(latents, scale_free=False))
    assert abs(float(renyi2_entropy(factor * latents, scale_free=False)) - fixed) > 0.05


def test_invariant_to_shift_order_and_rotation(latents: torch.Tensor) -> None:
    expected = float(renyi2_entropy(latents))
    rotation, _ = torch.linalg.qr(torch.randn(6, 6, generator=torch.Generator().manual_seed(1)))
    for same in (latents + 7.0, latents.flip(0), latents @ rotation):
        assert float(renyi2_entropy(same)) == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("scale_free", [True, False])
def test_descent_pulls_latents_together(latents: torch.Tensor, scale_free: bool) -> None:
    z = latents.clone().requires_grad_()
    renyi2_entropy(z, 1.0, scale_free=scale_free).backward()
    assert z.grad is not None
    outward = (latents - latents.mean(0)) * z.grad  # a descent step goes against the gradient: inward
    assert float(outward.sum()) > 0
    # Pulling together moves nothing on the whole.
    assert float(z.grad.sum(0).abs().max()) < 1e-5


def test_near_neighbours_are_pulled_more_than_far_ones() -> None:
    z = torch.tensor([[0.0], [0.0], [1.0], [9.0]], requires_grad=True)
    renyi2_entropy(z, 1.0, scale_free=False).backward()
    assert z.grad is not None
    near, far = z.grad[2].item(), z.grad[3].item()
    assert near > 0
    assert near > 100 * abs(far)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_stable(latents: torch.Tensor, dtype: torch.dtype) -> None:
    # Far from the origin, where ||a||^2 + ||b||^2 - 2ab in half precision would be all rounding.
    z = (100.0 + 30.0 * latents).to(dtype).requires_grad_()
    entropy = renyi2_entropy(z)
    entropy.backward()
    assert entropy.dtype == torch.float32
    assert entropy.item() == pytest.approx(float(renyi2_entropy(z.detach().float())), rel=1e-5)
    assert z.grad is not None
    assert torch.isfinite(z.grad).all()


def test_never_above_log_n_nor_below_zero_even_where_kernels_vanish() -> None:
    z = 1e6 * torch.randn(64, 16, generator=torch.Generator().manual_seed(0))
    assert float(renyi2_entropy(z, 1e-3, scale_free=False)) == pytest.approx(math.log(64), rel=1e-5)
    assert float(information_potential_log(z, 1e9)) == pytest.approx(0.0, abs=1e-5)


@pytest.mark.parametrize(("z", "sigma"), [(torch.zeros(4), 1.0), (torch.zeros(0, 3), 1.0), (torch.zeros(4, 2), 0.0)])
def test_refuses_what_makes_no_sense(z: torch.Tensor, sigma: float) -> None:
    with pytest.raises(ValueError, match="expected"):
        renyi2_entropy(z, sigma, scale_free=False)
