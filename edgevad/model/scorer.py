"""A model folder as a `Scorer`: the same pipeline runs torch on the host and engines on the device."""

from __future__ import annotations

from os import PathLike
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from edgevad.errors import BackendError
from edgevad.model.checkpoint import load_weights
from edgevad.model.folder import ModelFolder
from edgevad.model.scoring import ScoringModule
from edgevad.runtime.backends.backend import Scores
from edgevad.runtime.scorer import Scorer

__all__ = ["TorchBackend", "load_module", "scorer_from_model"]


class TorchBackend:
    """Scores with the torch module itself, on the CPU; `bank` (E, m, d + 1) float32 where the model has a memory."""

    batch: int | None = None

    def __init__(self, module: ScoringModule, bank: npt.NDArray[np.float32] | None = None) -> None:
        self._module = module.cpu().eval()
        self._bank = None if bank is None else torch.from_numpy(bank)

    @property
    def uses_motion(self) -> bool:
        return self._module.config.motion_channels > 0

    @torch.no_grad()
    def score(self, frames: npt.NDArray[np.uint8], motion: npt.NDArray[np.float32] | None) -> Scores:
        """See `Backend.score`."""
        inputs = [torch.from_numpy(np.ascontiguousarray(frames))]
        if motion is not None:
            inputs.append(torch.from_numpy(np.ascontiguousarray(motion, dtype=np.float32)))
        if self._bank is not None:
            inputs.append(self._bank)
        score, heatmap, latent = self._module(*inputs)
        return Scores(score.numpy(), heatmap.numpy(), latent.numpy())

    def remember(self, bank: npt.NDArray[np.float32]) -> None:
        """See `Backend.remember`."""
        shape = None if self._bank is None else tuple(self._bank.shape)
        if shape != bank.shape:
            raise BackendError(f"the model was given a bank of shape {bank.shape}", expected=f"{shape or 'none'}")
        self._bank = torch.from_numpy(np.array(bank, dtype=np.float32))

    def close(self) -> None:
        """Nothing to release."""


def load_module(folder: ModelFolder) -> ScoringModule:
    """The scoring module of a finished model, in evaluation mode.

    Raises:
        ModelError: the model is missing, unfinished or broken.
    """
    recipe, _ = folder.read_recipe()
    folder.require_finished()
    module = ScoringModule(recipe.model)
    load_weights(folder.weights, module)
    return module.eval()


def scorer_from_model(path: str | PathLike[str]) -> Scorer:
    """Open a model folder for scoring with torch.

    Raises:
        ModelError: the model is missing, unfinished or broken.
    """
    folder = ModelFolder(Path(path))
    module = load_module(folder)
    recipe, _ = folder.read_recipe()
    return Scorer(
        recipe.name,
        str(folder.path),
        recipe.model.input,
        folder.read_calibration(),
        TorchBackend(module, folder.read_bank() if module.memory is not None else None),
        folder.read_scores,
        "torch, fp32",
    )
