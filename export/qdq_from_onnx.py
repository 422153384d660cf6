"""Explicit 8-bit quantisation: Q/DQ nodes in the scoring graph, as the engine that runs it wants them placed.

ONNX Runtime's quantiser does the work. Two styles:

- "tensorrt": int8 around zero everywhere, weights per channel, a pair of its own for each input, none between a convolution
  and its activation, no quantised bias; convolutions only. TensorRT takes nothing else; OpenVINO runs it fastest, too.
- "onnxruntime": uint8 activations with a zero point, as ONNX Runtime's CPU kernels want them; weights in 7 bits, because
  processors without VNNI add two products in 16 bits and would overflow.

What is not a layer of the network (representation, bank, scoring tail) stays in float.
"""

from __future__ import annotations

import contextlib
import io
import logging
from collections.abc import Collection, Mapping
from typing import Any, Literal

import numpy as np
import onnx
from onnxruntime.quantization import CalibrationMethod, QuantType
from onnxruntime.quantization.calibrate import TensorsData
from onnxruntime.quantization.qdq_quantizer import QDQQuantizer

from edgevad.export.graph import Layer, layers_of, network_nodes

__all__ = ["QdqStyle", "calibrated_tensors", "qdq_from_onnx", "quantisable_layers"]

QdqStyle = Literal["tensorrt", "onnxruntime"]

_OP_TYPES: dict[str, tuple[str, ...]] = {"tensorrt": ("Conv",), "onnxruntime": ("Conv", "Gemm")}


def quantisable_layers(graph: bytes, style: QdqStyle) -> list[Layer]:
    """The layers of the network that `qdq_from_onnx` can quantise, in the order of the graph."""
    return layers_of(onnx.load_from_string(graph), _OP_TYPES[style])


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
    model = onnx.load_from_string(graph)
    model.graph.ClearField("value_info")
    model = onnx.shape_inference.infer_shapes(model)
    data = TensorsData(
        CalibrationMethod.MinMax, {name: (np.float32(low), np.float32(high)) for name, (low, high) in ranges.items()}
    )
    if not layers:
        return graph
    for_tensorrt = style == "tensorrt"
    options: dict[str, Any] = {"WeightSymmetric": True, "ActivationSymmetric": for_tensorrt}
    if for_tensorrt:
        options |= {
            "QuantizeBias": False,
            "AddQDQPairToWeight": True,
            "DedicatedQDQPair": True,
            "OpTypesToExcludeOutputQuantization": list(_OP_TYPES[style]),
        }
    quantiser = QDQQuantizer(
        model,
        per_channel=True,
        reduce_range=not for_tensorrt,
        weight_qType=QuantType.QInt8,
        activation_qType=QuantType.QInt8 if for_tensorrt else QuantType.QUInt8,
        tensors_range=data,
        nodes_to_quantize=sorted(layers),
        nodes_to_exclude=[],
        op_types_to_quantize=list(_OP_TYPES[style]),
        extra_options=options,
    )
    with contextlib.redirect_stdout(io.StringIO()), _quiet_root():
        quantiser.quantize_model()
    quantiser.model.topological_sort()
    quantised = quantiser.model.model
    onnx.checker.check_model(quantised, full_check=True)
    return bytes(quantised.SerializeToString())


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
