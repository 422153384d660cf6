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
    model.graph.node.append(helper.make_node("QuantizeLinear", ["weight", "scale", "zero"], ["q"]))
    model.producer_version = str(weight)
    return bytes(model.SerializeToString())


def test_scales_and_whole_numbers_are_structure() -> None:
    same = structure_of(quantised(0.1, 1.0))
    assert structure_of(quantised(0.1, 2.0)) == same
    assert structure_of(quantised(0.2, 1.0)) != same
    assert structure_of(quantised(0.1, 1.0, steps=3)) != same


def test_what_is_no_graph_is_a_value_error() -> None:
    with pytest.raises(ValueError, match="no ONNX"):
        structure_of(b"\xff\xff\xff")
