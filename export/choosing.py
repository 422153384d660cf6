"""From a model and a target to the graph that the target gets, with the reasons."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edgevad._extras import require
from edgevad._files import output_errors
from edgevad.calibration.frames import CalibrationFrames, Drives, choose_frames, read_drives
from edgevad.errors import CalibrationError, ExportError, GraphError, OptionError
from edgevad.evaluation.labels import read_labels
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


@dataclass(frozen=True)
class Chosen:
    """
    Attributes:
        choice: the graph, and what was tried.
        frames: the frames it was quantised by and tried on; None where nothing was quantised.
        reference: what the float32 graph says of the frames held out; None likewise.
        report: everything about them for `guard.json`; empty likewise.
        milliseconds: a frame's time on this machine's CPU by precision, where that was asked; else None.
        parser: what TensorRT-RTX's parser said of the graph, where it was asked; else None.
    """

    choice: Choice
    frames: CalibrationFrames | None = None
    drives: dict[str, Any] | None = None
    milliseconds: dict[str, float] | None = None
    parser: dict[str, Any] | None = None

    def summary(self) -> dict[str, Any]:
        """What the manifest says of it."""
        last = self.choice.attempts[-1] if self.choice.attempts else None
        passed = last is not None and last.agreement.passed
        return {
            "precision": self.choice.precision,
            "why": self.choice.why,
            "range_method": last.method if last is not None and passed else None,
            "float_layers": list(last.float_layers) if last is not None and passed else [],
            "agreement": last.agreement.to_json() if last is not None and passed else None,
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
    require("openvino", extra="openvino", needed_for="exporting for OpenVINO")
    return options.backend


def choose_graph(
    model: LoadedModel, target: Target, backend: str, options: ExportOptions, workplace: Path, observer: ExportObserver
) -> Chosen:
    """Decide on a precision and make its graph; `workplace` is a folder where frames may lie meanwhile.

    Raises:
        OptionError: the target does not compute in the precision that was asked for.
        CalibrationError: a precision was asked for, and there are no frames to judge it by.
        ExportError: the precision that was asked for would change what the car is told.
        GraphError: the graph has a form that the target's engine refuses.
    """
    precisions = _precisions(target, options)
    if not precisions:
        why = "FP32 was asked for." if options.precision == "fp32" else f"FP32: {target.name} computes in nothing else."
        chosen = Chosen(Choice("fp32", model.graph, why))
    else:
        chosen = _with_frames(model, target, backend, precisions, options, workplace, observer)
    choice = chosen.choice
    if options.precision not in ("auto", choice.precision):
        raise ExportError(
            f"{options.precision.upper()} would change what the car is told: {choice.why}",
            where=model.folder.path,
            fix="--precision auto takes the next one that does not",
        )
    if backend == "tensorrt":
        check_graph(
            choice.graph,
            opset_max=target.opset_max,
            static_shapes=target.static_batch,
            precision=choice.precision,
        )
        observer.stage("asking TensorRT-RTX's parser")
        chosen = replace(chosen, parser=_parser(choice.graph, target))
    return chosen


def _precisions(target: Target, options: ExportOptions) -> list[str]:
    """What to try, smallest first; float32 is what is left and not among it."""
    if options.precision not in ("auto", "fp32", *target.precisions):
        raise OptionError(
            f"target {target.name} does not compute in {options.precision}",
            expected="one of " + ", ".join(dict.fromkeys((*target.precisions, "fp32"))),
        )
    wanted = target.precisions if options.precision == "auto" else (options.precision,)
    return [precision for precision in wanted if precision in ("int8", "fp16")]


def _with_frames(
    model: LoadedModel,
    target: Target,
    backend: str,
    precisions: list[str],
    options: ExportOptions,
    workplace: Path,
    observer: ExportObserver,
) -> Chosen:
    style: QdqStyle = "onnxruntime" if backend == "onnxruntime" else "tensorrt"
    milliseconds = None
    if backend in _ON_CPU and precisions[0] == "int8":
        observer.stage("timing INT8 on this CPU")
        milliseconds = _milliseconds(model, backend, style)
        gain = milliseconds["fp32"] / milliseconds["int8"]
        if options.precision == "auto" and gain < LEAST_SPEEDUP:
            both = f"{milliseconds['int8']:.2f} ms a frame on this CPU instead of {milliseconds['fp32']:.2f} ms"
            return Chosen(
                Choice("fp32", model.graph, f"FP32: this net is too small for INT8 to pay, which takes {both}."),
                milliseconds=milliseconds,
            )
    sources = options.drives or tuple(model.recipe.sources)
    if not options.drives and not all(Path(source).exists() for source in sources):
        if options.precision != "auto":
            raise CalibrationError(
                f"{options.precision.upper()} needs frames to be judged by, and the training recordings are not there",
                where=sources[0],
                fix="Name a drive: --calib DRIVE",
            )
        why = "FP32: the training recordings are not there, and no drive was given to quantise by (--calib DRIVE)."
        return Chosen(Choice("fp32", model.graph, why), milliseconds=milliseconds)
    with output_errors(workplace), tempfile.TemporaryDirectory(dir=workplace, prefix=".edgevad-calibration-") as folder:
        observer.stage("reading the drives")
        fps_hz = options.fps_hz if options.drives else model.recipe.fps_hz
        drives = read_drives(sources, model.spec, Path(folder), fps_hz=fps_hz, progress=observer.advance)
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
            labels=_labels(drives, frames, options),
            limits=options.limits,
            kept=options.kept,
        )
        choice = choose_precision(subject, precisions, style, method=options.range_method, say=observer.stage)
        report = {"sources": list(sources), **frames.to_json(drives.cache)}
    return Chosen(choice, frames, report, milliseconds)


def _milliseconds(model: LoadedModel, backend: str, style: QdqStyle) -> dict[str, float]:
    """Ranges matter little for speed: those of the few frames that the model keeps will do."""
    graph = quick_int8(model.graph, model.sample, model.bank, style)
    engines = {name: model.backend(one, backend) for name, one in (("fp32", model.graph), ("int8", graph))}
    found = milliseconds_a_frame(engines, model.sample["frames"], model.sample.get("motion"))
    for engine in engines.values():
        engine.close()
    return {name: round(value, 4) for name, value in found.items()}


def _labels(drives: Drives, frames: CalibrationFrames, options: ExportOptions) -> npt.NDArray[np.int8] | None:
    """Levels of the held-out frames."""
    if options.labels is None:
        return None
    labels = read_labels(options.labels)
    last = int(drives.frame_index[-1])
    if last >= len(labels) and not labels.open_ended:
        raise labels.length_error(f"at least {last + 1}", drives.sources[0])
    return labels.covering(max(last + 1, len(labels)), drives.sources[0]).level[drives.frame_index[frames.held_out]]


def _parser(graph: bytes, target: Target) -> dict[str, Any] | None:
    """What TensorRT-RTX says of the graph; None where it is not installed, or could not be asked."""
    if not tensorrt_rtx_installed():
        return None
    found = check_with_tensorrt_rtx(graph, compute_capability=target.compute_capability)
    if found.crashed:
        return None
    if not (found.parsed and found.built):
        raise GraphError(
            f"TensorRT-RTX {found.version} refuses the graph ({'; '.join(found.messages[:2])})",
            fix="Try --precision fp32, and report this",
        )
    return found.to_json()
