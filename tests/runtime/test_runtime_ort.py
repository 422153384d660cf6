from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
from onnx import TensorProto, helper

from edgevad.bundle import Bundle
from edgevad.errors import BackendError, OptionError
from edgevad.runtime.backends.ort import OnnxRuntimeBackend
from edgevad.spec import InputSpec, MotionSpec


def backend_of(folder: Path, spec: InputSpec, **options: Any) -> OnnxRuntimeBackend:
    path = folder / "model.onnx"
    return OnnxRuntimeBackend(path.read_bytes(), spec, where=path, **options)


def test_it_computes_the_graph_for_any_number_of_frames(tiny_bundle: Path) -> None:
    backend = backend_of(tiny_bundle, InputSpec(32, 32))
    frames = np.full((3, 32, 32, 3), 102, np.uint8)  # the graph's normal gray level, 0.4
    frames[1, 8:16, 8:16] = 255

    scores = backend.score(frames, None)

    assert scores.score.shape == (3, 1)
    assert scores.score[:, 0] == pytest.approx([0.0, 0.36, 0.0], abs=1e-6)
    assert scores.heatmap.shape == (3, 1, 7, 7)
    assert np.unravel_index(scores.heatmap[1, 0].argmax(), (7, 7)) == (2, 2)
    assert scores.latent.shape == (3, 3)
    assert {a.dtype for a in (scores.score, scores.heatmap, scores.latent)} == {np.dtype(np.float32)}


def test_motion_is_asked_for_where_the_graph_needs_it(tiny_motion_bundle: Path) -> None:
    spec = Bundle.open(tiny_motion_bundle).manifest.input
    backend = backend_of(tiny_motion_bundle, spec)
    frames = np.full((1, 32, 32, 3), 102, np.uint8)
    motion = np.full((1, 32, 32, 1), 51, np.float32)
    assert backend.score(frames, motion).score[0] == pytest.approx([0.2], abs=1e-6)
    with pytest.raises(BackendError, match="needs motion"):
        backend.score(frames, None)


def test_a_file_that_is_no_graph_is_one_line(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "model.onnx").write_bytes(b"\x00" * 100)
    with pytest.raises(BackendError, match=r"model\.onnx: ONNX Runtime .* refuses the graph") as caught:
        backend_of(tmp_path, InputSpec(32, 32))
    assert "\n" not in str(caught.value)
    assert capfd.readouterr() == ("", "")


def test_the_engines_own_format_is_no_way_around_what_looks_through_graphs(tiny_bundle: Path, tmp_path: Path) -> None:
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "model.ort")
    options.add_session_config_entry("session.save_model_format", "ORT")
    graph = (tiny_bundle / "model.onnx").read_bytes()
    onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    theirs = (tmp_path / "model.ort").read_bytes()
    onnxruntime.InferenceSession(theirs, providers=["CPUExecutionProvider"])  # takes it where it is let
    with pytest.raises(BackendError, match="refuses the graph"):
        OnnxRuntimeBackend(theirs, InputSpec(32, 32), where=tmp_path)


@pytest.mark.parametrize(
    "spec", [InputSpec(32, 64), InputSpec(32, 32, MotionSpec("difference")), InputSpec(32, 32, bank=(5, 2, 4))]
)
def test_a_graph_of_another_contract_is_refused(tiny_bundle: Path, spec: InputSpec) -> None:
    with pytest.raises(BackendError, match="the graph's inputs are"):
        backend_of(tiny_bundle, spec, bank=np.zeros((5, 2, 4), np.float32))


def graph(outputs: dict[str, list[int]], *, bank: list[int] | None = None) -> bytes:
    """frames (1, 32, 32, 3) [, bank] -> ones of these shapes, the last times the sum of the bank."""
    inputs = [helper.make_tensor_value_info("frames", TensorProto.UINT8, [1, 32, 32, 3])]
    nodes = []
    for name, shape in outputs.items():
        value = helper.make_tensor("", TensorProto.FLOAT, shape, np.ones(shape, np.float32).ravel())
        nodes.append(helper.make_node("Constant", [], [f"one {name}"], value=value))
        nodes.append(helper.make_node("Identity", [f"one {name}"], [name]))
    if bank is not None:
        inputs.append(helper.make_tensor_value_info("bank", TensorProto.FLOAT, bank))
        last = list(outputs)[-1]
        nodes[-1] = helper.make_node("Mul", [f"one {last}", "sum"], [last])
        nodes.insert(0, helper.make_node("ReduceSum", ["bank"], ["sum"], keepdims=0))
    results = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in outputs.items()]
    made = helper.make_graph(nodes, "made", inputs, results)
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return bytes(model.SerializeToString())


PARTS = {"score": [1, 3], "heatmap": [1, 2, 7, 7], "latent": [1, 4]}


def test_the_bank_goes_into_every_call(tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(graph(PARTS, bank=[5, 2, 5]))
    spec = InputSpec(32, 32, bank=(5, 2, 5))
    frames = np.zeros((1, 32, 32, 3), np.uint8)
    for level in (1.0, 2.0):  # another bank is another memory behind the same graph
        bank = np.full((5, 2, 5), level, np.float32)
        backend = backend_of(tmp_path, spec, bank=bank)
        for _ in range(2):
            scores = backend.score(frames, None)
            assert (scores.score.shape, scores.heatmap.shape) == ((1, 3), (1, 2, 7, 7))
            assert scores.latent.tolist() == [[50.0 * level] * 4]


@pytest.mark.parametrize("bank", [None, np.zeros((5, 2, 4), np.float32), np.zeros((4, 2, 5), np.float32)])
def test_a_missing_bank_or_one_of_another_shape_is_refused(tmp_path: Path, bank: np.ndarray | None) -> None:
    (tmp_path / "model.onnx").write_bytes(graph(PARTS, bank=[5, 2, 5]))
    shape = "None" if bank is None else re.escape(str(bank.shape))
    with pytest.raises(BackendError, match=rf"a bank of shape {shape}; expected \(5, 2, 5\)"):
        backend_of(tmp_path, InputSpec(32, 32, bank=(5, 2, 5)), bank=bank)


def test_a_graph_that_needs_a_bank_is_no_graph_for_a_manifest_without_one(tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(graph(PARTS, bank=[5, 2, 5]))
    with pytest.raises(BackendError, match="the graph's inputs are"):
        backend_of(tmp_path, InputSpec(32, 32))


@pytest.mark.parametrize("wrong", [{"score": [1]}, {"heatmap": [1, 7, 7]}, {"latent": [4]}])
def test_outputs_of_another_rank_are_refused(tmp_path: Path, wrong: dict[str, list[int]]) -> None:
    (tmp_path / "model.onnx").write_bytes(graph({**PARTS, **wrong}))
    with pytest.raises(BackendError, match="the graph's outputs are"):
        backend_of(tmp_path, InputSpec(32, 32))


def test_failures_while_scoring_are_ours(tiny_bundle: Path, capfd: pytest.CaptureFixture[str]) -> None:
    backend = backend_of(tiny_bundle, InputSpec(32, 32))
    with pytest.raises(BackendError, match="failed while scoring"):
        backend.score(np.zeros((1, 16, 16, 3), np.uint8), None)
    backend.close()
    backend.close()
    with pytest.raises(BackendError, match="closed"):
        backend.score(np.zeros((1, 32, 32, 3), np.uint8), None)
    assert capfd.readouterr() == ("", "")


def test_threads_below_one_are_refused(tiny_bundle: Path) -> None:
    with pytest.raises(OptionError, match="0 threads"):
        backend_of(tiny_bundle, InputSpec(32, 32), threads=0)


def test_more_threads_than_a_machine_bears_are_refused_before_one_is_started(
    tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*_: object, **__: object) -> None:
        raise AssertionError("a session was made")

    monkeypatch.setattr("onnxruntime.InferenceSession", never)
    monkeypatch.setattr("os.cpu_count", lambda: 2)
    with pytest.raises(OptionError, match="9 threads; expected 1 to 8 on this machine"):
        backend_of(tiny_bundle, InputSpec(32, 32), threads=9)
