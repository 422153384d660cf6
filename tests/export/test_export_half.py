from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto

from edgevad.export.graph import network_nodes
from edgevad.export.half_from_onnx import half_from_onnx
from edgevad.export.loaded_model import LoadedModel


def test_half_precision_scores_nearly_the_same_and_the_rest_of_the_graph_exactly(loaded: LoadedModel) -> None:
    frames = loaded.sample["frames"]
    whole = loaded.backend(loaded.graph).score(frames, None)
    half = loaded.backend(half_from_onnx(loaded.graph)).score(frames, None)
    residual = loaded.calibration.names.index("residual")
    np.testing.assert_allclose(half.score[:, residual], whole.score[:, residual], rtol=1e-2)
    assert not np.array_equal(half.score[:, residual], whole.score[:, residual])
    others = [k for k in range(whole.score.shape[1]) if k != residual]
    np.testing.assert_array_equal(half.score[:, others], whole.score[:, others])


def test_only_the_network_is_in_half_precision(loaded: LoadedModel) -> None:
    model = onnx.load_from_string(half_from_onnx(loaded.graph))
    for tensor in model.graph.initializer:
        if tensor.data_type == TensorProto.FLOAT16:
            assert tensor.name.startswith("autoencoder.")
            assert tensor.name != "autoencoder.mean_frame"
    weights = {tensor.name: tensor.data_type for tensor in model.graph.initializer}
    assert weights["autoencoder.encoder.0.weight"] == TensorProto.FLOAT16
    assert weights["memory.templates"] == TensorProto.FLOAT
    kinds = {
        value.name: value.type.tensor_type.elem_type
        for value in onnx.shape_inference.infer_shapes(model).graph.value_info
    }
    inside = network_nodes(onnx.load_from_string(loaded.graph))
    for node in model.graph.node:
        for output in node.output:
            is_half = kinds.get(output) == TensorProto.FLOAT16
            casts_in = node.op_type == "Cast" and output.endswith("_half")
            assert is_half == (node.name in inside or casts_in), node.name
    assert {output.type.tensor_type.elem_type for output in model.graph.output} == {TensorProto.FLOAT}


def test_weights_beyond_half_precision_are_cut_off_and_not_infinite(loaded: LoadedModel) -> None:
    model = onnx.load_from_string(loaded.graph)
    for tensor in model.graph.initializer:
        if tensor.name == "autoencoder.encoder.0.bias":
            tensor.CopyFrom(onnx.numpy_helper.from_array(np.full(tensor.dims, 1e30, np.float32), tensor.name))
    half = onnx.load_from_string(half_from_onnx(model.SerializeToString()))
    values = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in half.graph.initializer}
    assert (values["autoencoder.encoder.0.bias"] == 65504).all()
