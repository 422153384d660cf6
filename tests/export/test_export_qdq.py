from __future__ import annotations

import sys

import numpy as np
import onnx
import pytest
from onnx import TensorProto

from edgevad.calibration.ranges import collect_histograms, ranges_from
from edgevad.export.cpu_graph import store_in_8_bits
from edgevad.export.loaded_model import LoadedModel
from edgevad.export.qdq_from_onnx import QdqStyle, calibrated_tensors, qdq_from_onnx, quantisable_layers

STYLES: list[QdqStyle] = ["tensorrt", "openvino", "onnxruntime"]
Ranges = dict[str, tuple[float, float]]


@pytest.fixture(scope="module")
def ranges(loaded: LoadedModel) -> Ranges:
    feeds = {"frames": loaded.sample["frames"], "bank": loaded.bank}
    return ranges_from(collect_histograms(loaded.graph, calibrated_tensors(loaded.graph), [feeds]), "minmax")


def quantised(loaded: LoadedModel, ranges: Ranges, style: QdqStyle) -> bytes:
    layers = [layer.name for layer in quantisable_layers(loaded.graph, style)]
    return qdq_from_onnx(loaded.graph, ranges, style=style, layers=layers)


@pytest.mark.parametrize("style", STYLES)
def test_scores_stay_close_and_those_of_the_memory_closer_still(
    loaded: LoadedModel, ranges: Ranges, style: QdqStyle
) -> None:
    frames = loaded.sample["frames"]
    whole = loaded.backend(loaded.graph).score(frames, None)
    found = loaded.backend(quantised(loaded, ranges, style)).score(frames, None)
    names = loaded.calibration.names
    residual, detail = names.index("residual"), names.index("detail")
    np.testing.assert_allclose(found.score[:, residual], whole.score[:, residual], rtol=0.1)
    assert not np.array_equal(found.score[:, residual], whole.score[:, residual])
    if style == "tensorrt":  # the memory sees the frame itself, not what the network was given of it
        np.testing.assert_allclose(found.score[:, detail], whole.score[:, detail], rtol=1e-5, atol=1e-6)
    else:
        np.testing.assert_allclose(found.score[:, detail], whole.score[:, detail], rtol=0.02, atol=1e-3)


def test_tensorrt_gets_int8_around_zero_before_convolutions_and_nowhere_else(
    loaded: LoadedModel, ranges: Ranges
) -> None:
    model = onnx.load_from_string(quantised(loaded, ranges, "tensorrt"))
    constants = {tensor.name: tensor for tensor in model.graph.initializer}
    makers = {output: node for node in model.graph.node for output in node.output}
    readers: dict[str, list[onnx.NodeProto]] = {}
    for node in model.graph.node:
        for name in node.input:
            readers.setdefault(name, []).append(node)
    convolutions = [
        node for node in model.graph.node if node.name.startswith("autoencoder.") and node.op_type == "Conv"
    ]
    assert len(convolutions) == 5
    for node in convolutions:
        assert [makers[name].op_type for name in node.input[:2]] == ["DequantizeLinear"] * 2
        assert node.input[2] in constants  # a bias in float
        assert [reader.op_type for reader in readers[node.output[0]]] in (["Relu"], ["Add"])
    pairs = [node for node in model.graph.node if node.op_type in ("QuantizeLinear", "DequantizeLinear")]
    assert len(pairs) == 4 * len(convolutions)
    for node in pairs:
        zero = onnx.numpy_helper.to_array(constants[node.input[2]])
        assert zero.dtype == np.int8
        assert not zero.any()


@pytest.mark.parametrize("style", STYLES)
def test_layers_that_are_not_named_stay_in_float(loaded: LoadedModel, ranges: Ranges, style: QdqStyle) -> None:
    graph = qdq_from_onnx(loaded.graph, ranges, style=style, layers=["autoencoder.encoder.2"])
    model = onnx.load_from_string(graph)
    makers = {output: node.op_type for node in model.graph.node for output in node.output}
    for node in model.graph.node:
        if node.op_type in ("Conv", "Gemm") and node.name.startswith("autoencoder."):
            assert (makers.get(node.input[1]) == "DequantizeLinear") == (node.name == "autoencoder.encoder.2")
    loaded.backend(graph).score(loaded.sample["frames"], None)


def test_no_layer_at_all_is_the_graph_itself(loaded: LoadedModel, ranges: Ranges) -> None:
    assert qdq_from_onnx(loaded.graph, ranges, style="tensorrt", layers=[]) == loaded.graph


@pytest.mark.parametrize("style", ["openvino", "onnxruntime"])
def test_cpu_graphs_store_weights_and_templates_in_8_bits(loaded: LoadedModel, ranges: Ranges, style: QdqStyle) -> None:
    graph = quantised(loaded, ranges, style)
    constants = {tensor.name: tensor for tensor in onnx.load_from_string(graph).graph.initializer}
    assert constants["memory.templates_int8"].data_type == TensorProto.INT8
    assert "memory.templates" not in constants
    large = [
        tensor.name
        for tensor in constants.values()
        if tensor.data_type == TensorProto.FLOAT and np.prod(tensor.dims) > 2000
    ]
    assert large == []
    assert len(graph) < 0.6 * len(loaded.graph)


def test_weights_for_onnxruntime_fit_in_7_bits(loaded: LoadedModel, ranges: Ranges) -> None:
    model = onnx.load_from_string(quantised(loaded, ranges, "onnxruntime"))
    weights = [tensor for tensor in model.graph.initializer if tensor.name.endswith(".weight_quantized")]
    assert len(weights) == 7
    for tensor in weights:
        assert np.abs(onnx.numpy_helper.to_array(tensor)).max() <= 64


def test_doubling_in_bytes_replaces_every_resize_to_the_same_numbers(
    loaded: LoadedModel, ranges: Ranges, monkeypatch: pytest.MonkeyPatch
) -> None:
    graph = quantised(loaded, ranges, "onnxruntime")
    kinds = [node.op_type for node in onnx.load_from_string(graph).graph.node]
    assert "Resize" not in kinds
    monkeypatch.setattr(sys.modules["edgevad.export.qdq_from_onnx"], "upsample_in_8_bits", lambda model: None)
    plain = quantised(loaded, ranges, "onnxruntime")
    assert [node.op_type for node in onnx.load_from_string(plain).graph.node].count("Resize") == 2
    frames = loaded.sample["frames"]
    fast, slow = (loaded.backend(one).score(frames, None) for one in (graph, plain))
    np.testing.assert_array_equal(fast.heatmap[:, 0], slow.heatmap[:, 0])


def test_a_matrix_in_8_bits_is_within_half_a_step_of_itself() -> None:
    rng = np.random.default_rng(0)
    matrix = rng.normal(0, [[1.0], [100.0], [0.0]], (3, 40)).astype(np.float32)
    model = onnx.helper.make_model(
        onnx.helper.make_graph(
            [onnx.helper.make_node("Identity", ["m"], ["y"], name="out")],
            "g",
            [],
            [onnx.helper.make_tensor_value_info("y", TensorProto.FLOAT, [3, 40])],
            [onnx.numpy_helper.from_array(matrix, "m")],
        ),
        opset_imports=[onnx.helper.make_opsetid("", 17)],
    )
    store_in_8_bits(model, "m")
    onnx.checker.check_model(model, full_check=True)
    found = onnx.reference.ReferenceEvaluator(model).run(None, {})[0]
    step = np.abs(matrix).max(axis=1, keepdims=True) / 127
    assert (np.abs(found - matrix) <= 0.5001 * step).all()
