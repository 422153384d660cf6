"""When two graphs can share an engine: as they are, or after one's weights were put in."""

from __future__ import annotations

import hashlib

__all__ = ["structure_of"]

_QUANTIZERS = ("QuantizeLinear", "DequantizeLinear")


def structure_of(graph: bytes) -> str:
    """SHA-256 (hexadecimal) of an ONNX graph without the values of its floating-point weights.

    Graphs that agree in it have the same nodes, names and shapes. What TensorRT builds into its code counts as
    structure: integers, constants that are nodes, and the scales of a quantised graph.

    Raises ValueError where `graph` is no ONNX.
    """
    import onnx
    from google.protobuf.message import DecodeError

    try:
        model = onnx.load_from_string(graph)
    except DecodeError as error:
        raise ValueError(f"no ONNX ({error})") from error
    floats = (onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16)
    scales = {name for node in model.graph.node if node.op_type in _QUANTIZERS for name in node.input[1:]}
    for tensor in model.graph.initializer:
        if tensor.data_type in floats and tensor.name not in scales:
            for field in ("raw_data", "float_data", "int32_data"):
                tensor.ClearField(field)
    for field in ("metadata_props", "doc_string", "producer_name", "producer_version"):
        model.ClearField(field)
    return hashlib.sha256(model.SerializeToString(deterministic=True)).hexdigest()
