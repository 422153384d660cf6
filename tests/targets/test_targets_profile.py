from __future__ import annotations

import json
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgevad.targets import Software, Target, load_target, target_names

ORIN = load_target("jetson-orin").to_json()
JETSONS = [name for name in target_names() if name.startswith("jetson-")]


@pytest.mark.parametrize("name", target_names())
def test_profiles_say_everything_and_where_it_comes_from(name: str) -> None:
    target = load_target(name)
    assert target.name == name
    assert target.description
    assert target.limits  # there is always something that a device does not do
    figures = {"precisions", "opset_max", "latency_budget_ms"}
    figures |= {field for field in ("memory_gb", "power_modes", "software", "workspace_mib") if getattr(target, field)}
    figures |= {"compute_capability"} if target.compute_capability else set()
    figures |= {"dla_cores", "dla_condition"} if target.dla_cores else set()
    assert figures <= set(target.sources)
    assert "edgevad's own choice" in target.sources["latency_budget_ms"]
    if target.backend == "tensorrt":
        assert target.static_batch
        assert target.opset_max <= 20
        assert target.workspace_mib >= 1024
        assert "fp16" in target.precisions


@pytest.mark.parametrize("name", JETSONS)
def test_jetsons_are_described_as_boards(name: str) -> None:
    target = load_target(name)
    assert target.compute_capability is not None
    assert target.memory_gb
    assert target.power_modes
    assert all(row.jetpack and row.tensorrt and row.cuda and row.python for row in target.software)
    # Python older than ours: no `edgevad run`, and the profile says so first.
    old = any(int(row.python.split(".")[1]) < 10 for row in target.software)
    assert target.runs_edgevad != old
    assert ("edgevad run does not work there" in target.limits[0]) == old
    assert bool(target.dla_cores) == bool(target.dla_condition)


def test_small_boards_build_within_a_gibibyte() -> None:
    small = [load_target(name) for name in JETSONS if min(load_target(name).memory_gb) <= 8]
    assert {target.workspace_mib for target in small if target.backend == "tensorrt"} == {1024}


def test_every_target_takes_the_graph_that_export_makes() -> None:
    from edgevad.export.onnx_from_model import OPSET

    assert all(load_target(name).opset_max >= OPSET for name in target_names())


@pytest.mark.parametrize("name", target_names())
def test_json_round_trip(name: str) -> None:
    target = load_target(name)
    text = json.dumps(target.to_json(), allow_nan=False)
    again = Target.from_json(json.loads(text))
    assert again == target
    assert hash(again) == hash(target)
    assert set(target.to_json()) == {field.name for field in fields(Target)}


def test_six_fields_are_enough() -> None:
    value = {name: ORIN[name] for name in ("name", "description", "backend", "precisions", "static_batch", "opset_max")}
    target = Target.from_json(value)
    assert (target.runs_edgevad, target.compute_capability, target.latency_budget_ms) == (True, None, 100.0)
    for name in value:
        with pytest.raises(KeyError, match=name):
            Target.from_json({key: held for key, held in value.items() if key != name})


@pytest.mark.parametrize(
    ("field", "value", "error", "message"),
    [
        ("name", "Jetson Orin", ValueError, "lower-case letters"),
        ("name", "../orin", ValueError, "lower-case letters"),
        ("name", 3, TypeError, "name is 3, expected a string"),
        ("description", "two\nlines", ValueError, "printable"),
        ("description", "\x1b[2J", ValueError, "printable"),
        ("description", "x" * 501, ValueError, "at most 500"),
        ("backend", "tensorflow", ValueError, "one of onnxruntime, openvino, tensorrt"),
        ("precisions", [], ValueError, "fp32"),
        ("precisions", ["int8"], ValueError, "fp32 and any of int8, fp16"),
        ("precisions", ["fp32", "fp32"], ValueError, "each once"),
        ("precisions", ["fp8", "fp32"], ValueError, "fp32 and any of int8, fp16"),
        ("precisions", "fp32", TypeError, "expected a list"),
        ("precisions", [["fp32"]], TypeError, "a list of strings"),
        ("static_batch", 1, TypeError, "true or false"),
        ("opset_max", 17.0, TypeError, "a whole number"),
        ("opset_max", True, TypeError, "a whole number"),
        ("opset_max", 3, ValueError, "7 to 99"),
        ("opset_max", 10**400, ValueError, "7 to 99"),
        ("compute_capability", "sm_87", ValueError, 'such as "8.7"'),
        ("compute_capability", 8.7, TypeError, 'a string such as "8.7"'),
        ("dla_cores", -1, ValueError, "0 to 8"),
        ("memory_gb", [0], ValueError, "above 0"),
        ("memory_gb", ["8"], TypeError, "a list of numbers"),
        ("memory_gb", [True], TypeError, "a list of numbers"),
        ("memory_gb", [1.0] * 33, ValueError, "at most 32 entries"),
        ("workspace_mib", 1 << 21, ValueError, "0 to 1048576"),
        ("latency_budget_ms", 0, ValueError, "above 0"),
        ("latency_budget_ms", float("nan"), ValueError, "above 0"),
        ("latency_budget_ms", float("inf"), ValueError, "above 0"),
        ("latency_budget_ms", 10**400, TypeError, "a number"),
        ("latency_budget_ms", None, TypeError, "a number"),
        ("power_modes", ["15W", 25], TypeError, "a list of strings"),
        ("software", [{"jetpack": "6.2", "os": "ubuntu"}], ValueError, "software has the unknown field 'os'"),
        ("software", [{"jetpack": 6.2}], TypeError, r"software\.jetpack is 6\.2, expected a string"),
        ("software", ["6.2"], TypeError, "tables of versions"),
        ("software", {"jetpack": "6.2"}, TypeError, "expected a list"),
        ("limits", "none", TypeError, "expected a list"),
        ("sources", {"memory": "a data sheet"}, ValueError, "names of fields"),
        ("sources", {"memory_gb": 8}, TypeError, "expected a string"),
        ("sources", None, TypeError, "a table"),
        ("colour", "green", ValueError, "unknown field 'colour'"),
    ],
)
def test_bad_fields_are_refused(field: str, value: object, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message) as caught:
        Target.from_json({**ORIN, field: value})
    assert len(str(caught.value)) < 400  # never all of a hostile value


@pytest.mark.parametrize("value", [None, 3, "jetson-orin", [], [ORIN]])
def test_what_is_no_table_is_refused(value: object) -> None:
    with pytest.raises(TypeError, match="a table of fields"):
        Target.from_json(value)


ANY_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=8,
)
NAMES = st.sampled_from([field.name for field in fields(Target)]) | st.text(max_size=12)


@settings(max_examples=300, deadline=None)
@given(st.dictionaries(NAMES, ANY_JSON, max_size=6))
def test_hostile_json_raises_nothing_else(changes: dict[str, Any]) -> None:
    try:
        target = Target.from_json({**ORIN, **changes})
    except (KeyError, TypeError, ValueError):
        return
    assert Target.from_json(json.loads(json.dumps(target.to_json(), allow_nan=False))) == target


def test_deep_nesting_is_refused_and_not_printed() -> None:
    deep: Any = []
    for _ in range(100_000):
        deep = [deep]
    with pytest.raises((TypeError, ValueError)) as caught:
        Target.from_json({**ORIN, "limits": deep})
    assert len(str(caught.value)) < 400


def test_a_profile_may_be_made_in_python() -> None:
    target = Target("box", "A box", "onnxruntime", ("fp32",), False, 17, software=(Software(python="3.12"),))
    assert target.to_json()["software"] == [{"jetpack": "", "tensorrt": "", "cuda": "", "python": "3.12"}]
    with pytest.raises(ValueError, match="backend"):
        Target("box", "A box", "nothing", ("fp32",), False, 17)  # type: ignore[arg-type]


def test_every_toml_file_is_packaged_under_its_own_name() -> None:
    folder = Path(__file__).resolve().parents[2] / "targets"
    assert target_names() == sorted(path.stem for path in folder.glob("*.toml"))
    assert len(target_names()) == 9
