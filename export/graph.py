"""The parts of a scoring graph that quantisation must tell apart: layers of the network, and everything else."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import onnx

__all__ = ["TEMPLATES", "Layer", "batch_size", "layers_of", "name_layers", "network_nodes"]

# Weights of the autoencoder, of all that a module holds (edgevad/model/scoring.py).
NETWORK_PREFIX = "autoencoder."
# The memory's, the largest of its arrays.
TEMPLATES = "memory.templates"
_WEIGHTED = ("Conv", "Gemm", "MatMul")


@dataclass(frozen=True)
class Layer:
    """A layer of the network with weights.

    Attributes:
        name: of its node, and of its module: "autoencoder.encoder.2".
        op_type: "Conv", "Gemm" or "MatMul".
        input, output: names of its activations.
        weight: name of its weights.
    """

    name: str
    op_type: str
    input: str
    output: str
    weight: str


def name_layers(model: onnx.ModelProto) -> None:
    """Call each node with weights of a module by the module's name, so that people can be told about layers."""
    initializers = {tensor.name for tensor in model.graph.initializer}
    for node in model.graph.node:
        if node.op_type in _WEIGHTED and len(node.input) > 1 and node.input[1] in initializers:
            module, dot, kind = node.input[1].rpartition(".")
            if dot and kind == "weight":
                node.name = module


def batch_size(graph: bytes) -> int | None:
    """How many frames every call of the graph must hold; None where any number will do."""
    first = onnx.load_from_string(graph).graph.input[0].type.tensor_type.shape.dim[0]
    return first.dim_value if first.HasField("dim_value") else None


def layers_of(model: onnx.ModelProto, op_types: Iterable[str] = _WEIGHTED) -> list[Layer]:
    """The network's layers with weights, in the order of the graph; of `op_types` only."""
    initializers = {tensor.name for tensor in model.graph.initializer}
    return [
        Layer(node.name, node.op_type, node.input[0], node.output[0], node.input[1])
        for node in model.graph.node
        if node.op_type in set(op_types)
        and len(node.input) > 1
        and node.input[1] in initializers
        and node.input[1].startswith(NETWORK_PREFIX)
    ]


def network_nodes(model: onnx.ModelProto) -> set[str]:
    """Names of the nodes of the network itself: between its first layer and its last, activations and all.

    Representation and scoring tail are not among them: they stay in float32 in every graph.
    """
    layers = layers_of(model)
    names = {layer.name for layer in layers}
    behind: set[str] = set()  # tensors that depend on a layer
    for node in model.graph.node:
        if node.name in names or behind.intersection(node.input):
            behind.update(node.output)
    needed: set[str] = set()  # tensors that a layer depends on
    for node in reversed(model.graph.node):
        if node.name in names or needed.intersection(node.output):
            needed.update(node.input)
    between = {
        node.name for node in model.graph.node if behind.intersection(node.output) and needed.intersection(node.output)
    }
    return names | between
