"""Explicit 8-bit quantisation: Q/DQ nodes in the scoring graph, as the engine that runs it wants them placed.

ONNX Runtime's quantiser does the work. Three styles:

- "tensorrt": int8 around zero everywhere, weights per channel, a pair of its own for each input, none between a
  convolution and its activation, no quantised bias; convolutions only. TensorRT takes nothing else.
- "openvino": uint8 activations with a zero point, between all layers; weights in 7 bits, because processors without
  VNNI add two products in 16 bits and would overflow.
- "onnxruntime": the same, and images doubled by copying bytes (`upsample_in_8_bits`).

What is not a layer of the network (representation, bank, scoring tail) computes in float, on what it always was given.
For CPUs the memory's templates, half of a graph, are stored in 8 bits and made floats when the graph is loaded.
"""

from __future__ import annotations

import contextlib
import io
import logging
from collections.abc import Collection, Mapping
from typing import Any, Literal, NamedTuple

import numpy as np
import onnx
from onnx import helper
from onnxruntime.quantization import CalibrationMethod, QuantType
from onnxruntime.quantization.calibrate import TensorsData
from onnxruntime.quantization.qdq_quantizer import QDQQuantizer

from edgevad.export.cpu_graph import store_in_8_bits, upsample_in_8_bits
from edgevad.export.graph import TEMPLATES, Layer, layers_of, network_nodes

__all__ = ["QdqStyle", "calibrated_tensors", "qdq_from_onnx", "quantisable_layers"]

QdqStyle = Literal["tensorrt", "openvino", "onnxruntime"]

# A layer's input, where others read it, too, under a name of its own.
_BRANCH = "_to_network"


class _Style(NamedTuple):
    """What the quantiser is told."""

    op_types: tuple[str, ...]
    # Nodes between layers that hand 8 bits through.
    passive: tuple[str, ...]
    symmetric: bool
    doubles_by_copies: bool


_CPU_TYPES, _CPU_PASSIVE = ("Conv", "Gemm"), ("Relu", "Resize", "Reshape")
_STYLES: dict[str, _Style] = {
    "tensorrt": _Style(("Conv",), (), symmetric=True, doubles_by_copies=False),
    "openvino": _Style(_CPU_TYPES, _CPU_PASSIVE, symmetric=False, doubles_by_copies=False),
    "onnxruntime": _Style(_CPU_TYPES, _CPU_PASSIVE, symmetric=False, doubles_by_copies=True),
}


def quantisable_layers(graph: bytes, style: QdqStyle) -> list[Layer]:
    """The layers of the network that `qdq_from_onnx` can quantise, in the order of the graph."""
    return layers_of(onnx.load_from_string(graph), _STYLES[style].op_types)


def calibrated_tensors(graph: bytes) -> list[str]:
    """Activations whose ranges `qdq_from_onnx` needs."""
    model = onnx.load_from_string(graph)
    inside = network_nodes(model)
    names = [layer.input for layer in layers_of(model)]
    names += [output for node in model.graph.node if node.name in inside for output in node.output]
    return list(dict.fromkeys(names))


def qdq_from_onnx(
    graph: bytes, ranges: Mapping[str, tuple[float, float]], *, style: QdqStyle, layers: Collection[str]
) -> bytes:
    """Quantise the layers of these names (`Layer.name`) in the scoring graph `graph`; the others stay in float32.

    ranges: lowest and highest value of each of `calibrated_tensors`, zero between them.
    """
    if not layers:
        return graph
    chosen = _STYLES[style]
    model = onnx.load_from_string(graph)
    inside = network_nodes(model)
    _branch_off(model, inside)
    model.graph.ClearField("value_info")
    model = onnx.shape_inference.infer_shapes(model)
    values = {name: (np.float32(low), np.float32(high)) for name, (low, high) in ranges.items()}
    values |= {name + _BRANCH: ends for name, ends in values.items()}
    passive = [node.name for node in model.graph.node if node.name in inside and node.op_type in chosen.passive]
    symmetric = chosen.symmetric
    options: dict[str, Any] = {
        "WeightSymmetric": True,
        "ActivationSymmetric": symmetric,
        "QuantizeBias": not symmetric,
        "DedicatedQDQPair": symmetric,
        "AddQDQPairToWeight": symmetric,
        "OpTypesToExcludeOutputQuantization": list(chosen.op_types) if symmetric else [],
    }
    quantiser = QDQQuantizer(
        model,
        per_channel=True,
        reduce_range=not symmetric,
        weight_qType=QuantType.QInt8,
        activation_qType=QuantType.QInt8 if symmetric else QuantType.QUInt8,
        tensors_range=TensorsData(CalibrationMethod.MinMax, values),
        nodes_to_quantize=[*sorted(layers), *passive],
        nodes_to_exclude=[],
        op_types_to_quantize=[*chosen.op_types, *chosen.passive],
        extra_options=options,
    )
    with contextlib.redirect_stdout(io.StringIO()), _quiet_root():
        quantiser.quantize_model()
    quantiser.model.topological_sort()
    quantised = quantiser.model.model
    _join_again(quantised)
    if not symmetric:
        store_in_8_bits(quantised, TEMPLATES)
    if chosen.doubles_by_copies:
        upsample_in_8_bits(quantised)
    onnx.checker.check_model(quantised, full_check=True)
    return bytes(quantised.SerializeToString())


def _branch_off(model: onnx.ModelProto, inside: Collection[str]) -> None:
    """Give what enters the network a name of its own there.

    The quantiser would put a pair before its other readers, too.
    """
    made = {output for node in model.graph.node if node.name in inside for output in node.output}
    constants = {tensor.name for tensor in model.graph.initializer}
    entering = [
        name for node in model.graph.node if node.name in inside for name in node.input if name not in made | constants
    ]
    for name in dict.fromkeys(filter(None, entering)):
        for node in model.graph.node:
            if node.name in inside:
                for k, value in enumerate(node.input):
                    if value == name:
                        node.input[k] = name + _BRANCH
        nodes = list(model.graph.node)
        position = max((k for k, node in enumerate(nodes) if name in node.output), default=-1) + 1
        nodes.insert(position, helper.make_node("Identity", [name], [name + _BRANCH], name=name + _BRANCH))
        del model.graph.node[:]
        model.graph.node.extend(nodes)


def _join_again(model: onnx.ModelProto) -> None:
    """Take the nodes of `_branch_off` out."""
    for node in list(model.graph.node):
        if node.op_type == "Identity" and node.name.endswith(_BRANCH):
            for reader in model.graph.node:
                for k, value in enumerate(reader.input):
                    if value == node.output[0]:
                        reader.input[k] = node.input[0]
            model.graph.node.remove(node)


@contextlib.contextmanager
def _quiet_root():  # type: ignore[no-untyped-def]
    """The quantiser warns through the root logger of what was asked for."""
    root = logging.getLogger()
    before = root.level
    root.setLevel(logging.ERROR)
    try:
        yield
    finally:
        root.setLevel(before)
