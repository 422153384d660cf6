"""A bundle of a few kilobytes that remembers: a frame's coordinates are its mean colours.

Its one score is the squared distance to the nearest that is remembered.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper

from edgevad.bundle import Bundle, write_bundle
from edgevad.bundle.replay import Replay
from edgevad.calibration import calibrate
from edgevad.model.bank import BankPlan
from edgevad.model.cache import FrameCache
from edgevad.refit.elsewhere import score_elsewhere
from edgevad.runtime.backends.ort import OnnxRuntimeBackend
from edgevad.runtime.window import WindowSpec
from edgevad.spec import InputSpec
from edgevad.targets import load_target

SIZE = 16
SPEC = InputSpec(SIZE, SIZE)
WINDOW = WindowSpec("mean", 0.5)
HZ = 10


def recording(seconds: float, *, color: tuple[int, int, int] = (100, 100, 100), seed: int = 0) -> FrameCache:
    """Ten frames a second whose colour goes round and round about `color`, as a course of laps does."""
    count = int(seconds * HZ)
    rng = np.random.default_rng(seed)
    lap = 2 * np.pi * np.arange(count) / 70.0
    means = np.array(color) + 12 * np.stack([np.sin(lap), np.cos(lap), np.sin(2 * lap)], axis=1)
    means = means + rng.normal(0, 1.5, means.shape)
    noise = rng.normal(0, 4, (count, SIZE, SIZE, 3))
    images = np.clip(means[:, None, None, :] + noise, 0, 255).astype(np.uint8)
    times = np.arange(count, dtype=np.int64) * (1_000_000_000 // HZ)
    return FrameCache(images, None, times, np.zeros(count, np.int32), 0)


def coordinates(images: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    """What the small graph makes of frames: (N, 3)."""
    return np.asarray(images.astype(np.float32).mean(axis=(1, 2)) / 10.0, dtype=np.float32)


def write_remembering_bundle(path: Path, cache: FrameCache, *, shape: tuple[int, int] = (10, 20)) -> Bundle:
    """A bundle that remembers `cache`, in a bank of `shape` episodes and entries, and is calibrated on it."""
    plan = BankPlan.of(cache.elapsed_s())
    full = plan.bank(coordinates(cache.images))
    rows = np.linspace(0, full.shape[1] - 1, shape[1]).round().astype(int)
    picked = np.linspace(0, full.shape[0] - 1, shape[0]).round().astype(int)
    bank = np.ascontiguousarray(full[picked][:, rows])
    times_s = cache.elapsed_s()[plan.frames[picked][:, rows]]
    spec = SPEC.with_bank(bank.shape)
    engine = OnnxRuntimeBackend(_graph(shape), spec, where=path, bank=bank)
    score = score_elsewhere(engine, cache, bank, times_s, plan.apart_s)
    calibration = calibrate(score, cache.timestamp_ns, cache.segment, WINDOW, 1.0, parts=("view",))
    frames = np.ascontiguousarray(cache.images[::60][:8])
    replay = Replay.of(cache, score[:, 0], np.ones(len(cache), np.bool_), frames=100, max_bytes=1 << 20)
    return write_bundle(
        path,
        name="remembering",
        target=load_target("cpu"),
        backend="onnxruntime",
        precision="fp32",
        graphs={"fp32": _graph(shape)},
        input=SPEC,
        score="parts",
        calibration=calibration,
        provenance={"sources": ["first.mp4"]},
        selftest={"frames": frames, "score": engine.score(frames, None).score},
        selftest_rtol=5e-2,
        scores={"score": score, "timestamp_ns": cache.timestamp_ns, "segment": cache.segment},
        bank=bank,
        remember=_remember(),
        replay=replay,
    )


def _means() -> list[onnx.NodeProto]:
    return [
        helper.make_node("Cast", ["frames"], ["colors"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["colors"], ["means"], axes=[1, 2], keepdims=0),
        helper.make_node("Div", ["means", "ten"], ["coordinates"]),
    ]


def _model(
    nodes: list[onnx.NodeProto],
    inputs: list[str],
    outputs: list[tuple[str, list[object]]],
    constants: list[object],
    shape: tuple[int, int] = (1, 1),
) -> bytes:
    infos = {
        "frames": helper.make_tensor_value_info("frames", TensorProto.UINT8, ["N", SIZE, SIZE, 3]),
        "bank": helper.make_tensor_value_info("bank", TensorProto.FLOAT, [*shape, 4]),
    }
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in outputs]
    graph = helper.make_graph(nodes, "remembering", [infos[name] for name in inputs], ends, constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString())


def _remember() -> bytes:
    constants = [helper.make_tensor("ten", TensorProto.FLOAT, [], [10.0])]
    return _model(_means(), ["frames"], [("coordinates", ["N", 3])], constants)


def _graph(shape: tuple[int, int]) -> bytes:
    nodes = [
        *_means(),
        helper.make_node("Identity", ["coordinates"], ["latent"]),
        helper.make_node("Mul", ["coordinates", "coordinates"], ["squares"]),
        helper.make_node("ReduceSum", ["squares", "one"], ["square"], keepdims=1),
        helper.make_node("Mul", ["coordinates", "minus_two"], ["doubled"]),
        helper.make_node("Mul", ["square", "zero"], ["nothing"]),
        helper.make_node("Add", ["nothing", "unit"], ["ones"]),
        helper.make_node("Concat", ["doubled", "ones"], ["query"], axis=1),
        helper.make_node("Reshape", ["bank", "entries"], ["rows"]),
        helper.make_node("Transpose", ["rows"], ["columns"], perm=[1, 0]),
        helper.make_node("MatMul", ["query", "columns"], ["products"]),
        helper.make_node("Add", ["products", "square"], ["distances"]),
        helper.make_node("ReduceMin", ["distances"], ["nearest"], axes=[1], keepdims=1),
        helper.make_node("Max", ["nearest", "zero"], ["score"]),
        helper.make_node("ReduceMean", ["colors"], ["gray"], axes=[3], keepdims=0),
        helper.make_node("Unsqueeze", ["gray", "one"], ["gray4"]),
        helper.make_node("AveragePool", ["gray4"], ["heatmap"], kernel_shape=[8, 8], strides=[4, 4]),
    ]
    constants = [
        helper.make_tensor("ten", TensorProto.FLOAT, [], [10.0]),
        helper.make_tensor("minus_two", TensorProto.FLOAT, [], [-2.0]),
        helper.make_tensor("zero", TensorProto.FLOAT, [], [0.0]),
        helper.make_tensor("unit", TensorProto.FLOAT, [], [1.0]),
        helper.make_tensor("one", TensorProto.INT64, [1], [1]),
        helper.make_tensor("entries", TensorProto.INT64, [2], [-1, 4]),
    ]
    outputs: list[tuple[str, list[object]]] = [
        ("score", ["N", 1]),
        ("heatmap", ["N", 1, "hh", "hw"]),
        ("latent", ["N", 3]),
    ]
    return _model(nodes, ["frames", "bank"], outputs, constants, shape)
