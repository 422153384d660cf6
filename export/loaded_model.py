"""A model folder, read once for everything an export needs of it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edgevad import __version__
from edgevad._files import sha256_of
from edgevad.bundle.manifest import Calibration
from edgevad.export.onnx_from_model import onnx_from_model, remember_from_model
from edgevad.model.folder import ModelFolder, Recipe
from edgevad.model.scorer import TorchBackend, load_module
from edgevad.runtime.backends.backend import Backend
from edgevad.runtime.backends.opening import cpu_backend
from edgevad.spec import InputSpec

__all__ = ["LoadedModel", "load_model"]


@dataclass(frozen=True)
class LoadedModel:
    """
    Attributes:
        folder, recipe: where it lies, and what it was made from.
        provenance: what a bundle says of where it comes from.
        spec: shapes of the graph's inputs, the bank's among them.
        calibration: windows, parts, threshold.
        bank: the graph's `bank` input, or None.
        sample: a few frames as the graph takes them: `frames` and, where the model uses it, `motion`.
        graph: the scoring graph in float32.
        remember: the graph from frames to what the bank keeps of them, or None.
        torch: the model itself.
    """

    folder: ModelFolder
    recipe: Recipe
    provenance: dict[str, Any]
    spec: InputSpec
    calibration: Calibration
    bank: npt.NDArray[np.float32] | None
    sample: dict[str, npt.NDArray[Any]]
    graph: bytes
    remember: bytes | None
    torch: TorchBackend

    def backend(self, graph: bytes, name: str = "onnxruntime") -> Backend:
        """A graph of this model in an inference engine of this machine: "openvino", else ONNX Runtime."""
        return cpu_backend(name, graph, self.spec, where=self.folder.path / "model.onnx", bank=self.bank)


def load_model(path: str | Path, *, batch: int | None) -> LoadedModel:
    """Read the model folder `path` and export its graph for `batch` frames a call, or any number.

    Raises:
        ModelError: the model is missing, unfinished or broken.
    """
    folder = ModelFolder(path)
    module = load_module(folder)
    recipe, provenance = folder.read_recipe()
    bank = None if module.memory is None else folder.read_bank()
    return LoadedModel(
        folder,
        recipe,
        {
            **provenance,
            "edgevad_version": __version__,
            "model_sha256": sha256_of(folder.weights),
            "model_path": str(folder.path.absolute()),
            "sources": list(recipe.sources),
            "recipe": recipe.to_json(),
        },
        recipe.model.input if bank is None else recipe.model.input.with_bank(bank.shape),
        folder.read_calibration(),
        bank,
        folder.read_sample(),
        onnx_from_model(module, bank=bank, batch=batch),
        remember_from_model(module),
        TorchBackend(module, bank),
    )
