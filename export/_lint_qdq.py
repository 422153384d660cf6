"""The rules of `edgevad.export.lint` about QuantizeLinear and DequantizeLinear."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from onnx import NodeProto, TensorProto

from edgevad.export._graph_index import MEMORY, GraphIndex, attribute_of, kind_name

__all__ = ["Finding", "lint_qdq"]

QUANTIZE, DEQUANTIZE = "QuantizeLinear", "DequantizeLinear"
ACTIVATIONS = {"Clip", "Elu", "HardSigmoid", "HardSwish", "LeakyRelu", "PRelu", "Relu", "Sigmoid", "Tanh"}
BEFORE_ACTIVATIONS = {"Conv", "Gemm", "MatMul"}
FLOATS = {TensorProto.FLOAT, TensorProto.FLOAT16}


@dataclass(frozen=True)
class Finding:
    """A form that a rule forbids.

    Attributes:
        rule: name of the rule, a key of `RULES`.
        node: name of the node, or of its first output, or of the value; "" where it is the whole graph.
        what: what is wrong with it, in words.
    """

    rule: str
    node: str
    what: str

    def __str__(self) -> str:
        return f"{self.rule}: {self.node}: {self.what}" if self.node else f"{self.rule}: {self.what}"


def lint_qdq(index: GraphIndex) -> Iterator[Finding]:
    """What is wrong with the quantisation of a graph that onnx.checker accepts; nothing where it has none."""
    selection, tail = index.selection(), index.tail()
    outputs = {value.name for value in index.model.graph.output}
    for node in index.model.graph.node:
        if node.op_type not in (QUANTIZE, DEQUANTIZE):
            continue
        findings = [*_types(index, node), *_scale(index, node), *_pair(index, node, outputs)]
        if node.op_type == DEQUANTIZE:
            findings += [*_axis(index, node), *_bias(index, node)]
        else:
            findings += _activation(index, node)
        if node.output[0] in selection or any(name.startswith(MEMORY) for name in node.input):
            findings.append(("selection", "quantises what the nearest neighbours are chosen by"))
        elif node.output[0] in tail:
            findings.append(("tail", "quantises what lies behind the autoencoder, where scores are computed"))
        elif node.op_type == DEQUANTIZE:
            # A frame that was quantised for the first layer must not be what its reconstruction is compared with.
            readers = sorted(r.op_type for r in index.readers_of(node) if r.output[0] in tail)
            if readers:
                findings.append(("tail", f"gives quantised values to {readers[0]}, where scores are computed"))
        for rule, what in findings:
            yield Finding(rule, node.name or node.output[0], what)


_Found = Iterator[tuple[str, str]]


def _types(index: GraphIndex, node: NodeProto) -> _Found:
    """int8 and nothing else, with zero points of zero."""
    zero_point = node.input[2] if len(node.input) > 2 else ""
    if zero_point or node.op_type == DEQUANTIZE:
        kind = index.kinds.get(zero_point or node.input[0], TensorProto.UNDEFINED)
    else:
        # Without a zero point ONNX means uint8; TensorRT reads int8, so that two engines compute two things.
        said = attribute_of(node, "output_dtype")
        kind = said if isinstance(said, int) and said else TensorProto.UINT8
    if kind != TensorProto.INT8:
        if kind != TensorProto.INT32:  # a bias, which has a rule of its own
            yield "int8", f"quantises to {kind_name(kind)}" + ("" if zero_point else ", with no zero point to say int8")
        return
    values = index.array(zero_point) if zero_point else None
    if zero_point and values is None:
        yield "zero-point", "its zero point is computed"
    elif values is not None and np.any(values):
        yield "zero-point", f"its zero point is {np.ravel(values)[np.flatnonzero(values)[0]]}, not 0"


def _scale(index: GraphIndex, node: NodeProto) -> _Found:
    """Constant, positive, finite; one for an activation, one or one a channel for weights."""
    scale = index.array(node.input[1])
    if scale is None:
        yield "scale", "its scale is computed"
        return
    if index.kinds.get(node.input[1]) not in FLOATS:
        yield "scale", f"its scale is of type {scale.dtype}"
        return
    numbers = scale.astype(np.float64)
    if not numbers.size or not np.isfinite(numbers).all() or numbers.min() <= 0:
        yield "scale", "its scale is not positive and finite"
    if scale.ndim > 1:
        yield "scale", f"its scale has {scale.ndim} dimensions"
    if numbers.size > 1 and index.constant_behind(node.input[0]) is None:
        yield "scale", f"an activation has {numbers.size} scales"


def _pair(index: GraphIndex, node: NodeProto, outputs: set[str]) -> _Found:
    """Every quantised value is dequantised at once, by the same scale and zero point."""
    if node.op_type == QUANTIZE:
        readers = index.readers.get(node.output[0], [])
        others = sorted({reader.op_type for reader in readers} - {DEQUANTIZE})
        if others or node.output[0] in outputs:
            yield "pair", f"its int8 values go to {', '.join(others) or 'an output'}, not to {DEQUANTIZE}"
        elif not readers:
            yield "pair", "nothing dequantises it"
        return
    maker = index.maker.get(node.input[0])
    if maker is None or maker.op_type != QUANTIZE:
        if index.kinds.get(node.input[0]) != TensorProto.INT32:
            yield "pair", f"dequantises what no {QUANTIZE} made"
        return
    if _axis_of(maker) != _axis_of(node) and (scale := index.array(node.input[1])) is not None and scale.size > 1:
        yield "pair", f"has another axis than its {QUANTIZE}"
    for place, name in ((1, "scale"), (2, "zero point")):
        mine, its = (other.input[place] if len(other.input) > place else "" for other in (node, maker))
        if mine == its or not (mine and its):  # a missing zero point is 0, and so is every other one, by its own rule
            continue
        values = index.array(mine), index.array(its)
        if values[0] is None or values[1] is None or not np.array_equal(values[0], values[1]):
            yield "pair", f"has another {name} than its {QUANTIZE}"


def _axis_of(node: NodeProto) -> int:
    axis = attribute_of(node, "axis", 1)
    return axis if isinstance(axis, int) else 1


def _axis(index: GraphIndex, node: NodeProto) -> _Found:
    """Weights are scaled along the channels that their layer puts out."""
    scale = index.array(node.input[1])
    source = index.constant_behind(node.input[0])
    if scale is None or scale.size < 2 or source is None:
        return
    weights = index.constants[source]
    rank, axis = len(weights.dims), _axis_of(node)
    if not -rank <= axis < rank or weights.dims[axis] != scale.size:
        yield "axis", f"has {scale.size} scales along axis {axis} of weights {list(weights.dims)}"
        return
    for reader, place, turned in _layers_of(index, node.output[0], axis % rank):
        wanted = _output_axis(reader, place, rank)
        if wanted is not None and turned != wanted:
            yield "axis", f"scales axis {turned} of the weights of a {reader.op_type}, whose channels are axis {wanted}"


def _layers_of(index: GraphIndex, name: str, axis: int) -> Iterator[tuple[NodeProto, int, int]]:
    """The nodes that read a value, the place they read it at, and where `axis` has gone on the way there."""
    for reader in index.readers.get(name, []):
        order = attribute_of(reader, "perm")
        if reader.op_type == "Transpose" and isinstance(order, list | tuple) and axis in order:
            yield from _layers_of(index, reader.output[0], list(order).index(axis))
        else:
            yield reader, list(reader.input).index(name), axis


def _output_axis(layer: NodeProto, place: int, rank: int) -> int | None:
    """Axis of the output channels in the weights of a layer, or None where it has no weights at that place."""
    if layer.op_type == "Conv" and place == 1:
        return 0
    if layer.op_type == "Gemm" and place == 1:
        return 0 if attribute_of(layer, "transB", 0) else 1
    if layer.op_type == "MatMul":
        return rank - 1 if place == 1 else rank - 2
    return None


def _bias(index: GraphIndex, node: NodeProto) -> _Found:
    layers = [layer for layer in index.readers.get(node.output[0], []) if layer.op_type in ("Conv", "Gemm")]
    if any(len(layer.input) > 2 and layer.input[2] == node.output[0] for layer in layers):
        yield "bias", "gives a layer a quantised bias"
    elif index.kinds.get(node.input[0]) == TensorProto.INT32:
        yield "bias", "dequantises int32, the form of a quantised bias"


def _activation(index: GraphIndex, node: NodeProto) -> _Found:
    layer = index.maker.get(node.input[0])
    if layer is None or layer.op_type not in BEFORE_ACTIVATIONS:
        return
    for dequantize in index.readers_of(node):
        for reader in index.readers_of(dequantize):
            if reader.op_type in ACTIVATIONS:
                yield "activation", f"stands between a {layer.op_type} and its {reader.op_type}"
