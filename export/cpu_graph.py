"""What a quantised graph gains from being written for a CPU: the same numbers, in a form that costs less there."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from edgevad.export._graph_index import GraphIndex

__all__ = ["store_in_8_bits", "upsample_in_8_bits"]


def store_in_8_bits(model: onnx.ModelProto, name: str) -> None:
    """Store the matrix `name` (rows, columns) as int8 with a scale for each row; a cast and a product give it back.

    Engines compute that once, when the graph is loaded. (DequantizeLinear, ONNX Runtime computes for every frame.)
    """
    found = next((tensor for tensor in model.graph.initializer if tensor.name == name), None)
    if found is None:
        return
    matrix = numpy_helper.to_array(found)
    scale = np.maximum(np.abs(matrix).max(axis=1, keepdims=True), 1e-12).astype(np.float32) / np.float32(127)
    model.graph.initializer.remove(found)
    model.graph.initializer.extend(
        [
            numpy_helper.from_array(np.rint(matrix / scale).astype(np.int8), f"{name}_int8"),
            numpy_helper.from_array(scale, f"{name}_scale"),
        ]
    )
    restore = [
        helper.make_node("Cast", [f"{name}_int8"], [f"{name}_cast"], name=f"{name}_cast", to=TensorProto.FLOAT),
        helper.make_node("Mul", [f"{name}_cast", f"{name}_scale"], [name], name=f"{name}_restored"),
    ]
    _replace_nodes(model, [*restore, *model.graph.node])


def upsample_in_8_bits(model: onnx.ModelProto) -> None:
    """Double images by copying bytes, wherever a Resize (nearest neighbour, factor 2) stands between two Q/DQ pairs.

    ONNX Runtime computes quantised convolutions channels last, and its Resize is slow in that order: copies of columns
    and rows beside each other are the same values in a fifth of the time.
    """
    index = GraphIndex.of(model)
    nodes: list[onnx.NodeProto] = []
    dropped: set[str] = set()
    for node in model.graph.node:
        quantise = _requantised(index, node) if node.op_type == "Resize" else None
        if quantise is None:
            nodes.append(node)
            continue
        dequantise = index.maker[node.input[0]]
        nodes += _copies(model, dequantise.input[0], quantise.output[0], index.shapes[node.input[0]])
        dropped.add(quantise.name)
    _replace_nodes(model, [node for node in nodes if node.name not in dropped])


def _requantised(index: GraphIndex, node: onnx.NodeProto) -> onnx.NodeProto | None:
    """The QuantizeLinear that undoes what the DequantizeLinear before `node` did, where nothing else reads `node`."""
    before, after = index.maker.get(node.input[0]), list(index.readers_of(node))
    if before is None or before.op_type != "DequantizeLinear" or len(index.shapes.get(node.input[0], [])) != 4:
        return None
    if len(after) != 1 or after[0].op_type != "QuantizeLinear" or after[0].input[1:] != before.input[1:]:
        return None
    return after[0]


def _copies(model: onnx.ModelProto, source: str, to: str, shape: list[int]) -> list[onnx.NodeProto]:
    """(N, c, h, w) uint8 -> (N, c, 2h, 2w), as nodes."""
    _, c, h, w = shape
    name = f"{to}_doubled"
    wide, high = f"{name}_wide_shape", f"{name}_high_shape"
    model.graph.initializer.extend(
        [
            numpy_helper.from_array(np.array([-1, h, 1, 2 * w * c], np.int64), wide),
            numpy_helper.from_array(np.array([-1, 2 * h, 2 * w, c], np.int64), high),
        ]
    )
    steps = [f"{name}_{k}" for k in range(5)]
    return [
        helper.make_node("Transpose", [source], [steps[0]], name=steps[0], perm=[0, 2, 3, 1]),  # (N, h, w, c)
        helper.make_node("Concat", [steps[0], steps[0]], [steps[1]], name=steps[1], axis=3),  # each column twice
        helper.make_node("Reshape", [steps[1], wide], [steps[2]], name=steps[2]),  # (N, h, 1, 2wc)
        helper.make_node("Concat", [steps[2], steps[2]], [steps[3]], name=steps[3], axis=2),  # each row twice
        helper.make_node("Reshape", [steps[3], high], [steps[4]], name=steps[4]),  # (N, 2h, 2w, c)
        helper.make_node("Transpose", [steps[4]], [to], name=f"{name}_back", perm=[0, 3, 1, 2]),
    ]


def _replace_nodes(model: onnx.ModelProto, nodes: list[onnx.NodeProto]) -> None:
    del model.graph.node[:]
    model.graph.node.extend(nodes)
