"""When two graphs can share an engine: as they are, or after one's weights were put in."""

from __future__ import annotations

import hashlib

__all__ = ["structure_of"]

# What these compute with is weights to TensorRT, which takes new ones. Of all others, such as the exponent of Pow, the
# bounds of Clip or the scales of Resize and of quantisation, the values may end up in its code.
_WEIGHED = ("Conv", "ConvTranspose", "Gemm", "MatMul", "Add", "Sub", "Mul", "Div")


def structure_of(graph: bytes) -> str:
    """SHA-256 (hexadecimal) of an ONNX graph without the values of its floating-point weights.

    Graphs that agree in it have the same nodes, names and shapes. What TensorRT may build into its code counts as
    structure: integers, constants that are nodes, and whatever goes into other operators than those with weights.

    Raises ValueError where `graph` is no ONNX.
    """
    import onnx
    from google.protobuf.message import DecodeError

    try:
        model = onnx.load_from_string(graph)
    except DecodeError as error:
        raise ValueError(f"no ONNX ({error})") from error
    floats = (onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16)
    nodes = model.graph.node
    # What a subgraph uses from outside it does not say in its node's inputs.
    has_subgraphs = any(attribute.HasField("g") or attribute.graphs for node in nodes for attribute in node.attribute)
    fixed = {name for node in nodes if node.op_type not in _WEIGHED for name in node.input}
    for tensor in () if has_subgraphs else model.graph.initializer:
        if tensor.data_type in floats and tensor.name not in fixed:
            for field in ("raw_data", "float_data", "int32_data"):
                tensor.ClearField(field)
    for field in ("metadata_props", "doc_string", "producer_name", "producer_version"):
        model.ClearField(field)
    return hashlib.sha256(model.SerializeToString(deterministic=True)).hexdigest()
