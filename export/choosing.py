"""From a model and a target to the graph that the target gets, with the reasons."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, replace
from itertools import takewhile
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edgevad._extras import require
from edgevad._files import output_errors
from edgevad.calibration.frames import CalibrationFrames, Drives, choose_frames, read_drives
from edgevad.errors import CalibrationError, ExportError, GraphError, OptionError
from edgevad.evaluation.labels import Labels, read_labels
from edgevad.export.lint import check_graph
from edgevad.export.loaded_model import LoadedModel
from edgevad.export.options import ExportObserver, ExportOptions
from edgevad.export.precision import Choice, Subject, choose_precision, quick_int8
from edgevad.export.qdq_from_onnx import QdqStyle
from edgevad.export.speed import milliseconds_a_frame
from edgevad.export.trt_check import check_with_tensorrt_rtx, tensorrt_rtx_installed
from edgevad.targets import Target

__all__ = ["Chosen", "backend_of", "choose_graph"]

_ON_CPU = ("onnxruntime", "openvino")
# INT8 that gains less than this on a CPU is not worth what it changes.
LEAST_SPEEDUP = 1.15
# How Q/DQ is placed for each engine.
_STYLES: dict[str, QdqStyle] = {"onnxruntime": "onnxruntime", "openvino": "openvino", "tensorrt": "tensorrt"}


@dataclass(frozen=True)
class Chosen:
    """
    Attributes:
        choice: the graph, and what was tried.
        frames: the frames it was quantised by and tried on; None where nothing was compared.
        drives: where they come from and which they are, for `guard.json`; None likewise.
        milliseconds: a frame's time on this machine's CPU by precision, where that was asked; else None.
        parser: what TensorRT-RTX's parser said of the graph; None where it was not asked.
    """

    choice: Choice
    frames: CalibrationFrames | None = None
    drives: dict[str, Any] | None = None
    milliseconds: dict[str, float] | None = None
    parser: dict[str, Any] | None = None

    def summary(self) -> dict[str, Any]:
        """What the manifest says of it."""
        taken = next((attempt for attempt in self.choice.attempts if attempt.agreement.passed), None)
        return {
            "precision": self.choice.precision,
            "why": self.choice.why,
            "range_method": None if taken is None else taken.method,
            "float_layers": [] if taken is None else list(taken.float_layers),
            "agreement": None if taken is None else taken.agreement.to_json(),
            "attempts": len(self.choice.attempts),
            "calibration_frames": 0 if self.frames is None else len(self.frames.chosen),
            "milliseconds_a_frame": self.milliseconds,
            "tensorrt_rtx": self.parser,
        }

    def report(self, options: ExportOptions) -> dict[str, Any]:
        """Everything, for `guard.json`."""
        return {
            **self.choice.to_json(),
            "limits": options.limits.to_json(),
            "drives": self.drives,
            "milliseconds_a_frame": self.milliseconds,
            "tensorrt_rtx": self.parser,
        }


def backend_of(target: Target, options: ExportOptions) -> str:
    """The inference engine that the bundle is for.

    Raises:
        OptionError: the target does not run the one that was asked for.
        MissingExtraError: it is not installed here, where the graph is tried.
    """
    if options.backend is None or options.backend == target.backend:
        return target.backend
    if target.backend not in _ON_CPU or options.backend not in _ON_CPU:
        expected = " or ".join(_ON_CPU) if target.backend in _ON_CPU else target.backend
        raise OptionError(f"target {target.name} does not run {options.backend!r}", expected=expected)
    if options.backend == "openvino":
        require("openvino", extra="openvino", needed_for="exporting for OpenVINO")
    return options.backend


def choose_graph(
    model: LoadedModel, target: Target, backend: str, options: ExportOptions, workplace: Path, observer: ExportObserver
) -> Chosen:
    """Decide on a precision and make its graph; `workplace` is a folder where frames may lie meanwhile.

    With precision "auto", and no drive named, float32 is what is left where the training recordings cannot be used.

    Raises:
        OptionError: the target does not compute in the precision that was asked for.
        CalibrationError: drives were named, or a precision asked for, and the frames to judge it by are not there.
        LabelError: the labels cannot be read, or are not those of the drive.
        ExportError: the precision that was asked for would change what the car is told.
        GraphError: the graph has a form that the target's engine refuses.
    """
    precisions = _precisions(target, options)
    labels = None if options.labels is None else read_labels(options.labels)
    if backend == "tensorrt":
        _lint(model.graph, target, "fp32")
    chosen = None
    if not precisions:
        chosen = Chosen(Choice("fp32", model.graph, _why_nothing_is_tried(target, options)))
    milliseconds = None
    if chosen is None and backend in _ON_CPU and precisions[0] == "int8":
        observer.stage("timing INT8 on this CPU")
        milliseconds = _milliseconds(model, backend, _STYLES[backend])
        if options.precision == "auto" and milliseconds["fp32"] < LEAST_SPEEDUP * milliseconds["int8"]:
            both = f"{milliseconds['int8']:.2f} ms a frame on this CPU instead of {milliseconds['fp32']:.2f} ms"
            why = f"FP32: this net is too small for INT8 to pay, which takes {both}."
            chosen = Chosen(Choice("fp32", model.graph, why), milliseconds=milliseconds)
    if chosen is None:
        try:
            chosen = _compared(model, backend, precisions, options, labels, workplace, observer)
        except CalibrationError as error:
            if options.precision != "auto" or options.drives:
                raise
            why = f"FP32: the training recordings cannot be quantised by ({error.what}); name a drive with --calib."
            chosen = Chosen(Choice("fp32", model.graph, why))
        chosen = replace(chosen, milliseconds=milliseconds)
    choice = chosen.choice
    if options.precision not in ("auto", choice.precision):
        raise ExportError(
            f"{options.precision.upper()} would change what the car is told: {choice.why}",
            where=model.folder.path,
            fix="--precision auto takes the next one that does not",
        )
    if backend == "tensorrt":
        _lint(choice.graph, target, choice.precision)
        chosen = replace(chosen, parser=_parser(choice.graph, target, observer))
    return chosen


def _precisions(target: Target, options: ExportOptions) -> list[str]:
    """What to try, in the target's order; float32 is what is left where none of it passes, or where it comes first."""
    if options.precision not in ("auto", "fp32", *target.precisions):
        raise OptionError(
            f"target {target.name} does not compute in {options.precision}",
            expected="one of " + ", ".join(dict.fromkeys((*target.precisions, "fp32"))),
        )
    wanted = target.precisions if options.precision == "auto" else (options.precision,)
    return list(takewhile(lambda precision: precision != "fp32", wanted))


def _why_nothing_is_tried(target: Target, options: ExportOptions) -> str:
    if options.precision == "fp32":
        return "FP32 was asked for."
    if set(target.precisions) == {"fp32"}:
        return f"FP32: {target.name} computes in nothing else."
    return f"FP32: {target.name}'s profile prefers it."


def _compared(
    model: LoadedModel,
    backend: str,
    precisions: list[str],
    options: ExportOptions,
    labels: Labels | None,
    workplace: Path,
    observer: ExportObserver,
) -> Chosen:
    """Read the drives, choose frames, and take the first precision that the guard lets pass."""
    with output_errors(workplace):
        workplace.mkdir(parents=True, exist_ok=True)
    with output_errors(workplace), tempfile.TemporaryDirectory(dir=workplace, prefix=".edgevad-calibration-") as folder:
        observer.stage("reading the drives")
        drives = _drives(model, options, Path(folder), observer)
        observer.stage("choosing calibration frames", len(drives.cache))
        reference = model.backend(model.graph)
        frames = choose_frames(drives.cache, reference, model.calibration, options.calibration_frames, observer.advance)
        reference.close()
        subject = Subject(
            graph=model.graph,
            spec=model.spec,
            bank=model.bank,
            calibration=model.calibration,
            cache=drives.cache,
            frames=frames,
            open_backend=lambda graph: model.backend(graph, backend),
            labels=None if labels is None else _held_out_levels(labels, drives, frames),
            limits=options.limits,
            kept=options.kept,
        )
        style = _STYLES[backend]
        choice = choose_precision(subject, precisions, style, method=options.range_method, say=observer.stage)
        return Chosen(choice, frames, {"sources": list(drives.sources), **frames.to_json(drives.cache)})


def _drives(model: LoadedModel, options: ExportOptions, folder: Path, observer: ExportObserver) -> Drives:
    """The drives that were named, or the recordings the model was trained on, read as they were then."""
    if options.drives:
        return read_drives(options.drives, model.spec, folder, fps_hz=options.fps_hz, progress=observer.advance)
    recipe = model.recipe
    if (frames := options.frames) is not None:
        return Drives(recipe.sources, frames, np.arange(len(frames), dtype=np.int64), len(frames))
    return read_drives(
        recipe.sources,
        model.spec,
        folder,
        fps_hz=recipe.fps_hz,
        include_deleted=recipe.include_deleted,
        sample_fps_hz=recipe.sample_fps_hz,
        progress=observer.advance,
    )


def _milliseconds(model: LoadedModel, backend: str, style: QdqStyle) -> dict[str, float]:
    """Ranges matter little for speed: those of the few frames that the model keeps will do."""
    graph = quick_int8(model.graph, model.sample, model.bank, style)
    engines = {name: model.backend(one, backend) for name, one in (("fp32", model.graph), ("int8", graph))}
    found = milliseconds_a_frame(engines, model.sample["frames"], model.sample.get("motion"))
    for engine in engines.values():
        engine.close()
    return {name: round(value, 4) for name, value in found.items()}


def _held_out_levels(labels: Labels, drives: Drives, frames: CalibrationFrames) -> npt.NDArray[np.int8]:
    return labels.covering(drives.frame_count, drives.sources[0]).level[drives.frame_index[frames.held_out]]


def _lint(graph: bytes, target: Target, precision: str) -> None:
    check_graph(graph, opset_max=target.opset_max, static_shapes=target.static_batch, precision=precision)


def _parser(graph: bytes, target: Target, observer: ExportObserver) -> dict[str, Any] | None:
    """What TensorRT-RTX says of the graph; None where it is not installed."""
    if not tensorrt_rtx_installed():
        return None
    observer.stage("asking TensorRT-RTX's parser")
    found = check_with_tensorrt_rtx(graph, compute_capability=target.compute_capability)
    if not (found.crashed or (found.parsed and found.built)):
        raise GraphError(
            f"TensorRT-RTX {found.version} refuses the graph ({'; '.join(found.messages[:2])})",
            fix="Try --precision fp32, and report this",
        )
    return found.to_json()
