"""A bundle of a few bytes with a real graph: one part, the largest local deviation from one gray level."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
from onnx import TensorProto, helper

from edgevad.bundle import Bundle, write_bundle
from edgevad.bundle.replay import Replay
from edgevad.calibration import calibrate
from edgevad.runtime.preprocess import Preprocessor
from edgevad.runtime.window import WindowSpec
from edgevad.sources import Frame
from edgevad.spec import InputSpec
from edgevad.targets import load_target

GRAY = 0.4
FPS_HZ = 10.0
WINDOW = WindowSpec("mean", 0.5)


def tiny_graph(spec: InputSpec) -> bytes:
    """frames [, motion] -> score, heatmap, latent, as an ONNX file."""
    height, width = spec.height_px, spec.width_px
    inputs = [helper.make_tensor_value_info("frames", TensorProto.UINT8, ["N", height, width, 3])]
    nodes = [
        helper.make_node("Cast", ["frames"], ["colors"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["colors"], ["latent"], axes=[1, 2], keepdims=0),
        helper.make_node("ReduceMean", ["colors"], ["levels"], axes=[3], keepdims=0),
        helper.make_node("Div", ["levels", "white"], ["gray"]),
        helper.make_node("Sub", ["gray", "normal"], ["deviation"]),
        helper.make_node("Mul", ["deviation", "deviation"], ["appearance"]),
    ]
    if spec.motion is not None:
        shape = ["N", height, width, spec.motion.channels]
        inputs.append(helper.make_tensor_value_info("motion", TensorProto.FLOAT, shape))
        nodes += [
            helper.make_node("ReduceMean", ["motion"], ["moved"], axes=[3], keepdims=0),
            helper.make_node("Div", ["moved", "white"], ["moving"]),
            helper.make_node("Add", ["appearance", "moving"], ["error"]),
        ]
    else:
        nodes.append(helper.make_node("Identity", ["appearance"], ["error"]))
    nodes += [
        helper.make_node("Unsqueeze", ["error", "one"], ["error4"]),
        helper.make_node("AveragePool", ["error4"], ["pooled"], kernel_shape=[8, 8], strides=[4, 4]),
        helper.make_node("Identity", ["pooled"], ["heatmap"]),
        helper.make_node("ReduceMax", ["heatmap"], ["score"], axes=[2, 3], keepdims=0),
    ]
    constants = [
        helper.make_tensor("white", TensorProto.FLOAT, [], [255.0]),
        helper.make_tensor("normal", TensorProto.FLOAT, [], [GRAY]),
        helper.make_tensor("one", TensorProto.INT64, [1], [1]),
    ]
    outputs = [
        helper.make_tensor_value_info("score", TensorProto.FLOAT, ["N", 1]),
        helper.make_tensor_value_info("heatmap", TensorProto.FLOAT, ["N", 1, "hh", "hw"]),
        helper.make_tensor_value_info("latent", TensorProto.FLOAT, ["N", 3]),
    ]
    graph = helper.make_graph(nodes, "tiny", inputs, outputs, constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString())


def tiny_frames(
    count: int, *, anomalies: range = range(0), seed: int = 0, size: tuple[int, int] = (64, 48)
) -> Iterator[Frame]:
    """`count` frames of gray noise, (width, height) px, 10 Hz; a white square stands in those of `anomalies`."""
    rng = np.random.default_rng(seed)
    width, height = size
    for index in range(count):
        level = 255 * GRAY + rng.normal(0, 3)
        image = np.clip(level + rng.normal(0, 8, (height, width, 3)), 0, 255).astype(np.uint8)
        if index in anomalies:
            image[height // 4 : height // 2, width // 4 : width // 2] = 255
        yield Frame(image, index, round(index * 1e9 / FPS_HZ), "tiny", 0)


def write_tiny_bundle(path: Path, spec: InputSpec, *, replay: Replay | None = None) -> Bundle:
    """Export the tiny graph, calibrated on 600 frames of `tiny_frames`, with the frames `replay`."""
    graph = tiny_graph(spec)
    session = onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])
    prepare = Preprocessor(spec)
    inputs: list[dict[str, npt.NDArray[np.generic]]] = []
    times: list[int] = []
    for frame in tiny_frames(600, seed=1):
        item = prepare(frame)
        if item is not None:
            motion = {} if item.motion is None else {"motion": item.motion[None]}
            inputs.append({"frames": item.image[None], **motion})
            times.append(frame.timestamp_ns)
    score = np.array([session.run(["score"], feeds)[0][0] for feeds in inputs], np.float32)
    stamps = np.array(times, np.int64)
    segments = np.zeros(len(times), np.int32)
    selftest = {name: np.concatenate([feeds[name] for feeds in inputs[:4]]) for name in inputs[0]}
    return write_bundle(
        path,
        name="tiny",
        target=load_target("cpu"),
        backend="onnxruntime",
        precision="fp32",
        graphs={"fp32": graph},
        input=spec,
        score="patch",
        calibration=calibrate(score, stamps, segments, WINDOW, 1.0, parts=("patch",)),
        provenance={"seed": 1},
        selftest={**selftest, "score": score[:4]},
        selftest_rtol=1e-3,
        scores={"score": score, "timestamp_ns": stamps, "segment": segments},
        replay=replay,
    )


def file_entry(data: bytes) -> dict[str, Any]:
    """What a manifest says of a file with these bytes."""
    return {"sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)}


def put_file(folder: Path, name: str, data: bytes) -> None:
    """Replace or add a file of the bundle in `folder`, and let its manifest vouch for it."""
    (folder / name).write_bytes(data)
    manifest = json.loads((folder / "manifest.json").read_text())
    edit_manifest(folder, files={**manifest["files"], name: file_entry(data)})


def edit_manifest(folder: Path, **changes: Any) -> None:
    """Give fields of the manifest in `folder` other values."""
    path = folder / "manifest.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def write_tiny_video(path: Path, count: int, *, anomalies: range = range(0), seed: int = 2) -> Path:
    """`tiny_frames` as a video file."""
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), FPS_HZ, (64, 48))
    for frame in tiny_frames(count, anomalies=anomalies, seed=seed):
        writer.write(frame.image)
    writer.release()
    return path
