"""What 8 bits are worth on this CPU: milliseconds a frame and bytes of each graph, in each engine that runs it.

One frame a call on one thread, as from a camera, of every preset at its own size and of `base` with the convolutional
decoder at 128 x 128, with its memory and without (`--score patch`). All engines of a model take turns; a turn's figure
is its fastest call, so that what other programs take of the machine falls out, and a ratio compares neighbours in time.
The networks are started from the recording's templates and not trained: speed and size do not depend on it.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch

from benchmarks._common import Row, add_json_option, data_file, guarded, in_turns, ratios, report
from benchmarks._subjects import cache_of
from edgevad._allocator import keep_freed_memory
from edgevad.export import onnx_from_model
from edgevad.export.half_from_onnx import half_from_onnx
from edgevad.export.precision import quick_int8
from edgevad.export.qdq_from_onnx import QdqStyle
from edgevad.model.config import PRESETS, ModelConfig, preset
from edgevad.model.recording_scores import score_recording
from edgevad.model.trainer import TrainConfig, Trainer
from edgevad.runtime.backends import Backend
from edgevad.runtime.backends.openvino import OpenVinoBackend
from edgevad.runtime.backends.ort import OnnxRuntimeBackend
from edgevad.spec import InputSpec

RECORDING = "donkey_track_1124/video.mp4"
CALIBRATION_FRAMES = 32
TURN_FRAMES = 8
SAMPLE_FPS_HZ = 1.0
CONV = "base, convolutional decoder, 128 px"
ALONE = f"{CONV}, network alone"
MODELS: dict[str, ModelConfig] = {
    **{name: preset(name, motion="none") for name in PRESETS},
    CONV: preset("base", motion="none", decoder="conv", size_px=128),
    ALONE: preset("base", motion="none", decoder="conv", size_px=128, score="patch"),
}
ORT_BAR = "ONNX Runtime, float32 / int8"
OPENVINO_BAR = "ONNX Runtime float32 / OpenVINO int8"
SIZE_BAR = "file, int8 / float32"


class Subject(NamedTuple):
    """A model as graphs by name ("fp32", "fp16", and int8 by style), and what they are fed."""

    graphs: dict[str, bytes]
    spec: InputSpec
    bank: npt.NDArray[np.float32] | None
    frames: npt.NDArray[np.uint8]


# Engine and graph of each arm.
ARMS: dict[str, tuple[type[OnnxRuntimeBackend | OpenVinoBackend], str]] = {
    "ONNX Runtime, fp32": (OnnxRuntimeBackend, "fp32"),
    "ONNX Runtime, int8": (OnnxRuntimeBackend, "onnxruntime"),
    "ONNX Runtime, int8 placed for TensorRT": (OnnxRuntimeBackend, "tensorrt"),
    "OpenVINO, fp32": (OpenVinoBackend, "fp32"),
    "OpenVINO, int8": (OpenVinoBackend, "openvino"),
    "OpenVINO, int8 placed for TensorRT": (OpenVinoBackend, "tensorrt"),
    "OpenVINO, int8 placed for ONNX Runtime": (OpenVinoBackend, "onnxruntime"),
}


def subject_of(config: ModelConfig, source: str | None, folder: Path, *, frames: int) -> Subject:
    sample_fps_hz = None if source is None else SAMPLE_FPS_HZ
    cache = cache_of(source, folder / "cache", config, frames=frames, sample_fps_hz=sample_fps_hz)
    module = Trainer(config, TrainConfig(device="cpu"), cache).module
    bank = None
    if module.memory is not None:
        bank = score_recording(module, cache).bank(np.ones(len(cache), np.bool_))
    fp32 = onnx_from_model(module, bank=bank)
    picked = np.linspace(0, len(cache) - 1, CALIBRATION_FRAMES).round().astype(np.int64)
    images = np.array(cache.images[picked])
    styles: tuple[QdqStyle, ...] = ("onnxruntime", "openvino", "tensorrt")
    int8 = {style: quick_int8(fp32, {"frames": images}, bank, style) for style in styles}
    spec = InputSpec(config.size_px, config.size_px)
    if bank is not None:
        spec = spec.with_bank(bank.shape)
    return Subject({"fp32": fp32, "fp16": half_from_onnx(fp32), **int8}, spec, bank, images)


def fastest_call(backend: Backend, frames: npt.NDArray[np.uint8]) -> Callable[[], float]:
    """Scores every frame by itself; the milliseconds of the fastest call."""

    def arm() -> float:
        least_s = np.inf
        for k in range(len(frames)):
            started_s = time.perf_counter()
            backend.score(frames[k : k + 1], None)
            least_s = min(least_s, time.perf_counter() - started_s)
        return 1e3 * float(least_s)

    return arm


def rows_of(name: str, subject: Subject, *, repeats: int) -> list[Row]:
    graphs = subject.graphs
    made: dict[str, Any] = {
        arm: kind(graphs[graph], subject.spec, where=Path(f"{graph}.onnx"), bank=subject.bank)
        for arm, (kind, graph) in ARMS.items()
    }
    frames = subject.frames[:TURN_FRAMES]
    values = in_turns({arm: fastest_call(backend, frames) for arm, backend in made.items()}, repeats)
    rows = [Row(f"{name}: {arm}", one, "ms") for arm, one in values.items()]
    fp32 = values["ONNX Runtime, fp32"]
    judged = name in (CONV, ALONE)
    faster = {"ONNX Runtime, int8": ORT_BAR, "OpenVINO, int8": OPENVINO_BAR}
    for arm, one in values.items():
        if arm != "ONNX Runtime, fp32":
            bar = faster.get(arm) if judged else None
            rows.append(Row(f"{name}: {arm}, times as fast as ONNX Runtime, fp32", ratios(fp32, one), bar=bar))
    rows.append(Row(f"{name}: file, fp32", [len(graphs["fp32"]) / 1e6], "MB"))
    for graph in ("fp16", "onnxruntime", "openvino", "tensorrt"):
        label = graph if graph == "fp16" else f"int8 placed for {graph}"
        share = len(graphs[graph]) / len(graphs["fp32"])
        bar = SIZE_BAR if judged and graph in ("onnxruntime", "openvino") else None
        rows.append(Row(f"{name}: file, {label}, share of fp32", [share], bar=bar))
    return rows


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="benchmarks.precision", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--source", help="recording (default: a real one if there, else frames made up here)")
    parser.add_argument("--frames", type=int, default=600, help="frames to make up, where there is none (default 600)")
    parser.add_argument("--repeats", type=int, default=25, help="turns of each (default 25)")
    parser.add_argument("--only", help="only models whose name contains this")
    add_json_option(parser)
    options = parser.parse_args(arguments)

    torch.set_num_threads(1)
    keep_freed_memory()
    real = data_file(RECORDING)
    source = options.source or (None if real is None else str(real))
    rows = []
    for name, config in MODELS.items():
        if options.only and options.only not in name:
            continue
        with tempfile.TemporaryDirectory(prefix="edgevad-bench-") as temporary:
            subject = subject_of(config, source, Path(temporary), frames=options.frames)
        rows += rows_of(name, subject, repeats=options.repeats)
    facts = {"openvino": version("openvino"), "threads": 1, "source": source or "frames made up here"}
    return report("precision", rows, as_json=options.json, facts=facts)


if __name__ == "__main__":
    sys.exit(guarded(main))
