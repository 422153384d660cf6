"""Bundles that pass their self-test and fail on the road: real graphs, each with what a real one could have.

The self-test's frames are gray noise below half of white; the simulated camera's show a ramp up to 0.78 of it.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from edgevad.bundle import Bundle
from edgevad.spec import InputSpec
from tests.tiny import edit_manifest, put_file, tiny_graph, write_tiny_bundle

__all__ = ["BAD", "write_bad_bundle"]

SPEC = InputSpec(32, 32)
BRIGHTEST = 0.7
# Matrix products of this size, so many of them, for each frame: five times the budget on a quick core.
_SIZE, _PRODUCTS = 512, 72


def write_bad_bundle(path: Path, kind: str) -> Bundle:
    """A bundle called `kind`, one of BAD."""
    model = onnx.load_from_string(tiny_graph(SPEC))
    graph = model.graph
    BAD[kind](graph)
    # The last node gives the score of the first pass; what a kind adds to it is nothing, on gray noise.
    last = next(node for node in graph.node if node.output[0] == "score")
    last.output[0] = "plain"
    graph.node.append(helper.make_node("Add", ["plain", "added"], ["score"]))
    write_tiny_bundle(path, SPEC)
    put_file(path, "model.onnx", model.SerializeToString())
    edit_manifest(path, name=kind)
    return Bundle.open(path)


def _constant(graph: onnx.GraphProto, name: str, value: object, kind: type = np.float32) -> str:
    graph.initializer.append(numpy_helper.from_array(np.array(value, kind), name))
    return name


def _nan(graph: onnx.GraphProto) -> None:
    """The root of what is negative in a bright picture."""
    graph.node.extend(
        [
            helper.make_node("ReduceMax", ["gray"], ["brightest"], axes=[1, 2], keepdims=0),
            helper.make_node("Sub", [_constant(graph, "limit", BRIGHTEST), "brightest"], ["left"]),
            helper.make_node("Sqrt", ["left"], ["root"]),
            helper.make_node("Mul", ["root", _constant(graph, "nothing", 0.0)], ["zero"]),
            helper.make_node("Unsqueeze", ["zero", "one"], ["added"]),
        ]
    )


def _raising(graph: onnx.GraphProto) -> None:
    """An index beyond a table's end in a bright picture: the engine refuses in the middle of its work."""
    graph.node.extend(
        [
            helper.make_node("ReduceMax", ["gray"], ["brightest"], axes=[1, 2], keepdims=0),
            helper.make_node("Sub", ["brightest", _constant(graph, "limit", BRIGHTEST)], ["above"]),
            helper.make_node("Sign", ["above"], ["sign"]),
            helper.make_node("Cast", ["sign"], ["index"], to=TensorProto.INT64),
            helper.make_node("Gather", [_constant(graph, "table", [0.0]), "index"], ["zero"], axis=0),
            helper.make_node("Unsqueeze", ["zero", "one"], ["added"]),
        ]
    )


def _slow(graph: onnx.GraphProto) -> None:
    """Far more work than the score needs."""
    _constant(graph, "matrix", np.eye(_SIZE))
    graph.node.extend(
        [
            helper.make_node("ReduceMean", ["gray"], ["mean"], axes=[1, 2], keepdims=0),
            helper.make_node("ReduceMean", ["mean"], ["first"], axes=[0], keepdims=1),
            helper.make_node("Mul", ["matrix", "first"], ["product0"]),
        ]
    )
    for k in range(_PRODUCTS):
        graph.node.append(helper.make_node("MatMul", [f"product{k}", "matrix"], [f"product{k + 1}"]))
    graph.node.extend(
        [
            helper.make_node("ReduceMean", [f"product{_PRODUCTS}"], ["all"], keepdims=0),
            helper.make_node("Mul", ["all", _constant(graph, "nothing", 0.0)], ["added"]),
        ]
    )


BAD = {"nan": _nan, "raising": _raising, "slow": _slow}
