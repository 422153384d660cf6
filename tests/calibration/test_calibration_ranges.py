from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
import pytest
from onnx import TensorProto, helper

from edgevad.calibration import ranges
from edgevad.calibration.ranges import HALF_BINS, Histogram, collect_histograms, histograms_of, ranges_from
from edgevad.errors import CalibrationError, OptionError


def graph() -> bytes:
    """x (N, 4) -> y = relu(x), z = x + x."""
    nodes = [helper.make_node("Relu", ["x"], ["y"]), helper.make_node("Add", ["x", "x"], ["z"])]
    x, z = (helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", 4]) for name in "xz")
    made = helper.make_graph(nodes, "g", [x], [z])
    return bytes(helper.make_model(made, opset_imports=[helper.make_opsetid("", 17)]).SerializeToString())


def histogram_of(values: npt.NDArray[np.float64]) -> Histogram:
    reach = float(np.abs(values).max())
    counts, _ = np.histogram(values, 2 * HALF_BINS, range=(-reach, reach))
    return Histogram(counts.astype(np.int64), float(values.min()), float(values.max()))


def test_histograms_are_those_of_all_batches_together() -> None:
    rng = np.random.default_rng(0)
    batches = [rng.normal(0, scale, (5, 4)).astype(np.float32) for scale in (0.1, 1.0, 10.0)]
    found = collect_histograms(graph(), ["x", "y", "z"], [{"x": batch} for batch in batches])
    everything = np.concatenate(batches)
    for name, values in {"x": everything, "y": np.maximum(everything, 0), "z": 2 * everything}.items():
        one = found[name]
        assert (one.lowest, one.highest) == (float(values.min()), float(values.max()))
        expected, _ = np.histogram(values, 2 * HALF_BINS, range=(-one.reach, one.reach))
        np.testing.assert_array_equal(one.counts, expected)


def test_minmax_reaches_everything_and_zero() -> None:
    found = ranges_from({"a": histogram_of(np.array([2.0, 3.0])), "b": histogram_of(np.array([-5.0, -1.0]))}, "minmax")
    assert found == {"a": (0.0, 3.0), "b": (-5.0, 0.0)}


def test_percentile_leaves_the_rarest_values_out() -> None:
    values = np.concatenate([np.random.default_rng(0).normal(0, 1, 100_000), [50.0, -40.0]])
    low, high = ranges_from({"a": histogram_of(values)}, "percentile")["a"]
    assert -5 < low < -3.5
    assert 3.5 < high < 5


@pytest.mark.parametrize("method", ["mse", "entropy"])
def test_an_outlier_is_cut_off(method: str) -> None:
    values = np.concatenate([np.random.default_rng(0).normal(0, 1, 200_000), [30.0]])
    low, high = ranges_from({"a": histogram_of(values)}, method)["a"]
    assert high < 27
    assert low <= 0


def test_mse_keeps_what_is_evenly_spread() -> None:
    values = np.random.default_rng(0).uniform(-1, 1, 100_000)
    low, high = ranges_from({"a": histogram_of(values)}, "mse")["a"]
    assert high == pytest.approx(1.0, abs=0.02)
    assert low == pytest.approx(-1.0, abs=0.02)


def test_mse_is_the_least_of_the_errors_it_could_have_made() -> None:
    """Against quantising the values themselves at every share it looks at."""
    values = np.random.default_rng(1).laplace(0, 1, 50_000)
    low, high = ranges_from({"a": histogram_of(values)}, "mse")["a"]

    def error(bottom: float, top: float) -> float:
        step = (top - bottom) / 255
        return float(np.square(values - (np.clip(np.rint(values / step), bottom / step, top / step) * step)).mean())

    errors = [error(share * values.min(), share * values.max()) for share in ranges.MSE_SHARES]
    assert error(low, high) <= 1.05 * min(errors)


def test_mse_knows_where_the_levels_will_lie() -> None:
    """Evenly around zero, half of them are lost on values that are never negative: less range is the better bargain."""
    values = np.maximum(np.random.default_rng(1).laplace(0, 1, 50_000), 0)
    histogram = {"a": histogram_of(values)}
    assert ranges_from(histogram, "mse", symmetric=True)["a"][1] < ranges_from(histogram, "mse")["a"][1]


def test_a_constant_activation_has_a_range() -> None:
    for method in ("minmax", "mse", "percentile"):
        low, high = ranges_from({"a": histogram_of(np.full(100, 2.0))}, method)["a"]
        assert low <= 0 < high <= 2.0 + 1e-3


def test_unknown_method_is_named() -> None:
    with pytest.raises(OptionError, match=r"unknown range method 'best'; expected one of minmax, percentile"):
        ranges_from({}, "best")


def test_no_frames_and_values_that_are_no_numbers_are_refused() -> None:
    with pytest.raises(CalibrationError, match="no frames to calibrate by"):
        collect_histograms(graph(), ["x"], [])
    with pytest.raises(CalibrationError, match="the activation y is not a number"):
        collect_histograms(graph(), ["y"], [{"x": np.full((1, 4), np.inf, np.float32)}])


def test_histograms_are_kept_for_the_same_graph_and_frames(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    batch = [{"x": np.random.default_rng(0).normal(0, 1, (8, 4)).astype(np.float32)}]
    calls: list[int] = []

    def counted(*arguments: object) -> dict[str, Histogram]:
        calls.append(1)
        return collect_histograms(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(ranges, "collect_histograms", counted)
    first = histograms_of(graph(), ["x", "y"], batch, tmp_path)
    again = histograms_of(graph(), ["x", "y"], batch, tmp_path)
    assert len(calls) == 1
    for name in "xy":
        np.testing.assert_array_equal(first[name].counts, again[name].counts)
        assert (first[name].lowest, first[name].highest) == (again[name].lowest, again[name].highest)
    histograms_of(graph(), ["x", "y"], [{"x": batch[0]["x"] + 1}], tmp_path)
    histograms_of(graph(), ["x"], batch, tmp_path)
    other = onnx.load_from_string(graph())
    other.graph.node[1].op_type = "Mul"
    histograms_of(other.SerializeToString(), ["x", "y"], batch, tmp_path)
    assert len(calls) == 4


@pytest.mark.parametrize("damage", [b"", b"no archive", None])
def test_a_damaged_cache_is_made_anew(tmp_path: Path, damage: bytes | None) -> None:
    batch = [{"x": np.ones((2, 4), np.float32)}]
    whole = histograms_of(graph(), ["x"], batch, tmp_path)
    (entry,) = tmp_path.iterdir()
    entry.write_bytes(entry.read_bytes()[:-40] if damage is None else damage)
    again = histograms_of(graph(), ["x"], batch, tmp_path)
    np.testing.assert_array_equal(again["x"].counts, whole["x"].counts)


def test_the_cache_keeps_the_newest_and_does_without_where_it_cannot_write(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ranges, "KEPT_ENTRIES", 2)
    for k in range(4):
        histograms_of(graph(), ["x"], [{"x": np.full((1, 4), k, np.float32)}], tmp_path / "kept")
    assert len(list((tmp_path / "kept").iterdir())) == 2
    (tmp_path / "file").write_text("in the way")
    found = histograms_of(graph(), ["x"], [{"x": np.ones((1, 4), np.float32)}], tmp_path / "file")
    assert found["x"].highest == 1.0
