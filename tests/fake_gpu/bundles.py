"""Bundles for the fake GPU: the tiny graph with a fixed batch and, on request, a bank."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper
from tiny import GRAY, WINDOW, tiny_frames, tiny_graph

from edgevad.bundle import Bundle, write_bundle
from edgevad.calibration import calibrate
from edgevad.runtime.preprocess import Preprocessor
from edgevad.spec import InputSpec
from edgevad.targets import load_target

SPEC = InputSpec(32, 32)
BANK = (5, 2, 4)


def static_graph(spec: InputSpec, *, batch: int = 1, gray: float = GRAY, wider: bool = False) -> bytes:
    """The tiny graph for `batch` frames; `gray` is its weight, `wider` gives it another structure.

    Where `spec` has a bank, the mean of it is added to the score.
    """
    model = onnx.load_from_string(tiny_graph(spec))
    graph = model.graph
    for value in (*graph.input, *graph.output):
        value.type.tensor_type.shape.dim[0].dim_value = batch
    side = 1 + (np.array([spec.height_px, spec.width_px]) - 8) // 4
    heat = next(value for value in graph.output if value.name == "heatmap").type.tensor_type.shape.dim
    heat[2].dim_value, heat[3].dim_value = (int(size) for size in side)
    weight = next(tensor for tensor in graph.initializer if tensor.name == "normal")
    weight.CopyFrom(numpy_helper.from_array(np.array(gray, np.float32), "normal"))
    if wider:
        graph.node.append(helper.make_node("Identity", ["levels"], ["nobody's"]))
    if spec.bank is not None:
        graph.input.append(helper.make_tensor_value_info("bank", TensorProto.FLOAT, spec.bank))
        last = next(node for node in graph.node if node.output[0] == "score")
        last.output[0] = "highest"
        graph.node.append(helper.make_node("ReduceMean", ["bank"], ["remembered"], keepdims=0))
        graph.node.append(helper.make_node("Add", ["highest", "remembered"], ["score"]))
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString())


def write_engine_bundle(
    path: Path,
    spec: InputSpec = SPEC,
    *,
    batch: int = 1,
    gray: float = GRAY,
    precision: str = "fp32",
    alarms_per_hour: float = 1.0,
    **profile: object,
) -> Bundle:
    """A bundle for TensorRT, calibrated on 200 frames of `tiny_frames`. `profile`: other fields of its target."""
    graph = static_graph(spec, batch=batch, gray=gray)
    bank = None
    if spec.bank is not None:
        bank = np.linspace(0, 1, int(np.prod(spec.bank)), dtype=np.float32).reshape(spec.bank)
    session = onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])
    prepare = Preprocessor(spec)
    items = [(item, frame.timestamp_ns) for frame in tiny_frames(200, seed=1) if (item := prepare(frame)) is not None]
    feeds: dict[str, np.ndarray] = {"frames": np.stack([item.image for item, _ in items])}
    if spec.motion is not None:
        feeds["motion"] = np.stack([item.motion for item, _ in items if item.motion is not None])
    remembered = {} if bank is None else {"bank": bank}
    score = np.concatenate(
        [
            session.run(["score"], {**{k: v[[i] * batch] for k, v in feeds.items()}, **remembered})[0][:1]
            for i in range(len(items))
        ]
    )
    stamps, segments = np.array([at for _, at in items], np.int64), np.zeros(len(items), np.int32)
    target = replace(load_target("cpu"), name="fake-orin", backend="tensorrt", static_batch=True, **profile)  # type: ignore[arg-type]
    return write_bundle(
        path,
        name="tiny",
        target=target,
        backend="tensorrt",
        precision=precision,
        graphs={"fp32": graph, precision: graph},
        input=spec,
        score="patch",
        calibration=calibrate(score, stamps, segments, WINDOW, alarms_per_hour, parts=("patch",)),
        provenance={"seed": 1},
        selftest={**{k: v[:4] for k, v in feeds.items()}, "score": score[:4]},
        selftest_rtol=1e-3,
        scores={"score": score, "timestamp_ns": stamps, "segment": segments},
        bank=bank,
    )
