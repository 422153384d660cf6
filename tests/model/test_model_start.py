"""An earlier model, written in the units of another recording."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from edgevad.errors import ModelError
from edgevad.model.cache import FrameCache
from edgevad.model.checkpoint import save_weights
from edgevad.model.config import ModelConfig
from edgevad.model.scoring import ScoringModule
from edgevad.model.start import WarmStart, restandardise
from edgevad.model.trainer import TrainConfig, Trainer

MODEL = ModelConfig(size_px=16, width=4, depth=2, latent=8, cell_px=4, motion="none")
TRAIN = TrainConfig(batch_size=16, learning_rate=5e-3, round_steps=5, max_rounds=5)


def drive(count: int = 120, light: float = 1.0) -> FrameCache:
    rng = np.random.default_rng(0)
    ramp = np.arange(16)
    phase = 2 * np.pi * np.arange(count)[:, None, None] / 40
    view = light * (120 + 60 * np.sin(ramp[:, None] / 4 + phase) + 30 * np.cos(ramp / 5 - phase))
    images = np.clip(view[..., None] + rng.normal(0, 4, (count, 16, 16, 3)), 0, 255).astype(np.uint8)
    return FrameCache(images, None, np.arange(count) * 100_000_000, np.zeros(count, np.int32), 0)


@pytest.mark.parametrize("changes", [{}, {"decoder": "conv"}, {"appearance": "color"}])
@torch.no_grad()
def test_other_units_change_nothing_inside_the_frame(changes: dict[str, str]) -> None:
    torch.manual_seed(0)
    module = ScoringModule(replace(MODEL, **changes))  # type: ignore[arg-type]
    channels = module.config.channels
    module.autoencoder.mean_frame.normal_()
    frames = torch.from_numpy(drive(4).images)
    raw = module.representation.raw(frames, None)
    before, latent = module.autoencoder(module.representation(frames))
    # At the image's edge the first convolution pads with another gray: compared where it sees no edge, it is exact.
    first = module.autoencoder.encoder[0]
    inside = first(module.representation(frames))[..., 1:, 1:]
    restandardise(module, torch.full((channels,), 0.3), torch.full((channels,), 0.7))
    after, latent_after = module.autoencoder(module.representation(frames))
    assert torch.allclose(first(module.representation(frames))[..., 1:, 1:], inside, atol=1e-4)
    given_back = module.autoencoder.decode(latent) * 0.7 + 0.3
    assert torch.allclose(given_back, before, atol=1e-4)  # the old units were those of the raw representation
    assert (latent_after - latent).abs().max() < 0.5
    assert raw.shape == after.shape


def test_a_warm_start_explains_its_own_recording_from_the_first_step(tmp_path: Path) -> None:
    trained = Trainer(MODEL, replace(TRAIN, learning_rate=1e-2, round_steps=20, max_rounds=12), drive())
    trained.fit()
    save_weights(tmp_path / "w.safetensors", trained.module)
    dark = drive(light=0.8)
    gentle = replace(TRAIN, learning_rate=1e-3)
    new, warm = (
        Trainer(MODEL, gentle, dark, start=start)
        for start in (None, WarmStart(tmp_path / "w.safetensors", "all", 0.02))
    )
    assert warm.controller.weight == 0.02
    assert not torch.equal(warm.module.representation.mean, trained.module.representation.mean)
    for trainer in (new, warm):
        trainer.fit()
    assert warm.history.rows[0]["explained"] > new.history.rows[0]["explained"] + 0.2
    assert warm.history.rows[0]["learning_rate"] == pytest.approx(1e-3 * 0.8)  # it rises slowly


def test_a_few_parameters_are_learnt_and_the_others_stay(tmp_path: Path) -> None:
    torch.manual_seed(0)
    save_weights(tmp_path / "w.safetensors", ScoringModule(MODEL))
    trainer = Trainer(MODEL, TRAIN, drive(), start=WarmStart(tmp_path / "w.safetensors", "few"))
    before = {name: value.clone() for name, value in trainer.module.autoencoder.named_parameters()}
    trainer.fit()
    changed = {n for n, value in trainer.module.autoencoder.named_parameters() if not torch.equal(value, before[n])}
    assert trainer.history.rows[0]["explained"] > 0.5  # the last layer begins where it gives the templates' coordinates
    assert changed == {"mean_frame", "encoder.5.weight", "encoder.5.bias"}


def test_weights_of_another_network_are_refused(tmp_path: Path) -> None:
    save_weights(tmp_path / "w.safetensors", ScoringModule(replace(MODEL, latent=4)))
    with pytest.raises(ModelError, match="do not fit"):
        Trainer(MODEL, TRAIN, drive(), start=WarmStart(tmp_path / "w.safetensors"))
    with pytest.raises(ModelError, match="no such file"):
        Trainer(MODEL, TRAIN, drive(), start=WarmStart(tmp_path / "none.safetensors"))


def test_frames_of_no_weight_are_never_looked_at() -> None:
    cache = drive()
    weight = (np.arange(120) < 60).astype(float)
    fine = weight[:, None, None, None] > 0
    white, black = (replace(cache, images=np.where(fine, cache.images, value).astype(np.uint8)) for value in (255, 0))
    ends = []
    for one in (white, black):
        trainer = Trainer(MODEL, TRAIN, one, weight=weight)
        trainer.fit()
        ends.append([value.clone() for value in trainer.module.autoencoder.parameters()])
    assert all(torch.equal(a, b) for a, b in zip(*ends, strict=True))
