"""Looking through a graph before an inference engine sees it.

An ONNX file may name other files for the engine to read as weights, and operators that are code of somebody else's. A
scoring graph of ours has neither, so either is a reason not to load it. Everything is looked at, wherever the format
lets it hide: initialisers, sparse ones, attributes, subgraphs, functions, training information.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from edgevad.errors import BundleError

__all__ = ["check_graph"]

_DOMAINS = ("", "ai.onnx")
_FIX = "Export the bundle again; do not run it if you do not know where it comes from"


def check_graph(data: bytes, where: Path) -> None:
    """Raises BundleError where `data` is no ONNX graph, or holds external data or operators beyond ONNX's own."""
    # Imported here: reading a bundle needs no parser of graphs.
    import onnx
    from google.protobuf.message import DecodeError

    try:
        model = onnx.ModelProto.FromString(data)
    except (DecodeError, RecursionError) as error:
        raise BundleError(f"is no ONNX graph ({error})", where=where, fix=_FIX) from error
    if not model.HasField("graph") or not model.graph.node:
        raise BundleError("is no ONNX graph, or one without a node", where=where, fix=_FIX)
    pending: list[Any] = [model]
    while pending:  # not recursive: how deep it goes is the file's choice
        message = pending.pop()
        if isinstance(message, onnx.TensorProto):
            if message.data_location != onnx.TensorProto.DEFAULT or message.external_data:
                raise BundleError(f"tensor {message.name[:80]!r} lies in another file", where=where, fix=_FIX)
            continue
        if isinstance(message, onnx.NodeProto) and message.domain not in _DOMAINS:
            operator = f"{message.domain}.{message.op_type}"[:80]
            raise BundleError(
                f"operator {operator!r} is not one of ONNX's own", where=where, expected="no custom operators", fix=_FIX
            )
        for field, value in message.ListFields():
            if field.message_type is not None:
                # Tells what repeats from what does not in every release of protobuf.
                pending.extend([value] if hasattr(value, "ListFields") else value)
