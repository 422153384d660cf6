"""From a model folder to what one target runs."""

from __future__ import annotations

from pathlib import Path

from edgevad.bundle.bundle import Bundle
from edgevad.bundle.members import MANIFEST_NAME
from edgevad.bundle.writing import write_bundle
from edgevad.errors import OptionError, OutputError
from edgevad.export.onnx_from_model import OPSET, onnx_from_model
from edgevad.model.folder import ModelFolder
from edgevad.model.scorer import TorchBackend, load_module
from edgevad.targets import Target

__all__ = ["bundle_for_target"]

# Of float32 in another order of summation.
_SELFTEST_RTOL = 1e-3


def bundle_for_target(model: str | Path, target: Target, out: str | Path, *, overwrite: bool = False) -> Bundle:
    """Write the bundle of the model folder `model` for `target` into the folder `out`, whole or not at all.

    Raises:
        ModelError: the model is missing, unfinished or broken.
        OptionError: the target cannot take the graph.
        OutputError: `out` is there already and `overwrite` is off, or cannot be written.
    """
    out = Path(out)
    if out.exists() and not overwrite:
        raise OutputError("is there already", where=out, fix="Choose another --out, or replace it with --overwrite")
    if out.is_dir() and any(out.iterdir()) and not (out / MANIFEST_NAME).is_file():
        raise OutputError("is no bundle, so --overwrite does not replace it", where=out, fix="Choose another --out")
    if target.opset_max < OPSET:
        raise OptionError(f"target {target.name} takes ONNX opset {target.opset_max}", expected=f"at least {OPSET}")
    folder = ModelFolder(model)
    module = load_module(folder)
    recipe, provenance = folder.read_recipe()
    selftest = folder.read_sample()
    bank = None if module.memory is None else folder.read_bank()
    backend = TorchBackend(module, bank)
    selftest["score"] = backend.score(selftest["frames"], selftest.get("motion")).score
    return write_bundle(
        out,
        name=recipe.name,
        target=target,
        backend=target.backend,
        precision="fp32",
        graphs={"fp32": onnx_from_model(module, bank=bank, batch=1 if target.static_batch else None)},
        input=recipe.model.input,
        score=recipe.model.score,
        calibration=folder.read_calibration(),
        provenance={**provenance, "sources": list(recipe.sources), "recipe": recipe.to_json()},
        selftest=selftest,
        selftest_rtol=_SELFTEST_RTOL,
        scores=folder.read_scores().arrays(),
        bank=bank,
    )
