"""The network in half precision, as a strongly typed engine needs it: written into the graph.

Representation, bank and scoring tail stay in float32, and so do the graph's inputs and outputs. (The converters there
are cast what they leave in float32 to float16 and back between any two nodes: the digits would be gone all the same.)
"""

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from edgevad.export.graph import network_nodes

__all__ = ["half_from_onnx"]

# Inputs that are weights, not activations, by kind of node; the others of these nodes are activations, of other kinds
# constants.
_WEIGHTS = {"Conv": (1, 2), "Gemm": (1, 2), "MatMul": (1,)}
_SUFFIX = "_half"


def half_from_onnx(graph: bytes) -> bytes:
    """The scoring graph with the layers of its network, and what lies between them, in float16."""
    model = onnx.load_from_string(graph)
    model.graph.ClearField("value_info")  # it would tell the types of before
    inside = network_nodes(model)
    initializers = {tensor.name: tensor for tensor in model.graph.initializer}
    made = {output for node in model.graph.node if node.name in inside for output in node.output}
    wanted = {name for node in model.graph.node if node.name not in inside for name in node.input}
    wanted.update(output.name for output in model.graph.output)
    cast: set[str] = set()
    nodes: list[onnx.NodeProto] = []
    for node in model.graph.node:
        if node.name not in inside:
            nodes.append(node)
            continue
        for k, name in enumerate(node.input):
            if name in initializers:
                if k in _WEIGHTS.get(node.op_type, ()):
                    _halve(initializers[name])
                continue
            if name and name not in made and name not in cast:
                cast.add(name)
                nodes.append(_cast(name, name + _SUFFIX, TensorProto.FLOAT16))
            node.input[k] = name + _SUFFIX if name else name
        nodes.append(node)
        for k, name in enumerate(node.output):
            node.output[k] = name + _SUFFIX
            if name in wanted:
                nodes.append(_cast(name + _SUFFIX, name, TensorProto.FLOAT))
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    onnx.checker.check_model(model, full_check=True)
    return bytes(model.SerializeToString())


def _cast(source: str, to: str, kind: int) -> onnx.NodeProto:
    return helper.make_node("Cast", [source], [to], name=f"cast_{to}", to=kind)


def _halve(tensor: onnx.TensorProto) -> None:
    if tensor.data_type == TensorProto.FLOAT:
        largest = float(np.finfo(np.float16).max)
        values = np.clip(numpy_helper.to_array(tensor), -largest, largest).astype(np.float16)
        tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))
