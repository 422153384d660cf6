"""The pure functions behind benchmarks.curves; its figures are not for a test."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks._curve_report import as_table, cost_table, plot_cost, plot_curve, regret
from benchmarks._entropy_cost import fourier_entropy
from benchmarks._subsampling import common_count, most_frames, rows_with_share, stretches
from benchmarks._variants import SsimTrainer, ssim
from benchmarks.curves import CURVES, chosen_points
from edgevad.evaluation.labels import AMBIGUOUS, ANOMALY, NORMAL
from edgevad.model.cache import FrameCache
from edgevad.model.config import ModelConfig
from edgevad.model.entropy import renyi2_entropy, renyi_entropy
from edgevad.model.trainer import TrainConfig

LEVEL = np.repeat(np.array([NORMAL, ANOMALY, AMBIGUOUS, NORMAL, ANOMALY], np.int8), [95, 30, 20, 105, 50])
SEGMENT = np.repeat(np.array([0, 1]), [150, 150])
TIME_NS = np.arange(300, dtype=np.int64) * 100_000_000


def test_stretches_hold_two_seconds_of_one_level_and_segment_and_every_row_once() -> None:
    pieces = stretches(LEVEL, SEGMENT, TIME_NS)
    assert np.array_equal(np.concatenate(pieces), np.arange(300))
    for piece in pieces:
        assert 1 <= len(piece) <= 20
        assert len(set(LEVEL[piece])) == len(set(SEGMENT[piece])) == 1
    assert [len(piece) for piece in pieces[:7]] == [20, 20, 20, 20, 15, 20, 10]


@pytest.mark.parametrize("share", [0.05, 0.2, 0.6])
def test_a_share_is_met_to_the_frame_without_ambiguous_ones(share: float) -> None:
    count = common_count(200, 80, (0.05, 0.2, 0.6))
    assert count == 133  # 80 anomalous frames are 60 % of no more
    rows = rows_with_share(stretches(LEVEL, SEGMENT, TIME_NS), LEVEL, share, count, seed=1)
    assert len(rows) == count
    assert np.all(np.diff(rows) > 0)
    assert (LEVEL[rows] == ANOMALY).sum() == round(share * count)
    assert not (LEVEL[rows] == AMBIGUOUS).any()


def test_anomalies_of_a_smaller_share_are_among_those_of_a_larger_and_seeds_differ() -> None:
    pieces = stretches(LEVEL, SEGMENT, TIME_NS)
    few, many, others = (
        rows_with_share(pieces, LEVEL, *case) for case in ((0.1, 100, 0), (0.4, 100, 0), (0.4, 100, 1))
    )
    assert set(few[LEVEL[few] == ANOMALY]) <= set(many[LEVEL[many] == ANOMALY])
    assert not np.array_equal(many, others)


def test_a_share_that_the_recording_does_not_have_is_refused() -> None:
    assert most_frames(200, 80, 0.8) == 100
    with pytest.raises(ValueError, match="level 2"):
        rows_with_share(stretches(LEVEL, SEGMENT, TIME_NS), LEVEL, 0.8, 101, seed=0)


def result(x: str, seed: int, auroc: float) -> dict[str, object]:
    facts = {"frames": 10, "anomalies": 2, "explained": 0.8, "target": None, "weight": 0.1, "rounds": 9}
    return {"x": x, "seed": seed, "auroc": auroc, "residual": 1 - auroc, "training_s": 1.0, **facts}


RESULTS = [result("rule", 0, 0.8), result("0", 0, 0.7), result("1", 0, 0.95), result("1", 1, 0.75)]


def test_regret_is_the_best_mean_of_the_others_minus_the_rule() -> None:
    assert regret(RESULTS, "auroc") == (pytest.approx(0.05), "1")
    assert regret(RESULTS, "residual") == (pytest.approx(0.1), "0")
    assert regret(RESULTS[1:], "auroc") is None


def test_tables_and_pictures(tmp_path: Path) -> None:
    table = as_table(RESULTS, "weight")
    assert "| 1 | 10 (2) | 2 | **0.850 (0.750 to 0.950)** |" in table
    assert "+0.0500 (best of the others: weight 1)" in table
    plot_curve(RESULTS, "weight", "a curve", tmp_path / "curve.png")
    step = {"kind": "step", "batch": 64, "with_ms": 2.0, "without_ms": 1.0, "share": 0.5, "share_min": 0.4}
    cost = [{**step, "share_max": 0.6, "term_ms": 0.1, "matrix_mb": 0.016, "peak_mb": None}]
    assert "| 64 | 2.0 | 1.0 | 50.0% (40.0% to 60.0%) | 0.10 | 5.0% | 0.016 MB |  |" in cost_table(cost)
    plot_cost(cost, "cost", tmp_path / "cost.png")
    assert all((tmp_path / name).read_bytes().startswith(b"\x89PNG") for name in ("curve.png", "cost.png"))


def test_every_axis_has_points_of_different_names() -> None:
    for curve in CURVES.values():
        assert len({point.x for point in curve.points}) == len(curve.points) >= 2


def test_named_points_come_in_the_order_of_the_curve_and_an_unknown_one_is_refused() -> None:
    assert [point.x for point in chosen_points("ratio", ["40%", "10%"])] == ["10%", "40%"]
    assert chosen_points("ratio", None) == CURVES["ratio"].points
    with pytest.raises(ValueError, match="ratio has no point 11%; it has 2%, 5%"):
        chosen_points("ratio", ["10%", "11%"])


@pytest.fixture
def latents() -> torch.Tensor:
    return torch.randn(40, 6, generator=torch.Generator().manual_seed(3))


def test_order_two_is_the_quadratic_entropy(latents: torch.Tensor) -> None:
    assert float(renyi_entropy(latents, 2.0, 0.5)) == pytest.approx(float(renyi2_entropy(latents, 0.5)), rel=1e-5)


@pytest.mark.parametrize("alpha", [0.5, 1.01, 3.0])
def test_any_order_is_its_definition(latents: torch.Tensor, alpha: float) -> None:
    z = latents.double()
    density = torch.exp(-torch.cdist(z, z).square() / (4 * 0.8**2)).mean(1)
    expected = float((density ** (alpha - 1)).mean().log() / (1 - alpha))
    assert float(renyi_entropy(latents, alpha, 0.8, scale_free=False)) == pytest.approx(expected, rel=1e-3)


def test_entropy_falls_with_its_order_and_order_one_is_refused(latents: torch.Tensor) -> None:
    values = [float(renyi_entropy(latents, alpha)) for alpha in (0.5, 1.01, 2.0, 3.0)]
    assert values == sorted(values, reverse=True)
    with pytest.raises(ValueError, match="order"):
        renyi_entropy(latents, 1.0)


def test_many_random_features_come_to_the_entropy_of_all_pairs(latents: torch.Tensor) -> None:
    generator = torch.Generator().manual_seed(0)
    exact = float(renyi2_entropy(latents, 1.5, scale_free=False))
    assert float(fourier_entropy(latents, 1.5, 20_000, generator)) == pytest.approx(exact, abs=0.03)


def test_similarity_is_one_of_the_same_image_and_falls_with_noise() -> None:
    a = torch.rand(3, 1, 16, 16, generator=torch.Generator().manual_seed(0))
    noise = 0.1 * torch.randn(a.shape, generator=torch.Generator().manual_seed(1))
    assert torch.allclose(ssim(a, a), torch.ones(3))
    assert torch.all(ssim(a, a + 2 * noise) < ssim(a, a + noise))
    assert torch.all(ssim(a, a + noise) < 1)


def test_ssim_trainer_charges_one_for_the_mean_frame() -> None:
    images = np.random.default_rng(0).integers(0, 256, (20, 16, 16, 3), dtype=np.uint8)
    cache = FrameCache(images, None, TIME_NS[:20], np.zeros(20, np.int32), 0)
    model = ModelConfig(motion="none", size_px=16, width=2, depth=2, latent=4, cell_px=4)
    trainer = SsimTrainer(model, TrainConfig(batch_size=10, device="cpu"), cache)
    with torch.no_grad():
        x = trainer.module.representation(torch.from_numpy(images), None)
        mean = trainer.module.autoencoder.mean_frame.expand_as(x)
        assert float(trainer._reconstruction_term(x, mean, torch.zeros(()))) == pytest.approx(1.0, rel=1e-4)
        assert math.isclose(float(trainer._reconstruction_term(x, x, torch.zeros(()))), 0.0, abs_tol=1e-5)
