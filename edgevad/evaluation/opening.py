"""A model or a bundle, whichever is there, ready to score."""

from __future__ import annotations

from os import PathLike
from pathlib import Path

from edgevad._extras import require
from edgevad._files import input_errors
from edgevad.bundle.archive import ARCHIVE_SUFFIX
from edgevad.errors import ModelError, OptionError
from edgevad.runtime.scorer import Scorer

__all__ = ["open_scorer"]


def open_scorer(path: str | PathLike[str], *, backend: str | None = None) -> Scorer:
    """Open a bundle, folder or file, or a model (scored with torch).

    `backend` is the engine that scores a bundle; None means the one it was made for.

    Raises:
        OptionError: there is no such backend, or one is named for a model.
        ModelError: there is neither, or the model is unfinished or broken.
        BundleError: the bundle is broken.
        BackendError: the engine refuses the bundle.
        MissingExtraError: it is a model, and torch is not installed, or the backend is not.
    """
    folder = Path(path)
    # A folder that may not be searched, or a name that cannot be one, fails already here.
    with input_errors(folder, ModelError):
        is_bundle, is_model = ((folder / name).is_file() for name in ("manifest.json", "config.json"))
        exists, is_folder = folder.exists(), folder.is_dir()
        is_bundle |= folder.suffix == ARCHIVE_SUFFIX and folder.is_file()
    if is_bundle:
        return Scorer.from_bundle(folder, backend=backend)
    if is_model:
        if backend is not None:
            raise OptionError(
                f"the backend {backend} was named for a model, which torch scores",
                where=folder,
                fix="Leave --backend out, or name a bundle made by edgevad export",
            )
        for module in ("torch", "safetensors"):
            require(module, extra="train", needed_for="scoring with a model folder")
        from edgevad.model.scorer import scorer_from_model

        return scorer_from_model(folder)
    expected = f"a model (config.json, weights.safetensors) or a bundle (manifest.json, or a {ARCHIVE_SUFFIX} file)"
    if not exists:
        raise ModelError("no such folder", where=folder, expected=expected)
    what = "this folder holds neither a model nor a bundle" if is_folder else "this is not a folder"
    raise ModelError(what, where=folder, expected=expected)
