"""edgevad export from the command line, on a model of a rendered drive."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from edgevad.bundle import Bundle
from edgevad.cli.app import build_app
from edgevad.errors import EdgevadError
from edgevad.export import choosing


def run(*arguments: str) -> str:
    result = CliRunner().invoke(build_app(), ["export", *arguments])
    if isinstance(result.exception, EdgevadError):
        raise result.exception
    assert result.exit_code == 0, result.output
    return result.stdout


@pytest.fixture
def drive(trained_model: Path) -> Path:
    return next((trained_model.parent / "drive").glob("*.mp4"))


def test_json_says_what_was_chosen_and_why(trained_model: Path, drive: Path, tmp_path: Path) -> None:
    out = tmp_path / "car.edgevad"
    options = ["--target", "jetson-orin-nano", "--calib", str(drive), "--calib-frames", "50", "--range-method", "mse"]
    printed = json.loads(run(str(trained_model), "--out", str(out), *options, "--json"))
    assert printed["precision"] == "int8"
    assert printed["backend"] == "tensorrt"
    assert printed["guard"]["range_method"] == "mse"
    assert printed["guard"]["calibration_frames"] == 50
    assert printed["guard"]["agreement"]["passed"] is True
    assert printed["active"] is None
    bundle = Bundle.open(out)
    assert printed["graph_bytes"] == len(bundle.graph())
    assert printed["bytes"] == sum(entry.bytes for entry in bundle.manifest.files.values())


def test_people_are_told_what_to_do_on_the_device(trained_model: Path, tmp_path: Path) -> None:
    out = tmp_path / "car"
    text = run(str(trained_model), "--out", str(out), "--target", "jetson-orin", "--precision", "fp32")
    assert "FP32 was asked for." in text
    assert f"copy {out} to the device and run there: edgevad build car." in text
    text = run(
        str(trained_model), "--out", str(tmp_path / "old"), "--target", "jetson-xavier-nx", "--precision", "fp32"
    )
    assert "edgevad does not run there" in text
    assert "edgevad build" not in text


def test_a_bundle_for_a_cpu_can_be_made_active(
    trained_model: Path, tmp_path: Path, edgevad_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(choosing, "_milliseconds", lambda *_: {"fp32": 2.0, "int8": 1.0})
    text = run(str(trained_model), "--out", str(tmp_path / "bundle"), "--activate")
    assert "INT8 (minmax ranges)" in text.replace("\n", "")
    assert (edgevad_home / "current").resolve().name == "a"
    assert Bundle.open(edgevad_home / "current").manifest.precision == "int8"
    # Histograms serve the next export.
    assert len(list((edgevad_home / "calibration").iterdir())) == 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--target", "jetson-orni"], "jetson-orni"),
        (["--precision", "int4"], "unknown precision 'int4'"),
        (["--precision", "fp16"], "target cpu does not compute in fp16"),
        (["--precision", "int8", "--calib", "nothing.mp4"], "nothing.mp4: .*--calib"),
        (["--calib-frames", "1"], "1 calibration frames"),
        (["--precision", "int8", "--range-method", "best"], "unknown range method 'best'"),
        (["--max-flips", "2"], "max_flips of 2"),
        (["--labels", "labels.csv"], "labels are of one recording"),
        (["--fps", "5"], "a frame rate, and no drive"),
        (["--target", "jetson-orin", "--activate"], "is made active on the device"),
        (["--backend", "tensorflow"], "does not run 'tensorflow'"),
    ],
)
def test_bad_input_is_one_clear_line_and_leaves_nothing(
    trained_model: Path, tmp_path: Path, options: list[str], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(EdgevadError, match=message) as caught:
        run(str(trained_model), "--out", str(tmp_path / "bundle"), *options)
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []
