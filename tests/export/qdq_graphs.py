"""A real scoring graph with Q/DQ as TensorRT wants it, and ways to break it: each form that the lint rejects."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import torch
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

from edgevad.export import onnx_from_model
from edgevad.model.config import ModelConfig
from edgevad.model.memory import EXCLUDED
from edgevad.model.scoring import ScoringModule

TINY = ModelConfig(size_px=32, width=4, depth=2, latent=6, cell_px=8, motion="none", decoder="conv")
OPSET = 17
Q, DQ = "QuantizeLinear", "DequantizeLinear"


def bank_of(config: ModelConfig) -> np.ndarray:
    """Seven episodes of four frames, the last of them forgotten."""
    bank = np.random.default_rng(1).normal(0, 1, (7, 4, config.latent + 1)).astype(np.float32)
    bank[..., -1] = np.square(bank[..., :-1]).sum(axis=-1)
    bank[6] = [*[0] * config.latent, EXCLUDED]
    return bank


def float_graph(config: ModelConfig = TINY) -> ModelProto:
    """A scoring graph of random weights, batch size 1."""
    return onnx.load_from_string(_float_graph(config))


@functools.cache
def _float_graph(config: ModelConfig) -> bytes:
    torch.manual_seed(0)
    module = ScoringModule(config)
    with torch.no_grad():
        module.autoencoder.mean_frame.normal_()
        assert module.memory is not None
        values = len(module.memory.mean_frame)
        directions, _ = torch.linalg.qr(torch.randn(values, config.latent))
        mean = torch.randn(values)
        module.memory.learn(mean, directions.T)
        module.memory.rank[2] = 1.0
        if "motion" in config.parts:
            module.mean_motion.exponential_(0.2)
    return onnx_from_model(module.eval(), bank=bank_of(config), batch=1)


class _Frames(CalibrationDataReader):  # type: ignore[misc]
    def __init__(self, model: ModelProto, count: int = 3) -> None:
        rng = np.random.default_rng(0)
        shapes = {v.name: [d.dim_value for d in v.type.tensor_type.shape.dim] for v in model.graph.input}
        self.rows = [
            {
                name: rng.integers(0, 256, shape).astype(np.uint8)
                if name == "frames"
                else rng.gamma(1.0, 5.0, shape).astype(np.float32)
                for name, shape in shapes.items()
            }
            for _ in range(count)
        ]

    def get_next(self) -> dict[str, np.ndarray] | None:
        return self.rows.pop() if self.rows else None


def quantised(model: ModelProto, folder: Path) -> ModelProto:
    """The graph with int8 convolutions; what else reads a convolution's input goes on reading it in float."""
    onnx.save(model, folder / "float.onnx")
    luma = [node.name for node in model.graph.node if node.op_type == "Conv" and "autoencoder" not in node.input[1]]
    quantize_static(
        folder / "float.onnx",
        folder / "int8.onnx",
        _Frames(model),
        quant_format=QuantFormat.QDQ,
        per_channel=True,
        activation_type=QuantType.QInt8,
        weight_type=QuantType.QInt8,
        op_types_to_quantize=["Conv"],
        nodes_to_exclude=luma,
        extra_options={
            "ActivationSymmetric": True,
            "WeightSymmetric": True,
            "QuantizeBias": False,
            "AddQDQPairToWeight": True,
            "OpTypesToExcludeOutputQuantization": ["Conv"],
        },
    )
    made = onnx.load(folder / "int8.onnx")
    before = {node.output[0]: node.input[0] for node in made.graph.node if node.op_type == Q}
    source = {node.output[0]: before[node.input[0]] for node in made.graph.node if node.op_type == DQ}
    for node in made.graph.node:
        if node.op_type not in ("Conv", Q, DQ):
            for place, name in enumerate(node.input):
                node.input[place] = source.get(name, name)
    return made


# --- small tools to change a graph with -------------------------------------------------------------------------------


def node_of(model: ModelProto, op_type: str, place: int = 0) -> NodeProto:
    return [node for node in model.graph.node if node.op_type == op_type][place]


def reader_of(model: ModelProto, name: str, op_type: str | None = None) -> NodeProto:
    return next(n for n in model.graph.node if name in n.input and op_type in (None, n.op_type))


def maker_of(model: ModelProto, name: str) -> NodeProto:
    return next(node for node in model.graph.node if name in node.output)


def constant(model: ModelProto, name: str, values: np.ndarray) -> str:
    """Add or replace a constant."""
    for tensor in model.graph.initializer:
        if tensor.name == name:
            tensor.CopyFrom(numpy_helper.from_array(values, name))
            return name
    model.graph.initializer.append(numpy_helper.from_array(values, name))
    return name


def insert(model: ModelProto, node: NodeProto, before: NodeProto) -> None:
    nodes = list(model.graph.node)
    nodes.insert(nodes.index(before), node)
    del model.graph.node[:]
    model.graph.node.extend(nodes)


def redirect(node: NodeProto, old: str, new: str) -> None:
    node.input[list(node.input).index(old)] = new


def put_qdq(model: ModelProto, reader: NodeProto, name: str, scale: float = 0.02) -> None:
    """Quantise and dequantise what `reader` reads as `name`."""
    parameters = [
        constant(model, f"{name}_s", np.array(scale, np.float32)),
        constant(model, f"{name}_z", np.array(0, np.int8)),
    ]
    at = next(node for node in model.graph.node if node.name == reader.name and node.output == reader.output)
    insert(model, helper.make_node(Q, [name, *parameters], [f"{name}_q"], f"{name}_Q"), at)
    insert(model, helper.make_node(DQ, [f"{name}_q", *parameters], [f"{name}_dq"], f"{name}_DQ"), at)
    redirect(next(n for n in model.graph.node if n.name == reader.name), name, f"{name}_dq")


def activation_pair(model: ModelProto) -> tuple[NodeProto, NodeProto]:
    """Q and DQ of the input of the second convolution of the encoder."""
    name = node_of(model, "Relu").output[0]
    quantize = reader_of(model, name, Q)
    return quantize, reader_of(model, quantize.output[0])


def weight_pair(model: ModelProto) -> tuple[NodeProto, NodeProto]:
    """Q and DQ of the weights of the second convolution of the encoder."""
    layer = reader_of(model, activation_pair(model)[1].output[0], "Conv")
    dequantize = maker_of(model, layer.input[1])
    return maker_of(model, dequantize.input[0]), dequantize


def set_axis(node: NodeProto, axis: int) -> None:
    kept = [attribute for attribute in node.attribute if attribute.name != "axis"]
    del node.attribute[:]
    node.attribute.extend([*kept, helper.make_attribute("axis", axis)])


# --- the broken forms -------------------------------------------------------------------------------------------------


def asymmetric(model: ModelProto) -> None:
    constant(model, activation_pair(model)[0].input[2], np.array(5, np.int8))


def uint8_zero_point(model: ModelProto) -> None:
    constant(model, activation_pair(model)[0].input[2], np.array(0, np.uint8))


def uint8_around_its_middle(model: ModelProto) -> None:
    """What onnxruntime.quantization makes unless told otherwise."""
    constant(model, activation_pair(model)[0].input[2], np.array(128, np.uint8))


def no_zero_point(model: ModelProto) -> None:
    quantize, dequantize = activation_pair(model)
    del quantize.input[2], dequantize.input[2]


def computed_zero_point(model: ModelProto) -> None:
    quantize, dequantize = activation_pair(model)
    insert(model, helper.make_node("Identity", [quantize.input[2]], ["computed"], "computing"), model.graph.node[0])
    quantize, dequantize = activation_pair(model)
    quantize.input[2] = dequantize.input[2] = "computed"


def negative_scale(model: ModelProto) -> None:
    constant(model, activation_pair(model)[0].input[1], np.array(-0.1, np.float32))


def infinite_scale(model: ModelProto) -> None:
    constant(model, activation_pair(model)[0].input[1], np.array(np.inf, np.float32))


def zero_scale(model: ModelProto) -> None:
    constant(model, activation_pair(model)[0].input[1], np.array(0.0, np.float32))


def computed_scale(model: ModelProto) -> None:
    insert(
        model,
        helper.make_node("Abs", [activation_pair(model)[0].input[1]], ["computed"], "computing"),
        model.graph.node[0],
    )
    for node in activation_pair(model):
        node.input[1] = "computed"


def activation_with_many_scales(model: ModelProto) -> None:
    pair = activation_pair(model)
    constant(model, pair[0].input[1], np.full(4, 0.02, np.float32))
    constant(model, pair[0].input[2], np.zeros(4, np.int8))
    for node in pair:
        set_axis(node, 1)


def weights_along_their_inputs(model: ModelProto) -> None:
    pair = weight_pair(model)
    constant(model, pair[0].input[1], np.full(4, 0.02, np.float32))
    constant(model, pair[0].input[2], np.zeros(4, np.int8))
    for node in pair:
        set_axis(node, 1)


def int32_bias(model: ModelProto) -> None:
    layer = reader_of(model, weight_pair(model)[1].output[0])
    count = next(tensor for tensor in model.graph.initializer if tensor.name == layer.input[2]).dims[0]
    values = constant(model, "bias_q", np.ones(count, np.int32))
    scale = constant(model, "bias_s", np.array(0.01, np.float32))
    zero = constant(model, "bias_z", np.array(0, np.int32))
    layer.input[2] = "bias_dq"
    insert(model, helper.make_node(DQ, [values, scale, zero], ["bias_dq"], "bias_DQ"), model.graph.node[0])


def int8_bias(model: ModelProto) -> None:
    layer = reader_of(model, weight_pair(model)[1].output[0])
    put_qdq(model, layer, layer.input[2])


def pair_with_two_scales(model: ModelProto) -> None:
    activation_pair(model)[1].input[1] = constant(model, "another", np.array(0.5, np.float32))


def int8_weights_in_the_file(model: ModelProto) -> None:
    quantize, dequantize = weight_pair(model)
    shape = next(tensor for tensor in model.graph.initializer if tensor.name == quantize.input[0]).dims
    dequantize.input[0] = constant(model, "weights_q", np.ones(list(shape), np.int8))
    model.graph.node.remove(quantize)


def int8_that_goes_elsewhere(model: ModelProto) -> None:
    quantize, dequantize = activation_pair(model)
    turn = helper.make_node("Transpose", [quantize.output[0]], ["turned"], "turning", perm=[0, 1, 3, 2])
    insert(model, turn, dequantize)
    activation_pair_dq = next(node for node in model.graph.node if node.name == dequantize.name)
    activation_pair_dq.input[0] = "turned"


def quantised_before_its_activation(model: ModelProto) -> None:
    relu = node_of(model, "Relu")
    put_qdq(model, relu, relu.input[0])


def quantised_before_the_nearest_are_chosen(model: ModelProto) -> None:
    choice = node_of(model, "TopK")
    put_qdq(model, choice, choice.input[0])


def quantised_frame_for_everybody(model: ModelProto) -> None:
    """What onnxruntime.quantization makes by itself: all readers of a convolution's input get the quantised one."""
    first = next(node for node in model.graph.node if node.op_type == Q and "weight" not in node.input[0])
    name, given = first.input[0], reader_of(model, first.output[0]).output[0]
    for node in model.graph.node:
        if name in node.input and node.op_type != Q:
            redirect(node, name, given)


def quantised_memory(model: ModelProto) -> None:
    readers = [node for node in model.graph.node if node.op_type == "MatMul" and "memory.templates" in node.input]
    put_qdq(model, readers[0], "memory.templates")


def quantised_errors(model: ModelProto) -> None:
    pool = node_of(model, "AveragePool")
    put_qdq(model, pool, pool.input[0])


def quantised_frame_in_the_error(model: ModelProto) -> None:
    first = next(node for node in model.graph.node if node.op_type == Q and "weight" not in node.input[0])
    given = reader_of(model, first.output[0]).output[0]
    mean = next(n for n in model.graph.node if n.op_type == "Add" and "autoencoder.mean_frame" in n.input)
    redirect(reader_of(model, mean.output[0], "Sub"), first.input[0], given)


def transposed_convolution(model: ModelProto) -> None:
    resize = node_of(model, "Resize")
    channels = next(
        v.type.tensor_type.shape.dim[1].dim_value
        for v in onnx.shape_inference.infer_shapes(model).graph.value_info
        if v.name == resize.input[0]
    )
    weights = constant(model, "up", np.ones((channels, channels, 2, 2), np.float32))
    up = helper.make_node("ConvTranspose", [resize.input[0], weights], list(resize.output), "up", strides=[2, 2])
    insert(model, up, resize)
    model.graph.node.remove(resize)


def open_batch_size(model: ModelProto) -> None:
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_param = "N"


def foreign_operator(model: ModelProto) -> None:
    relu = node_of(model, "Relu")
    relu.op_type, relu.domain = "QuickGelu", "com.microsoft"
    model.opset_import.append(helper.make_opsetid("com.microsoft", 1))


def operator_with_a_graph_of_its_own(model: ModelProto) -> None:
    relu = node_of(model, "Relu")
    kind = helper.make_tensor_value_info("branch", TensorProto.FLOAT, None)
    branch = helper.make_graph([helper.make_node("Abs", [relu.input[0]], ["branch"])], "b", [], [kind])
    both = {"then_branch": branch, "else_branch": branch}
    truth = constant(model, "truth", np.array(True))
    insert(model, helper.make_node("If", [truth], list(relu.output), "deciding", **both), relu)
    model.graph.node.remove(relu)


def weights_in_another_file(model: ModelProto) -> None:
    tensor = model.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="weights.bin")


def wide_output(model: ModelProto) -> None:
    latent = next(value for value in model.graph.output if value.name == "latent")
    maker = maker_of(model, "latent")
    maker.output[0] = "narrow"
    for node in model.graph.node:
        for place, name in enumerate(node.input):
            node.input[place] = "narrow" if name == "latent" else name
    model.graph.node.append(helper.make_node("Cast", ["narrow"], ["latent"], "widening", to=TensorProto.DOUBLE))
    latent.type.tensor_type.elem_type = TensorProto.DOUBLE


def uint8_inside(model: ModelProto) -> None:
    """The channels of the frame come first before it is a float."""
    cast, turn = node_of(model, "Cast"), node_of(model, "Transpose")
    turn = next(node for node in model.graph.node if cast.output[0] in node.input)
    turn.input[0], cast.input[0] = "frames", "turned"
    cast.output[0], turn.output[0] = turn.output[0], "turned"
    nodes = [turn, cast, *(node for node in model.graph.node if node not in (turn, cast))]
    del model.graph.node[:]
    model.graph.node.extend(nodes)


def axes_as_an_input(model: ModelProto) -> None:
    """The form of opset 18, that of ReduceSum, for every reduction."""
    newer = onnx.version_converter.convert_version(model, 18)
    model.CopyFrom(newer)


def half_in_a_graph_of_int8(model: ModelProto) -> None:
    relu = node_of(model, "Relu")
    name = relu.input[0]
    insert(model, helper.make_node("Cast", [name], ["narrow"], "narrowing", to=TensorProto.FLOAT16), relu)
    relu = node_of(model, "Relu")
    after = relu.output[0]
    relu.input[0], relu.output[0] = "narrow", "narrow_relu"
    place = list(model.graph.node).index(relu) + 1
    cast = helper.make_node("Cast", ["narrow_relu"], [after], "widening", to=TensorProto.FLOAT)
    insert(model, cast, model.graph.node[place])


def not_a_graph(model: ModelProto) -> None:
    """Reads what nobody makes."""
    node_of(model, "Relu").input[0] = "nothing"


Breaker = Callable[[ModelProto], None]
# Each broken form, and the rule that finds it. Those of the first list are refused by TensorRT-RTX 1.7, those of the
# second are not, and the rule gives another reason.
REFUSED: list[tuple[Breaker, str]] = [
    (not_a_graph, "valid"),
    (weights_in_another_file, "external-data"),
    (foreign_operator, "domain"),
    (open_batch_size, "static-shapes"),
    (uint8_inside, "uint8"),
    (uint8_around_its_middle, "int8"),
    (asymmetric, "zero-point"),
    (negative_scale, "scale"),
    (zero_scale, "scale"),
    (int32_bias, "bias"),
]
ACCEPTED: list[tuple[Breaker, str]] = [
    (operator_with_a_graph_of_its_own, "domain"),
    (wide_output, "interface"),
    (transposed_convolution, "conv-transpose"),
    (axes_as_an_input, "reduce-axes"),
    (half_in_a_graph_of_int8, "half"),
    (uint8_zero_point, "int8"),
    (no_zero_point, "int8"),
    (computed_zero_point, "zero-point"),
    (infinite_scale, "scale"),
    (computed_scale, "scale"),
    (activation_with_many_scales, "scale"),
    (weights_along_their_inputs, "axis"),
    (int8_bias, "bias"),
    (pair_with_two_scales, "pair"),
    (int8_weights_in_the_file, "pair"),
    (int8_that_goes_elsewhere, "pair"),
    (quantised_before_its_activation, "activation"),
    (quantised_before_the_nearest_are_chosen, "selection"),
    (quantised_frame_for_everybody, "selection"),
    (quantised_memory, "selection"),
    (quantised_errors, "tail"),
    (quantised_frame_in_the_error, "tail"),
]


def conv_and_linear() -> list[ModelConfig]:
    """The tiny model with both decoders, with and without motion, and with a memory of half its size."""
    flow = replace(TINY, motion="flow", motion_lags_ms=(100, 200))
    halved = replace(TINY, halve_memory_above_px=16)
    return [TINY, replace(TINY, decoder="linear"), flow, replace(flow, decoder="linear"), halved]
