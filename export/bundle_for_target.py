"""From a model folder to what one target runs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edgevad.bundle import Bundle, write_bundle
from edgevad.bundle.replay import BUNDLE_BYTES, BUNDLE_FRAMES, Replay
from edgevad.bundle.writing import require_place
from edgevad.errors import OptionError
from edgevad.export.choosing import Chosen, backend_of, choose_graph
from edgevad.export.loaded_model import LoadedModel, load_model
from edgevad.export.onnx_from_model import OPSET
from edgevad.export.options import ExportObserver, ExportOptions
from edgevad.report.guard_view import guard_png
from edgevad.runtime.backends.backend import Backend
from edgevad.runtime.selftest import SELFTEST_RTOL
from edgevad.targets import Target

__all__ = ["bundle_for_target"]


def bundle_for_target(
    model: str | Path,
    target: Target,
    out: str | Path,
    *,
    options: ExportOptions | None = None,
    overwrite: bool = False,
    observer: ExportObserver | None = None,
) -> Bundle:
    """Write the bundle of the model folder `model` for `target` to `out`, whole or not at all.

    `out` is a folder, or one file where its name ends in ".edgevad". The manifest's `guard` says which precision was
    chosen and why; `guard.json` and, where graphs were compared, `guard.png` hold the whole report.

    Raises:
        ModelError: the model is missing, unfinished or broken.
        OptionError: the target cannot take what is asked for.
        CalibrationError: a precision was asked for, and there are no frames to judge it by.
        ExportError: the precision that was asked for would change what the car is told, or an engine refuses its graph.
        OutputError: `out` is there already and `overwrite` is off, or cannot be written.
    """
    options, observer = options or ExportOptions(), observer or ExportObserver()
    out = Path(out)
    require_place(out, overwrite=overwrite)
    if target.opset_max < OPSET:
        raise OptionError(f"target {target.name} takes ONNX opset {target.opset_max}", expected=f"at least {OPSET}")
    backend = backend_of(target, options)
    observer.stage("exporting the graph")
    read = load_model(model, batch=1 if target.static_batch else None)
    chosen = choose_graph(read, target, backend, options, out.absolute().parent, observer)
    choice = chosen.choice
    observer.stage("writing the bundle")
    selftest = {**read.sample, "score": _selftest_score(read, choice.precision, choice.graph)}
    return write_bundle(
        out,
        name=read.recipe.name,
        target=target,
        backend=backend,
        precision=choice.precision,
        graphs={"fp32": read.graph, choice.precision: choice.graph},
        input=read.recipe.model.input,
        score=read.recipe.model.score,
        calibration=read.calibration,
        provenance=read.provenance,
        selftest=selftest,
        selftest_rtol=SELFTEST_RTOL[choice.precision],
        scores=read.folder.read_scores().arrays(),
        bank=read.bank,
        remember=read.remember,
        replay=_replay(read) if options.replay else None,
        guard=chosen.summary(),
        extra=_reports(chosen, options, read),
    )


def _selftest_score(model: LoadedModel, precision: str, graph: bytes) -> npt.NDArray[np.float32]:
    """What the sample must score: by torch itself, or, where its digits were given up, by the graph frame by frame."""
    backend: Backend = model.torch if precision == "fp32" else model.backend(graph)
    frames, motion = model.sample["frames"], model.sample.get("motion")
    rows = [slice(k, k + 1) for k in range(len(frames))]
    scores = [backend.score(frames[row], None if motion is None else motion[row]).score for row in rows]
    backend.close()
    return np.concatenate(scores)


def _replay(model: LoadedModel) -> Replay | None:
    kept = model.folder.read_replay()
    return None if kept is None else kept.thinned(BUNDLE_FRAMES, BUNDLE_BYTES)


def _reports(chosen: Chosen, options: ExportOptions, model: LoadedModel) -> dict[str, bytes]:
    report: dict[str, Any] = chosen.report(options)
    found = {"guard.json": (json.dumps(report, indent=2, allow_nan=False) + "\n").encode()}
    if chosen.frames is not None:
        found["guard.png"] = guard_png(chosen.choice, chosen.frames.reference, model.calibration)
    return found
