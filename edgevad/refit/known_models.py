"""Model folders of bundles: `adapt` and `refit` train on from weights, which no bundle holds.

$EDGEVAD_HOME/refit/models/<sha256 of the weights>/   what was re-fitted here, as long as a slot holds its bundle

A bundle's provenance names its model's weights by their SHA-256 (`model_sha256`, and where they lay, `model_path`), so
the folder it was exported from can be told from any other, wherever it lies.
"""

from __future__ import annotations

import os
import shutil
from contextlib import suppress
from pathlib import Path

from edgevad._files import atomic_directory, output_errors, sha256_of
from edgevad.bundle import Bundle
from edgevad.errors import OptionError, RefitError
from edgevad.refit.place import RefitHome

__all__ = ["find_model", "forget_models", "keep_model", "weights_of_bundle", "weights_of_model"]

WEIGHTS_NAME = "weights.safetensors"
_DIGITS = 64


def weights_of_model(model: Path) -> str:
    """SHA-256 of a model folder's weights, hexadecimal.

    Raises:
        RefitError: there is no finished model in the folder.
    """
    try:
        return sha256_of(model / WEIGHTS_NAME)
    except OSError as error:
        reason = error.strerror or error
        fix = "Name the folder that edgevad train made: --model FOLDER"
        raise RefitError(f"no finished model there ({reason})", where=model, fix=fix) from error


def weights_of_bundle(bundle: Bundle) -> str | None:
    """SHA-256 of the weights that a bundle was exported from; None where its provenance does not say."""
    named = bundle.manifest.provenance.get("model_sha256")
    return named if isinstance(named, str) and len(named) == _DIGITS else None


def find_model(bundle: Bundle, home: RefitHome, named: Path | None) -> Path:
    """The model folder of `bundle`: the one kept on this device, the one `named`, or the one its provenance names.

    What was kept comes first: `named` may be what the vehicle left the factory with, and be re-fitted since.

    Raises:
        OptionError: the one `named` is another bundle's.
        RefitError: none can be found.
    """
    wanted = weights_of_bundle(bundle)
    if wanted is not None and (kept := home.path / "models" / wanted).is_dir():
        return kept
    if named is not None:
        if wanted is not None and weights_of_model(named) != wanted:
            raise OptionError(
                "this is not the model that the bundle was exported from",
                where=named,
                expected=f"weights {wanted[:12]}…",
                fix="Name the bundle as well (--bundle), or the right folder",
            )
        return named
    path = bundle.manifest.provenance.get("model_path")
    if isinstance(path, str) and wanted is not None:
        with suppress(RefitError):
            if weights_of_model(Path(path)) == wanted:
                return Path(path)
    raise RefitError(
        "the model that the bundle was exported from is not on this machine, and adapt and refit train on from it",
        where=bundle.path,
        fix="Copy the model folder here and name it: --model FOLDER, or [refit] model; or use edgevad recalibrate",
    )


def keep_model(model: Path, home: RefitHome) -> Path:
    """Put a copy of a model folder where the next run finds it; files are linked where the disk allows.

    Raises:
        RefitError: there is no finished model in the folder.
        OutputError: it cannot be written.
    """
    kept = home.path / "models" / weights_of_model(model)
    if kept.is_dir():
        return kept
    with atomic_directory(kept) as staged:
        for file in sorted(model.iterdir()):
            if file.is_file() and not file.name.startswith("."):
                _link(file, staged / file.name)
    return kept


def forget_models(home: RefitHome, bundles: list[Bundle]) -> None:
    """Remove the kept models that none of these bundles was exported from. Raises OutputError."""
    wanted = {weights_of_bundle(bundle) for bundle in bundles}
    folder = home.path / "models"
    with output_errors(folder):
        for path in list(folder.iterdir()) if folder.is_dir() else []:
            if path.name not in wanted:
                shutil.rmtree(path, ignore_errors=True)


def _link(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except OSError:  # another disk, or one that knows no links
        shutil.copyfile(source, target)
