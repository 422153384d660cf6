from __future__ import annotations

import numpy as np
import onnx
import pytest
from fake_gpu.bundles import static_graph
from onnx import helper, numpy_helper

from edgevad.runtime.engines.graph_identity import structure_of
from edgevad.spec import InputSpec

SPEC = InputSpec(32, 32)


def test_weights_are_no_structure_and_everything_else_is() -> None:
    same = structure_of(static_graph(SPEC))
    assert structure_of(static_graph(SPEC, gray=0.7)) == same
    others = [
        static_graph(SPEC, wider=True),
        static_graph(SPEC, batch=2),
        static_graph(InputSpec(32, 64)),
        static_graph(InputSpec(32, 32, bank=(5, 2, 4))),
    ]
    assert len({same, *map(structure_of, others)}) == 5


def quantised(scale: float, weight: float, steps: int = 2) -> bytes:
    model = onnx.load_from_string(static_graph(SPEC))
    arrays = {"scale": np.float32(scale), "zero": np.int8(0), "weight": np.float32(weight), "steps": np.int64(steps)}
    model.graph.initializer.extend(numpy_helper.from_array(np.array(value), name) for name, value in arrays.items())
    model.graph.node.append(helper.make_node("Mul", ["levels", "weight"], ["heavy"]))
    model.graph.node.append(helper.make_node("QuantizeLinear", ["heavy", "scale", "zero"], ["q"]))
    model.producer_version = str(weight)
    return bytes(model.SerializeToString())


def test_scales_and_whole_numbers_are_structure() -> None:
    same = structure_of(quantised(0.1, 1.0))
    assert structure_of(quantised(0.1, 2.0)) == same
    assert structure_of(quantised(0.2, 1.0)) != same
    assert structure_of(quantised(0.1, 1.0, steps=3)) != same


def computed(operator: str, *, value: float, subgraph: bool = False) -> bytes:
    """The tiny graph with one more number, which this operator takes as its second input."""
    model = onnx.load_from_string(static_graph(SPEC))
    model.graph.initializer.append(numpy_helper.from_array(np.array(value, np.float32), "value"))
    node = helper.make_node(operator, ["levels", "value"], ["result"])
    if subgraph:
        inner = helper.make_graph([node], "then", [], [helper.make_empty_tensor_value_info("result")])
        node = helper.make_node("If", ["yes"], ["result"], then_branch=inner, else_branch=inner)
    model.graph.node.append(node)
    return bytes(model.SerializeToString())


@pytest.mark.parametrize(("operator", "is_weight"), [("Pow", False), ("Clip", False), ("MatMul", True), ("Add", True)])
def test_numbers_that_tensorrt_may_build_in_are_structure(operator: str, is_weight: bool) -> None:
    same = structure_of(computed(operator, value=2.0)) == structure_of(computed(operator, value=3.0))
    assert same is is_weight
    inside = [structure_of(computed(operator, value=value, subgraph=True)) for value in (2.0, 3.0)]
    assert inside[0] != inside[1]


def test_a_number_that_goes_into_two_operators_is_structure_for_either() -> None:
    found = []
    for value in (2.0, 3.0):
        model = onnx.load_from_string(computed("Add", value=value))
        model.graph.node.append(helper.make_node("Pow", ["levels", "value"], ["power"]))
        found.append(structure_of(model.SerializeToString()))
    assert found[0] != found[1]


def test_what_is_no_graph_is_a_value_error() -> None:
    with pytest.raises(ValueError, match="no ONNX"):
        structure_of(b"\xff\xff\xff")
