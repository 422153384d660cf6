from __future__ import annotations

import onnx
import pytest
from trained import MODEL

from edgevad.export.graph import batch_size, layers_of, network_nodes
from edgevad.export.loaded_model import LoadedModel


@pytest.fixture(scope="module")
def model(loaded: LoadedModel) -> onnx.ModelProto:
    return onnx.load_from_string(loaded.graph)


def test_layers_are_called_by_their_modules(model: onnx.ModelProto) -> None:
    names = [layer.name for layer in layers_of(model)]
    encoder = ["autoencoder.encoder.0", "autoencoder.encoder.2", "autoencoder.encoder.5"]
    decoder = ["autoencoder.decoder.0", "autoencoder.decoder.4", "autoencoder.decoder.7", "autoencoder.decoder.9"]
    assert MODEL.depth == 2
    assert names == encoder + decoder
    kinds = {layer.name: layer.op_type for layer in layers_of(model)}
    assert kinds["autoencoder.encoder.0"] == "Conv"
    assert kinds["autoencoder.encoder.5"] == "Gemm"
    assert [layer.op_type for layer in layers_of(model, ("Conv",))] == ["Conv"] * 5


def test_the_network_holds_its_activations_and_nothing_of_the_memory_or_the_scores(model: onnx.ModelProto) -> None:
    inside = network_nodes(model)
    kinds = [node.op_type for node in model.graph.node if node.name in inside]
    assert sorted(set(kinds)) == ["Conv", "Gemm", "Relu", "Reshape", "Resize"]
    assert kinds.count("Relu") == 5
    for node in model.graph.node:
        if node.op_type in ("Log", "TopK", "ArgMin", "AveragePool", "Concat", "MatMul", "Cast"):
            assert node.name not in inside
    # The representation's weighted sum of colours is a convolution, and no layer.
    assert sum(node.op_type == "Conv" for node in model.graph.node) == kinds.count("Conv") + 1


def test_batch_size_is_told_from_the_graph(loaded: LoadedModel, loaded_static: LoadedModel) -> None:
    assert batch_size(loaded.graph) is None
    assert batch_size(loaded_static.graph) == 1
