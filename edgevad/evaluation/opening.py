"""A model or a bundle, whichever is there, ready to score."""

from __future__ import annotations

from os import PathLike
from pathlib import Path

from edgevad._extras import require
from edgevad.errors import EdgevadError, ModelError
from edgevad.runtime.scorer import Scorer

__all__ = ["open_scorer"]


def open_scorer(path: str | PathLike[str]) -> Scorer:
    """Open a bundle (scored with ONNX Runtime) or a model (with torch).

    Raises:
        ModelError: there is neither, or the model is unfinished or broken.
        BundleError: the bundle is broken.
        BackendError: the engine refuses the bundle.
        MissingExtraError: it is a model, and torch is not installed.
    """
    folder = Path(path)
    if (folder / "manifest.json").is_file():
        return Scorer.from_bundle(folder)
    if (folder / "config.json").is_file():
        for module in ("torch", "safetensors"):
            require(module, extra="train", needed_for="scoring with a model folder")
        from edgevad.model.scorer import scorer_from_model

        return scorer_from_model(folder)
    expected = "a model (config.json, weights.safetensors) or a bundle (manifest.json)"
    if not folder.exists():
        raise ModelError("no such folder", where=folder, expected=expected)
    raise _neither(folder, expected)


def _neither(folder: Path, expected: str) -> EdgevadError:
    what = "this folder holds neither a model nor a bundle" if folder.is_dir() else "this is not a folder"
    return ModelError(what, where=folder, expected=expected)
