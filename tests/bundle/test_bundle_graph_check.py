from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import ModelProto, TensorProto, helper, numpy_helper
from tiny import put_file

from edgevad.bundle import Bundle, activate
from edgevad.bundle.graph_check import check_graph
from edgevad.errors import BundleError


@pytest.fixture
def graph(tiny_bundle: Path) -> ModelProto:
    return onnx.load_from_string((tiny_bundle / "model.onnx").read_bytes())


def external(name: str = "weights") -> TensorProto:
    """A tensor whose values an engine would read from /etc/passwd."""
    tensor = TensorProto(name=name, data_type=TensorProto.UINT8, dims=[8], data_location=TensorProto.EXTERNAL)
    for key, value in (("location", "/etc/passwd"), ("offset", "0"), ("length", "8")):
        tensor.external_data.add(key=key, value=value)
    return tensor


def initializer(model: ModelProto) -> None:
    model.graph.initializer.append(external())


def entries_only(model: ModelProto) -> None:
    """As above, in a tensor that says it lies in the file itself."""
    model.graph.initializer.append(external())
    model.graph.initializer[-1].data_location = TensorProto.DEFAULT


def location_only(model: ModelProto) -> None:
    model.graph.initializer[0].data_location = TensorProto.EXTERNAL


def sparse_values(model: ModelProto) -> None:
    model.graph.sparse_initializer.add().values.CopyFrom(external())


def sparse_indices(model: ModelProto) -> None:
    model.graph.sparse_initializer.add().indices.CopyFrom(external())


def attribute(model: ModelProto) -> None:
    model.graph.node.append(helper.make_node("Constant", [], ["loaded"], value=external()))


def attribute_list(model: ModelProto) -> None:
    model.graph.node[0].attribute.add(name="many", type=onnx.AttributeProto.TENSORS).tensors.append(external())


def sparse_attribute(model: ModelProto) -> None:
    found = model.graph.node[0].attribute.add(name="sparse", type=onnx.AttributeProto.SPARSE_TENSOR)
    found.sparse_tensor.values.CopyFrom(external())


def subgraph(model: ModelProto) -> None:
    inner = helper.make_graph([helper.make_node("Identity", ["weights"], ["out"])], "then", [], [], [external()])
    outer = helper.make_graph([helper.make_node("If", ["yes"], ["out"], then_branch=inner)], "outer", [], [])
    model.graph.node.append(helper.make_node("If", ["yes"], ["out"], then_branch=outer, else_branch=outer))


def function(model: ModelProto) -> None:
    node = helper.make_node("Constant", [], ["loaded"], value=external())
    model.functions.append(helper.make_function("", "Load", [], ["loaded"], [node], []))


def function_default(model: ModelProto) -> None:
    model.functions.add(name="Load").attribute_proto.add(name="w", type=onnx.AttributeProto.TENSOR).t.CopyFrom(
        external()
    )


def training(model: ModelProto) -> None:
    model.training_info.add().algorithm.initializer.append(external())


PLACES = (
    initializer,
    entries_only,
    location_only,
    sparse_values,
    sparse_indices,
    attribute,
    attribute_list,
    sparse_attribute,
    subgraph,
    function,
    function_default,
    training,
)


@pytest.mark.parametrize("hide", PLACES)
def test_external_data_is_found_wherever_it_hides(
    graph: ModelProto, hide: Callable[[ModelProto], None], tmp_path: Path
) -> None:
    check_graph(graph.SerializeToString(), tmp_path)
    hide(graph)
    with pytest.raises(BundleError, match=r"tensor '\w+' lies in another file\. Export the bundle again"):
        check_graph(graph.SerializeToString(), tmp_path)


def custom_node(model: ModelProto) -> None:
    model.graph.node[0].domain = "com.example"


def custom_in_subgraph(model: ModelProto) -> None:
    inner = helper.make_graph([helper.make_node("Run", [], ["out"], domain="com.example")], "then", [], [])
    model.graph.node.append(helper.make_node("If", ["yes"], ["out"], then_branch=inner))


def custom_in_function(model: ModelProto) -> None:
    model.functions.add(name="Call").node.append(helper.make_node("Run", [], ["out"], domain="com.example"))


def custom_in_training(model: ModelProto) -> None:
    model.training_info.add().initialization.node.append(helper.make_node("Run", [], [], domain="com.example"))


@pytest.mark.parametrize("hide", [custom_node, custom_in_subgraph, custom_in_function, custom_in_training])
def test_custom_operators_are_found_wherever_they_hide(
    graph: ModelProto, hide: Callable[[ModelProto], None], tmp_path: Path
) -> None:
    hide(graph)
    with pytest.raises(BundleError, match=r"operator 'com\.example\.\w+' is not one of ONNX's own; expected no custom"):
        check_graph(graph.SerializeToString(), tmp_path)


@pytest.mark.parametrize("domain", ["com.microsoft", "ai.onnx.ml", "ai.onnx.preview.training", " ", "AI.ONNX"])
def test_operators_that_engines_bring_along_are_not_onnxs_own(graph: ModelProto, domain: str, tmp_path: Path) -> None:
    graph.graph.node[0].domain = domain
    with pytest.raises(BundleError, match="is not one of ONNX's own"):
        check_graph(graph.SerializeToString(), tmp_path)


def test_plain_graphs_are_taken_with_what_exporters_leave_in_them(graph: ModelProto, tmp_path: Path) -> None:
    graph.graph.node[0].domain = "ai.onnx"
    graph.opset_import.append(helper.make_opsetid("com.microsoft", 1))  # declared, and used by no node
    graph.graph.initializer.append(numpy_helper.from_array(np.zeros(100_000, np.float32), "inside"))
    check_graph(graph.SerializeToString(), tmp_path)


def test_deep_nesting_is_one_error(tmp_path: Path) -> None:
    """Written by hand: the library that reads it would not write it."""

    def varint(number: int) -> bytes:
        return bytes([number & 0x7F | (0x80 if number > 0x7F else 0)]) + (varint(number >> 7) if number > 0x7F else b"")

    def field(number: int, content: bytes) -> bytes:
        return varint(number << 3 | 2) + varint(len(content)) + content

    graph = b""
    for _ in range(2000):
        graph = field(1, field(5, field(6, graph)))  # graph.node.attribute.g
    with pytest.raises(BundleError, match="is no ONNX graph"):
        check_graph(field(7, graph), tmp_path)


@pytest.mark.parametrize("data", [b"", b"\x00" * 100, b"not a graph", ModelProto(ir_version=8).SerializeToString()])
def test_what_is_no_graph_is_one_error(data: bytes, tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="is no ONNX graph") as caught:
        check_graph(data, tmp_path / "model.onnx")
    assert "\n" not in str(caught.value)


def test_a_hostile_graph_is_refused_before_anything_is_written_or_loaded(
    graph: ModelProto, tiny_bundle: Path, tmp_path: Path, edgevad_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import shutil

    copy = Path(shutil.copytree(tiny_bundle, tmp_path / "copy"))
    initializer(graph)
    put_file(copy, "model.onnx", graph.SerializeToString())
    monkeypatch.setattr("onnxruntime.InferenceSession", lambda *_, **__: pytest.fail("an engine saw it"))
    with pytest.raises(BundleError, match=r"model\.onnx: tensor 'weights' lies in another file"):
        activate(copy)
    assert not edgevad_home.exists()
    with pytest.raises(BundleError, match="lies in another file"):
        Bundle.open(copy).graph("fp32")
