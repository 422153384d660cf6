"""A model fitted to a rendered drive, small enough for tests and real enough to be quantised."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from edgevad.model.checkpoint import save_weights
from edgevad.model.config import ModelConfig
from edgevad.model.folder import ModelFolder, Recipe
from edgevad.model.scorer import load_module
from edgevad.model.scoring import ScoringModule
from edgevad.model.trainer import TrainConfig
from edgevad.model.training import Training
from edgevad.synth import SynthConfig, write_drive

DRIVE = SynthConfig(seconds=100, width_px=64, height_px=48, seed=3)
MODEL = ModelConfig(motion="none", size_px=32, width=8, depth=2, latent=12, decoder="conv", cell_px=8)
TRAIN = TrainConfig(max_rounds=6, round_steps=40, batch_size=32)
OUTLIER = 300.0


def write_trained(folder: Path, **changes: Any) -> Path:
    """A rendered drive at `folder`/drive and a model of it at `folder`/model; `changes` are to its `ModelConfig`."""
    drive = write_drive(DRIVE, folder / "drive")
    model = replace(MODEL, **changes)
    Training.start(Recipe((str(drive.video),), model, TRAIN, name="rendered"), folder / "model").run()
    return folder / "model"


def with_outlier_channels(model: Path) -> None:
    """Change the model at `model` so that it computes the same and quantises badly.

    One channel of the first layer becomes 300 times as large, and the next layer takes it back: with one range for all
    channels, 8 bits have nothing left for the others.
    """
    folder = ModelFolder(model)
    module = load_module(folder)
    first, second = module.autoencoder.encoder[0], module.autoencoder.encoder[2]
    with torch.no_grad():
        loudest = int(first.weight.abs().sum(dim=(1, 2, 3)).argmax())
        first.weight[loudest] *= OUTLIER
        first.bias[loudest] *= OUTLIER
        second.weight[:, loudest] /= OUTLIER
    save_weights(folder.weights, module)


def export_once(patch: pytest.MonkeyPatch) -> None:
    """Let `load_model` remember the graphs it made."""
    from edgevad.export import loaded_model
    from edgevad.export.onnx_from_model import onnx_from_model, remember_from_model

    kept: dict[bytes, Any] = {}

    def once(module: ScoringModule, how: tuple[Any, ...], make: Callable[[], bytes | None]) -> Any:
        digest = hashlib.sha256(repr((module.config, how)).encode())
        for name, values in sorted(module.state_dict().items()):
            digest.update(name.encode() + values.numpy().tobytes())
        key = digest.digest()
        if key not in kept:
            kept[key] = make()
        return kept[key]

    def graph(module: ScoringModule, *, bank: Any, batch: int | None) -> bytes:
        how = (batch, None if bank is None else bank.shape)
        return once(module, how, lambda: onnx_from_model(module, bank=bank, batch=batch))  # type: ignore[no-any-return]

    def remember(module: ScoringModule) -> bytes | None:
        return once(module, (), lambda: remember_from_model(module))  # type: ignore[no-any-return]

    patch.setattr(loaded_model, "onnx_from_model", graph)
    patch.setattr(loaded_model, "remember_from_model", remember)
