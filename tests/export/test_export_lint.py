from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import ModelProto, TensorProto, helper, numpy_helper
from qdq_graphs import (
    ACCEPTED,
    DQ,
    OPSET,
    REFUSED,
    TINY,
    Breaker,
    Q,
    float_graph,
    insert,
    node_of,
    quantised,
)

from edgevad.errors import GraphError
from edgevad.export.lint import RULES, Finding, check_graph, lint_graph


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> ModelProto:
    return quantised(float_graph(), tmp_path_factory.mktemp("qdq"))


def lint(model: ModelProto, **options: object) -> list[Finding]:
    return lint_graph(model, **{"opset_max": 20, "static_shapes": True, **options})  # type: ignore[arg-type]


def rules(findings: list[Finding]) -> set[str]:
    return {finding.rule for finding in findings}


def test_a_sound_graph_passes_as_a_model_and_as_bytes(sound: ModelProto) -> None:
    quantised_nodes = [node.op_type for node in sound.graph.node if node.op_type in (Q, DQ)]
    assert len(quantised_nodes) >= 16  # activations and weights of the encoder's and decoder's convolutions
    assert lint(sound) == []
    check_graph(sound.SerializeToString(), opset_max=OPSET, static_shapes=True)


def test_a_float_graph_of_any_batch_size_passes_where_shapes_may_be_open() -> None:
    graph = float_graph(replace(TINY, decoder="linear"))
    graph.graph.input[0].type.tensor_type.shape.dim[0].dim_param = "N"
    assert lint(graph, static_shapes=False, precision="fp32") == []


@pytest.mark.parametrize(("breaker", "rule"), [*REFUSED, *ACCEPTED], ids=lambda value: getattr(value, "__name__", ""))
def test_each_broken_form_is_found_by_its_rule_and_no_other(sound: ModelProto, breaker: Breaker, rule: str) -> None:
    broken = copy.deepcopy(sound)
    breaker(broken)
    findings = lint(broken)
    assert rules(findings) == {rule}
    assert all(finding.what for finding in findings)
    with pytest.raises(GraphError, match=rule):
        check_graph(broken, opset_max=20, static_shapes=True)


def test_every_rule_has_a_reason_and_a_form_that_breaks_it() -> None:
    covered = {rule for _, rule in [*REFUSED, *ACCEPTED]} | {"opset"}  # which has a test of its own
    assert covered == set(RULES)


def test_an_opset_newer_than_the_target_takes_is_found(sound: ModelProto) -> None:
    findings = lint(sound, opset_max=16)
    assert findings == [Finding("opset", "", "is in opset 17; the target takes up to 16")]


def test_the_error_names_the_first_findings_and_counts_the_others(sound: ModelProto) -> None:
    broken = copy.deepcopy(sound)
    for tensor in broken.graph.initializer:
        if tensor.name.endswith("_scale"):
            tensor.CopyFrom(numpy_helper.from_array(-numpy_helper.to_array(tensor), tensor.name))
    count = len(lint(broken))
    assert count > 10
    with pytest.raises(GraphError) as caught:
        check_graph(broken, opset_max=20, static_shapes=True, where="model.int8.onnx")
    message = str(caught.value)
    assert message.startswith(f"model.int8.onnx: the graph has {count} forms that TensorRT must not be given: scale: ")
    assert message.endswith(f"; and {count - 3} more")
    assert "\n" not in message


@pytest.mark.parametrize("data", [b"", b"\x00\x01\x02", b"not onnx at all", b"\x08\x0a" * 100])
def test_bytes_that_are_no_graph_are_a_finding_and_no_traceback(data: bytes) -> None:
    assert rules(lint_graph(data, opset_max=20, static_shapes=True)) == {"valid"}


def linear_layer(*, trans_b: bool, axis: int, op_type: str = "Gemm", turned: bool = False) -> ModelProto:
    """x (1, 4) -> a quantised layer of 3 outputs, with weights scaled along `axis` -> y."""
    rows_are_outputs = trans_b or turned
    shape = (3, 4) if rows_are_outputs else (4, 3)
    weights = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    scale = np.full(shape[axis], 0.02, np.float32)
    tensors = {
        "w": weights,
        "ws": scale,
        "wz": np.zeros(len(scale), np.int8),
        "xs": np.array(0.1, np.float32),
        "xz": np.array(0, np.int8),
    }
    nodes = [
        helper.make_node(Q, ["x", "xs", "xz"], ["xq"], "x_Q"),
        helper.make_node(DQ, ["xq", "xs", "xz"], ["xd"], "x_DQ"),
        helper.make_node(Q, ["w", "ws", "wz"], ["wq"], "w_Q", axis=axis),
        helper.make_node(DQ, ["wq", "ws", "wz"], ["wd"], "w_DQ", axis=axis),
    ]
    if turned:
        nodes.append(helper.make_node("Transpose", ["wd"], ["wt"], "turning", perm=[1, 0]))
    inputs = ["xd", "wt" if turned else "wd"]
    options = {"transB": int(trans_b)} if op_type == "Gemm" else {}
    nodes.append(helper.make_node(op_type, inputs, ["y"], "layer", **options))
    graph = helper.make_graph(
        nodes,
        "layer",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 4])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 3])],
        [numpy_helper.from_array(values, name) for name, values in tensors.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=8)


@pytest.mark.parametrize(
    ("options", "right"),
    [
        ({"trans_b": True}, 0),
        ({"trans_b": False}, 1),
        ({"trans_b": False, "op_type": "MatMul"}, 1),
        ({"trans_b": False, "op_type": "MatMul", "turned": True}, 0),
    ],
    ids=["gemm-transposed", "gemm", "matmul", "matmul-of-a-transpose"],
)
def test_the_axis_of_a_linear_layer_is_that_of_its_outputs(options: dict[str, object], right: int) -> None:
    assert lint(linear_layer(axis=right, **options)) == []  # type: ignore[arg-type]
    wrong = lint(linear_layer(axis=1 - right, **options))  # type: ignore[arg-type]
    assert rules(wrong) == {"axis"}
    assert f"axis {right if 'turned' not in options else 1}" in wrong[0].what


def in_half(model: ModelProto, first: str, last: str) -> None:
    """Casts to float16 before the value `first` and back after the value `last`; what lies between is linear."""
    reader = next(node for node in model.graph.node if first in node.input)
    insert(model, helper.make_node("Cast", [first], [f"{first}_h"], "narrowing", to=TensorProto.FLOAT16), reader)
    for node in model.graph.node:
        if node.op_type not in ("Cast",) and first in node.input:
            node.input[list(node.input).index(first)] = f"{first}_h"
    maker = next(node for node in model.graph.node if last in node.output)
    maker.output[0] = f"{last}_h"
    place = list(model.graph.node).index(maker) + 1
    back = helper.make_node("Cast", [f"{last}_h"], [last], "widening", to=TensorProto.FLOAT)
    insert(model, back, model.graph.node[place])


def test_float16_is_for_the_autoencoder_of_an_fp16_graph_alone() -> None:
    graph = float_graph()
    relu = node_of(graph, "Relu")
    in_half(graph, relu.input[0], relu.output[0])
    assert lint(graph, precision="fp16") == []
    for precision in ("fp32", "int8"):
        assert rules(lint(graph, precision=precision)) == {"half"}

    graph = float_graph()
    pool = node_of(graph, "AveragePool")
    in_half(graph, pool.input[0], pool.output[0])
    assert [finding.what for finding in lint(graph, precision="fp16")][1:] == [
        "AveragePool computes in float16 behind the autoencoder"
    ]

    graph = float_graph()
    root = node_of(graph, "ReduceMin")  # of the distances
    in_half(graph, root.input[0], root.output[0])
    assert rules(lint(graph, precision="fp16")) <= {"half", "valid"}
    assert any("nearest neighbours" in f.what for f in lint(graph, precision="fp16"))


def test_external_data_is_found_before_anything_is_read(sound: ModelProto, tmp_path: Path) -> None:
    """A bundle's graph may name any path of the machine that looks at it."""
    broken = copy.deepcopy(sound)
    tensor = TensorProto(name="outside", data_type=TensorProto.FLOAT, dims=[4], data_location=TensorProto.EXTERNAL)
    tensor.external_data.add(key="location", value="../../../../etc/passwd")
    broken.graph.initializer.append(tensor)
    assert lint(broken) == [Finding("external-data", "outside", "lies in another file")]
    constant_node = helper.make_node("Constant", [], ["c"], "c", value=tensor)
    broken = copy.deepcopy(sound)
    broken.graph.node.insert(0, constant_node)
    assert lint(broken) == [Finding("external-data", "outside", "lies in another file")]


def test_a_zero_point_may_be_missing_where_the_type_is_said(sound: ModelProto) -> None:
    """DequantizeLinear takes the type of what it reads."""
    relaxed = copy.deepcopy(sound)
    for node in relaxed.graph.node:
        if node.op_type == DQ:
            del node.input[2]
    onnx.checker.check_model(relaxed)
    assert lint(relaxed) == []
