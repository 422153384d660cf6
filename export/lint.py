"""Forms of a graph that TensorRT refuses, misreads or runs slowly, found without TensorRT.

A graph for a TensorRT target passes before it is put into a bundle: what is found here would otherwise be found on the
device, hours later, or not at all. `RULES` gives each rule its reason. "Refused" there means that TensorRT-RTX 1.7 does
(`edgevad.export.trt_check`); for what it accepts the rule says why it is kept all the same.
"""

from __future__ import annotations

from collections.abc import Iterator
from os import PathLike

import onnx
from google.protobuf.message import DecodeError
from onnx import AttributeProto, ModelProto, TensorProto

from edgevad.errors import GraphError
from edgevad.export._graph_index import GraphIndex, kind_name
from edgevad.export._lint_qdq import Finding, lint_qdq

__all__ = ["RULES", "Finding", "check_graph", "lint_graph"]

RULES: dict[str, str] = {
    "valid": "What the ONNX checker does not accept is refused.",
    "external-data": "Refused: weights in another file do not travel in the bundle, and name a path on the device.",
    "domain": "Operators of another domain, such as ONNX Runtime's own, are refused. Functions, branches and loops are "
    "accepted; our graphs need none, and the other rules do not look into them.",
    "opset": "What an older TensorRT does not know: its documentation stops at 17 for 8.5 and 8.6, at 13 for 8.2.",
    "static-shapes": "Refused where no optimisation profile is given, and edgevad gives none.",
    "interface": "Accepted, but not the contract: uint8 and float32 go in, float32 comes out.",
    "uint8": "Refused: uint8 is an input, since TensorRT 8.5, and the next node makes a float of it.",
    "conv-transpose": "Accepted, but slow with explicit Q/DQ, and has given wrong output (NVIDIA/TensorRT issue 4366).",
    "reduce-axes": "Accepted, but TensorRT 8 ignores them without a word and reduces over every axis, and NVIDIA "
    "announced that 10.0 refuses them (NVIDIA/TensorRT issue 3467). ReduceSum has had them as an input for longer.",
    "half": "Accepted anywhere; but not what a graph of another precision promises, and too coarse for squared errors "
    "and for the choice of neighbours.",
    "int8": "uint8 with a zero point of 128, as ONNX Runtime's quantizer makes it, is refused. With 0, or without a "
    "zero point, it is accepted and read as int8, while ONNX means uint8: two engines would compute two things.",
    "zero-point": "Refused but for a computed one, which no engine can fold.",
    "scale": "Not positive: refused. Infinite, computed, or several for an activation: accepted, and never sound.",
    "axis": "Accepted, but only scales along a layer's output channels can be folded into it.",
    "bias": "int32 is refused. int8 is accepted, and eight bits are too few for what every pixel is given.",
    "pair": "Accepted, int8 weights without a QuantizeLinear too; but what is quantised by one scale and dequantised "
    "by another is another value, and weights in float with a pair are what every TensorRT since 8.0 takes.",
    "activation": "Accepted, but the layer and its activation are then two kernels, and the values are rounded twice.",
    "selection": "Accepted, but a small error there is another neighbour, not a small difference: float from the "
    "inputs to the choice, and all that the memory holds.",
    "tail": "Accepted, but scores are small differences of large numbers: float behind the autoencoder, and the frame "
    "that a reconstruction is compared with is the frame itself.",
}

_SHAPERS = {"Flatten", "Identity", "Reshape", "Squeeze", "Transpose", "Unsqueeze"}
_SHOWN = 3


def lint_graph(
    model: ModelProto | bytes, *, opset_max: int, static_shapes: bool, precision: str = "int8"
) -> list[Finding]:
    """What a graph for TensorRT must not hold, in the order of the graph; an empty list where it is sound.

    `opset_max` and `static_shapes` are the target's; `precision` is the graph's: only "fp16" allows float16.
    """
    if isinstance(model, bytes):
        try:
            model = onnx.load_from_string(model)
        except (DecodeError, ValueError, RecursionError):
            return [Finding("valid", "", "is no ONNX graph")]
    # Before anything looks at a tensor: onnx would go and read the file it names.
    external = [Finding("external-data", tensor.name, "lies in another file") for tensor in _external(model)]
    if external:
        return external
    try:
        onnx.checker.check_model(model)
        index = GraphIndex.of(model)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError, ValueError, TypeError) as error:
        return [Finding("valid", "", " ".join(str(error).split())[:200])]
    findings = [*_dialect(index, opset_max), *_interface(index, static_shapes), *_operators(index)]
    return [*findings, *_half(index, precision), *lint_qdq(index)]


def check_graph(
    model: ModelProto | bytes,
    *,
    opset_max: int,
    static_shapes: bool,
    precision: str = "int8",
    where: str | PathLike[str] | None = None,
) -> None:
    """Refuse a graph that `lint_graph` finds something in.

    Raises:
        GraphError: the first findings and how many there are.
    """
    findings = lint_graph(model, opset_max=opset_max, static_shapes=static_shapes, precision=precision)
    if findings:
        shown = "; ".join(str(finding) for finding in findings[:_SHOWN])
        more = f"; and {len(findings) - _SHOWN} more" if len(findings) > _SHOWN else ""
        count = "a form" if len(findings) == 1 else f"{len(findings)} forms"
        raise GraphError(f"the graph has {count} that TensorRT must not be given: {shown}{more}", where=where)


def _external(model: ModelProto) -> Iterator[TensorProto]:
    tensors = [*model.graph.initializer]
    tensors += [part for sparse in model.graph.sparse_initializer for part in (sparse.values, sparse.indices)]
    for node in [*model.graph.node, *(node for function in model.functions for node in function.node)]:
        for attribute in node.attribute:
            tensors += [attribute.t, *attribute.tensors]
    for tensor in tensors:
        if tensor.data_location == TensorProto.EXTERNAL or tensor.external_data:
            yield tensor


def _dialect(index: GraphIndex, opset_max: int) -> Iterator[Finding]:
    """The language that the graph is written in."""
    for opset in index.model.opset_import:
        if opset.domain in ("", "ai.onnx") and opset.version > opset_max:
            yield Finding("opset", "", f"is in opset {opset.version}; the target takes up to {opset_max}")
    for function in index.model.functions:
        yield Finding("domain", function.name, "is a function of the graph's own")
    for node in index.model.graph.node:
        name = node.name or node.output[0]
        if node.domain not in ("", "ai.onnx"):
            yield Finding("domain", name, f"{node.op_type} is of the domain {node.domain}")
        if any(attribute.type in (AttributeProto.GRAPH, AttributeProto.GRAPHS) for attribute in node.attribute):
            yield Finding("domain", name, f"{node.op_type} holds a graph of its own")


def _interface(index: GraphIndex, static_shapes: bool) -> Iterator[Finding]:
    """Inputs and outputs."""
    graph = index.model.graph
    inputs = [value for value in graph.input if value.name not in index.constants]
    for value, kinds in [(value, {TensorProto.UINT8, TensorProto.FLOAT}) for value in inputs] + [
        (value, {TensorProto.FLOAT}) for value in graph.output
    ]:
        tensor = value.type.tensor_type
        if tensor.elem_type not in kinds:
            yield Finding("interface", value.name, f"is {kind_name(tensor.elem_type)}")
        fixed = tensor.HasField("shape") and all(size.dim_value > 0 for size in tensor.shape.dim)
        if static_shapes and not fixed:
            yield Finding("static-shapes", value.name, "has a size that is not fixed")
    for value in inputs:
        if value.type.tensor_type.elem_type == TensorProto.UINT8:
            for reader in index.readers.get(value.name, []):
                if reader.op_type != "Cast":
                    yield Finding("uint8", reader.name or reader.output[0], f"{reader.op_type} reads uint8")


def _operators(index: GraphIndex) -> Iterator[Finding]:
    for node in index.model.graph.node:
        name = node.name or node.output[0]
        if node.op_type == "ConvTranspose":
            yield Finding("conv-transpose", name, "is a ConvTranspose")
        if node.op_type.startswith("Reduce") and node.op_type != "ReduceSum" and len(node.input) > 1:
            yield Finding("reduce-axes", name, f"{node.op_type} takes its axes as an input")
        if node.op_type != "QuantizeLinear" and any(index.kinds.get(out) == TensorProto.UINT8 for out in node.output):
            yield Finding("uint8", name, f"{node.op_type} makes uint8")


def _half(index: GraphIndex, precision: str) -> Iterator[Finding]:
    """float16 only where the precision says so, and never where scores are computed or neighbours chosen."""
    halves = {name for name, kind in index.kinds.items() if kind == TensorProto.FLOAT16}
    if not halves:
        return
    if precision != "fp16":
        yield Finding("half", min(halves), f"is float16 in a graph of precision {precision}")
        return
    selection, tail = index.selection(), index.tail()
    for node in index.model.graph.node:
        if not halves.intersection(node.output):
            continue
        name = node.name or node.output[0]
        if node.output[0] in selection:
            yield Finding("half", name, f"{node.op_type} computes in float16 what the nearest neighbours are chosen by")
        elif node.output[0] in tail and node.op_type not in _SHAPERS:
            yield Finding("half", name, f"{node.op_type} computes in float16 behind the autoencoder")
