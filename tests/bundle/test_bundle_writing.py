from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tiny import tiny_graph

from edgevad.bundle import Bundle, write_bundle
from edgevad.bundle.manifest import FileEntry
from edgevad.errors import BundleError, OutputError
from edgevad.spec import InputSpec
from edgevad.targets import load_target


@pytest.fixture
def fields(tiny_bundle: Path) -> dict[str, Any]:
    """What `write_bundle` needs for a bundle like the tiny one."""
    bundle = Bundle.open(tiny_bundle)
    return {
        "name": "written",
        "target": load_target("cpu"),
        "backend": "onnxruntime",
        "precision": "fp32",
        "graphs": {"fp32": bundle.graph()},
        "input": bundle.manifest.input,
        "score": "patch",
        "calibration": bundle.manifest.calibration,
        "provenance": {"seed": 2},
        "selftest": bundle.selftest(),
        "selftest_rtol": 0.01,
        "scores": bundle.training_scores().arrays(),
    }


@pytest.mark.parametrize("name", ["folder", "one.edgevad"])
def test_every_part_is_found_again_in_either_form(fields: dict[str, Any], tmp_path: Path, name: str) -> None:
    graph = tiny_graph(InputSpec(32, 32))
    fields["graphs"]["int8"] = graph
    guard = {"passed": True, "auroc_drop": 0.001}
    extra = {"guard.json": b"{}", "guard.png": b"\x89PNG"}
    written = write_bundle(tmp_path / name, **{**fields, "precision": "int8"}, guard=guard, extra=extra)
    assert (written.path.is_dir(), written.path.is_file()) == (name == "folder", name != "folder")
    found = Bundle.open(tmp_path / name)
    assert found == written
    manifest = found.manifest
    assert (manifest.name, manifest.target, manifest.backend, manifest.precision) == (
        "written",
        "cpu",
        "onnxruntime",
        "int8",
    )
    assert manifest.device() == load_target("cpu")
    assert manifest.graphs == {"fp32": "model.onnx", "int8": "model.int8.onnx"}
    assert (manifest.selftest_rtol, manifest.guard, manifest.provenance) == (0.01, guard, {"seed": 2})
    assert manifest.files["guard.png"] == FileEntry(
        "0f4636c78f65d3639ece5a064b5ae753e3408614a14fb18ab4d7540d2c248543", 4
    )
    assert found.read("guard.json") == b"{}"
    assert found.graph() == found.graph("int8") == graph
    assert found.graph("fp32") == fields["graphs"]["fp32"]
    with pytest.raises(BundleError, match="holds no fp16 graph; expected one of fp32, int8"):
        found.graph("fp16")
    with pytest.raises(BundleError, match=r"nothing\.bin: the manifest lists no such file"):
        found.read("nothing.bin")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"precision": "int8"}, "it names no int8 graph"),
        ({"graphs": {}}, "it names no fp32 graph"),
        ({"precision": "bf16"}, "its precision is 'bf16', none of fp32, fp16, int8"),
        ({"backend": "abacus"}, "its backend is 'abacus', none of onnxruntime, openvino, tensorrt"),
        ({"graphs": {"fp32": b"no graph"}}, r"model\.onnx: is no ONNX graph"),
        ({"selftest_rtol": 0.0}, "a self-test tolerance of 0.0"),
        ({"selftest_rtol": 2.0}, "a self-test tolerance of 2.0"),
        ({"selftest_rtol": math.nan}, "cannot be written as JSON"),
        ({"provenance": {"loss": math.inf}}, "cannot be written as JSON"),
        ({"provenance": {"path": Path("x")}}, "cannot be written as JSON"),
        ({"name": "two\nlines"}, "its name is no line of up to 200 characters"),
        ({"extra": {"../evil": b""}}, "a member is called"),
        ({"extra": {"signature.json": b""}}, "two members are called signature.json"),
        ({"selftest": {"frames": np.zeros((1, 32, 32, 3), np.uint8)}}, r"selftest\.npz: an array is missing"),
        (
            {"selftest": {"frames": np.zeros((1, 32, 32, 3), np.float32), "score": np.ones((1, 1), np.float32)}},
            "float32 of shape",
        ),
        ({"scores": {"score": np.zeros(3)}}, "an array is missing"),
    ],
)
@pytest.mark.parametrize("name", ["folder", "one.edgevad"])
def test_parts_that_do_not_hold_together_are_not_written(
    fields: dict[str, Any], tmp_path: Path, name: str, change: dict[str, Any], message: str
) -> None:
    out = tmp_path / name
    first = write_bundle(out, **fields).digest
    with pytest.raises(BundleError, match=message) as caught:
        write_bundle(out, **{**fields, **change})
    assert "\n" not in str(caught.value)
    assert Bundle.open(out).digest == first
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_an_older_bundle_is_replaced_and_nothing_else_is(fields: dict[str, Any], tmp_path: Path) -> None:
    for name in ("folder", "one.edgevad"):
        write_bundle(tmp_path / name, **fields)
        assert write_bundle(tmp_path / name, **{**fields, "name": "newer"}).manifest.name == "newer"
    (tmp_path / "x.edgevad").mkdir()
    with pytest.raises(OutputError, match="a folder is in the way"):
        write_bundle(tmp_path / "x.edgevad", **fields)
    (tmp_path / "file").write_text("x")
    with pytest.raises(OutputError, match="a file is in the way"):
        write_bundle(tmp_path / "file", **fields)


def test_the_profile_travels_as_json(fields: dict[str, Any], tmp_path: Path) -> None:
    written = write_bundle(tmp_path / "b", **fields)
    profile = json.loads((tmp_path / "b" / "manifest.json").read_text())["profile"]
    assert profile == json.loads(json.dumps(load_target("cpu").to_json())) == written.manifest.profile
