from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgevad.bundle.manifest import Calibration, PartCalibration, parse_manifest
from edgevad.errors import ManifestError, OptionError
from edgevad.runtime.window import WindowSpec
from edgevad.spec import InputSpec, MotionSpec

CALIBRATION = Calibration(
    WindowSpec("median", 0.5),
    (
        PartCalibration("residual", 2.0, 0.5, 4.0),
        PartCalibration("motion", 1.0, 0.25),
        PartCalibration("view", 0.1, 3.0),
    ),
    threshold=3.5,
    alarms_per_hour=2.0,
)


def test_a_deviate_is_the_square_root_in_units_of_the_bulk_less_the_margin() -> None:
    assert CALIBRATION.names == ("residual", "motion", "view")
    assert CALIBRATION.deviates([9.0, 4.0, 0.0]) == pytest.approx([2.0 - 4.0, 4.0, -0.1 / 3.0])
    # A distance or a squared error is not below 0; what rounding left there counts as 0.
    assert CALIBRATION.deviates([-1e-9, -5.0, -0.0]) == CALIBRATION.deviates([0.0, 0.0, 0.0])
    with pytest.raises(ValueError, match="zip"):
        CALIBRATION.deviates([1.0, 2.0])


def test_one_frame_and_many_are_standardised_alike() -> None:
    rows = np.random.default_rng(0).gamma(1.0, 10.0, (200, 3))
    rows[0] = -1.0
    expected = [max(CALIBRATION.deviates(row)) for row in rows.tolist()]
    got = CALIBRATION.anomaly_scores(rows)
    assert got.dtype == np.float64
    assert got == pytest.approx(expected, rel=1e-12)
    assert CALIBRATION.anomaly_scores(rows.astype(np.float32)) == pytest.approx(expected, rel=1e-5)
    # Each part decides somewhere, or the comparison would have been of fewer.
    assert {int(np.argmax(CALIBRATION.deviates(row))) for row in rows.tolist()} == {0, 1, 2}


def test_what_has_no_score_has_no_anomaly_score() -> None:
    got = CALIBRATION.anomaly_scores(np.array([[math.nan] * 3, [9.0, 4.0, 0.0], [9.0, math.nan, 0.0]]))
    assert np.isnan(got).tolist() == [True, False, True]
    assert CALIBRATION.anomaly_scores(np.zeros((0, 3))).shape == (0,)


@pytest.mark.parametrize("threshold", [0.0, 3.5, 100.0])
def test_the_alarm_levels_undo_the_deviates(threshold: float) -> None:
    levels = CALIBRATION.alarm_levels(threshold)
    assert CALIBRATION.deviates(levels) == pytest.approx([threshold] * 3)
    for k in range(3):
        alone = [0.0] * 3
        alone[k] = levels[k] * 1.001 + 1e-9
        assert CALIBRATION.anomaly_scores(np.array([alone]))[0] > threshold
        alone[k] = levels[k] * 0.999
        assert CALIBRATION.deviates(alone)[k] < threshold


# As CALIBRATION, but the residual is only looked at.
SILENT = replace(CALIBRATION, parts=(replace(CALIBRATION.parts[0], margin=None), *CALIBRATION.parts[1:]))


def test_a_part_without_a_margin_is_told_and_decides_nothing() -> None:
    row = [100.0, 4.0, 0.0]
    assert SILENT.deviates(row) == pytest.approx([16.0, 4.0, -0.1 / 3.0])
    assert SILENT.leading(SILENT.deviates(row)) == 1
    assert SILENT.anomaly_scores(np.array([row])) == pytest.approx([4.0])
    assert SILENT.alarm_levels(3.5) == [math.inf, *CALIBRATION.alarm_levels(3.5)[1:]]
    assert Calibration.from_json(json.loads(json.dumps(SILENT.to_json(), allow_nan=False))) == SILENT
    # The names and the columns stay what they were: parts that are not asked keep their place.
    assert SILENT.names == CALIBRATION.names
    with pytest.raises(ValueError, match="zip"):
        SILENT.anomaly_scores(np.zeros((4, 2)))


def test_the_leading_part_is_the_one_behind_the_anomaly_score() -> None:
    for row in np.random.default_rng(1).gamma(1.0, 10.0, (50, 3)).tolist():
        for calibration in (CALIBRATION, SILENT):
            deviates = calibration.deviates(row)
            leading = deviates[calibration.leading(deviates)]
            assert calibration.anomaly_scores(np.array([row])) == pytest.approx([leading], rel=1e-12)


def test_a_threshold_below_everything_is_reached_by_nothing() -> None:
    assert CALIBRATION.alarm_levels(-100.0) == [0.0, 0.0, 0.0]


def test_it_survives_json() -> None:
    value = json.loads(json.dumps(CALIBRATION.to_json(), allow_nan=False))
    assert Calibration.from_json(value) == CALIBRATION
    assert value["parts"][0] == {"name": "residual", "location": 2.0, "scale": 0.5, "margin": 4.0}


@pytest.mark.parametrize(
    "change",
    [
        {"threshold": math.nan},
        {"threshold": None},
        {"alarms_per_hour": math.inf},
        {"window": {"kind": "box", "length_s": 1.0}},
        {"window": {"kind": "mean"}},
        {"parts": []},
        {"parts": None},
        {"parts": {"name": "view"}},
        {"parts": [{"name": "view", "location": 0.0, "scale": 1.0}]},
        {"parts": [{"name": "view", "location": 0.0, "scale": 0.0, "margin": 0.0}]},
        {"parts": [{"name": "view", "location": 0.0, "scale": -1.0, "margin": 0.0}]},
        {"parts": [{"name": "view", "location": 0.0, "scale": math.inf, "margin": 0.0}]},
        {"parts": [{"name": "view", "location": math.nan, "scale": 1.0, "margin": 0.0}]},
        {"parts": [{"name": "view", "location": 0.0, "scale": 1.0, "margin": math.nan}]},
        {"parts": [{"name": "view", "location": 0.0, "scale": 1.0, "margin": "none"}]},
        {"parts": [{"name": "view", "location": 0.0, "scale": 1.0, "margin": None}]},  # nothing would decide
    ],
)
def test_what_cannot_be_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises((KeyError, TypeError, ValueError, OptionError)):
        Calibration.from_json({**CALIBRATION.to_json(), **change})


@pytest.mark.parametrize("name", ["window", "parts", "threshold", "alarms_per_hour"])
def test_nothing_may_be_missing(name: str) -> None:
    value = CALIBRATION.to_json()
    del value[name]
    with pytest.raises(KeyError, match=name):
        Calibration.from_json(value)


@pytest.mark.parametrize(
    "spec",
    [
        InputSpec(32, 48),
        InputSpec(32, 48, bank=(20, 30, 9)),
        InputSpec(32, 48, MotionSpec("flow", (100, 200), 160), (5, 1, 3)),
    ],
)
def test_what_the_graph_takes_survives_json(spec: InputSpec) -> None:
    assert InputSpec.from_json(json.loads(json.dumps(spec.to_json()))) == spec


@pytest.mark.parametrize("bank", [[5, 1], [5, 1, 3, 2], "abc", 5, ["a", 1, 2]])
def test_a_bank_of_no_shape_is_refused(bank: object) -> None:
    with pytest.raises((TypeError, ValueError)):
        InputSpec.from_json({**InputSpec(32, 32).to_json(), "bank": bank})


@pytest.mark.parametrize(
    "change",
    [
        {"margin": -1.0},
        {"margin": math.inf},
        {"scale": 5e-324},
        {"scale": 0.0},
        {"location": 1e200},
        {"name": 'a"b\n[red]'},
        {"name": ""},
        {"name": "motion"},  # twice
    ],
)
def test_parts_out_of_range_or_with_foreign_names_are_refused(change: dict[str, Any]) -> None:
    value = json.loads(json.dumps(CALIBRATION.to_json()))
    value["parts"][0].update(change)
    with pytest.raises(ValueError, match=r"out of range|is called|same name"):
        Calibration.from_json(value)


def test_a_huge_threshold_is_a_level_that_nothing_reaches() -> None:
    assert CALIBRATION.alarm_levels(1e200) == [math.inf] * 3


@pytest.fixture
def value(tiny_bundle: Path) -> dict[str, Any]:
    """The tiny bundle's manifest."""
    found: dict[str, Any] = json.loads((tiny_bundle / "manifest.json").read_text())
    return found


def test_a_manifest_survives_its_own_json(value: dict[str, Any], tmp_path: Path) -> None:
    manifest = parse_manifest(json.dumps(value).encode(), tmp_path)
    assert json.loads(json.dumps(manifest.to_json())) == value
    assert parse_manifest(json.dumps(manifest.to_json()).encode(), tmp_path) == manifest


def nested(depth: int) -> Any:
    inner: Any = 0
    for _ in range(depth):
        inner = [inner]
    return inner


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"name": "\x1b[31mred"}, "its name is no line"),
        ({"name": 5}, "its name is no line"),
        ({"name": "x" * 201}, "its name is no line of up to 200 characters"),
        ({"created": "\ud800"}, "its created is no line"),
        ({"target": "other"}, "it is for target other and brings another's profile"),
        ({"profile": {}}, "lacks the field|does not hold together"),
        ({"profile": None}, "its profile is no object"),
        ({"backend": ["onnxruntime"]}, "its backend is"),
        ({"graphs": {"fp32": "selftest.npz"}}, "its graph of precision 'fp32' is 'selftest.npz'"),
        ({"graphs": {"fp32": "model.onnx", "fp8": "model.fp8.onnx"}}, "its graph of precision 'fp8'"),
        ({"graphs": {"fp32": "model.onnx", "int8": "model.int8.onnx"}}, r"does not list model\.int8\.onnx among"),
        ({"selftest_rtol": "many"}, "does not hold together"),
        ({"guard": []}, "its guard is no object"),
        ({"provenance": nested(14)}, "its provenance is no object"),
        ({"provenance": {"x": nested(20)}}, "nested deeper than 16 levels"),
        ({"files": []}, "does not hold together"),
        ({"files": {"model.onnx": "0" * 64}}, "does not hold together"),
        ({"files": {"model.onnx": {"sha256": "0" * 64}}}, "lacks the field 'bytes'"),
        ({"files": {"model.onnx": {"sha256": "Z" * 64, "bytes": 1}}}, "the checksum of 'model.onnx' is no SHA-256"),
        ({"input": {**InputSpec(32, 32).to_json(), "height_px": 1e999}}, "cannot be read .Infinity"),
        ({"input": InputSpec(10**9, 32).to_json()}, "is larger than 8192 a side"),
        ({"input": InputSpec(32, 32, MotionSpec("flow", (10**9,))).to_json()}, "looks back more than"),
        ({"input": InputSpec(32, 32, MotionSpec("flow", (5,) * 99)).to_json()}, "looks back more than"),
    ],
)
def test_a_manifest_with_a_field_that_cannot_be_is_one_error(
    value: dict[str, Any], tmp_path: Path, change: dict[str, Any], message: str
) -> None:
    with pytest.raises(ManifestError, match=message) as caught:
        parse_manifest(json.dumps({**value, **change}).encode(), tmp_path)
    assert "\n" not in str(caught.value)
    assert str(caught.value).isprintable()


@pytest.mark.parametrize("name", ["graphs", "profile", "backend", "selftest_rtol", "guard", "files", "provenance"])
def test_a_manifest_lacks_nothing(value: dict[str, Any], tmp_path: Path, name: str) -> None:
    del value[name]
    with pytest.raises(ManifestError, match=f"lacks the field '{name}'"):
        parse_manifest(json.dumps(value).encode(), tmp_path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"", "cannot be read"),
        (b"{", "cannot be read"),
        (b"\xff\xfe", "cannot be read"),
        (b"[" * 200_000, "nested too deep"),
        (b'{"a":' * 100_000, "nested too deep"),
        (b"[" * 100 + b"]" * 100, "nested deeper than 16 levels"),
        (b'{"schema_version": 3, "schema_version": 3}', "a key is there twice"),
        (b'{"schema_version": NaN}', "NaN is not JSON"),
        (b'{"schema_version": ' + b"9" * 5000 + b"}", "cannot be read|made by a newer edgevad"),
        (b" " * ((1 << 20) + 1), r"the manifest has 1048577 bytes; expected at most 1048576"),
        (b"null", "states no schema version"),
    ],
)
def test_what_is_no_manifest_is_one_error(tmp_path: Path, text: bytes, message: str) -> None:
    with pytest.raises(ManifestError, match=message) as caught:
        parse_manifest(text, tmp_path)
    assert len(str(caught.value)) < 600
