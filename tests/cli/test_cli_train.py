"""train and export from the command line, on a tiny drive."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pytest
from typer.testing import CliRunner

from edgevad.cli.app import build_app
from edgevad.errors import EdgevadError

TINY = ["--size", "16", "--width", "4", "--depth", "2", "--latent", "8", "--batch-size", "16", "--max-rounds", "5"]


@pytest.fixture(scope="module")
def drive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("drive")
    rng = np.random.default_rng(0)
    for k in range(80):
        image = np.clip(rng.normal(90 + 40 * np.sin(k / 5), 8, (24, 32, 3)), 0, 255).astype(np.uint8)
        cv2.imwrite(str(folder / f"{k:03d}.png"), image)
    return folder


def run(*arguments: str) -> str:
    result = CliRunner().invoke(build_app(), list(arguments))
    if isinstance(result.exception, EdgevadError):
        raise result.exception
    assert result.exit_code == 0, result.output
    return result.stdout


@pytest.fixture(scope="module")
def model(drive: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("models") / "tiny"
    printed = json.loads(run("train", str(drive), "--out", str(out), *TINY, "--json"))
    assert printed["finished"] is True
    assert printed["frames"] == 80
    assert printed["calibration"]["threshold"] > 0
    assert [part["name"] for part in printed["calibration"]["parts"]][:2] == ["residual", "detail"]
    assert printed["motion"] in ("none", "flow")
    assert printed["decisions"]["camera"]
    return out


def test_export_makes_a_bundle_that_proves_itself(model: Path, tmp_path: Path) -> None:
    printed = json.loads(run("export", str(model), "--out", str(tmp_path / "bundle"), "--json"))
    assert printed["selftest_relative_deviation"] < 1e-4
    assert (tmp_path / "bundle" / "manifest.json").exists()


def test_tables_say_what_comes_next(model: Path, drive: Path, tmp_path: Path) -> None:
    assert "edgevad export" in run("train", str(drive), "--out", str(tmp_path / "m"), *TINY)
    assert "edgevad run" in run("export", str(model), "--out", str(tmp_path / "b"))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--preset", "huge"], "one of nano, small, base"),
        (["--score", "best"], "one of parts, patch, mse, pcc"),
        (["--motion", "fast"], "one of auto, none, difference, flow"),
        (["--appearance", "none", "--motion", "flow"], "another score: patch, mse or pcc"),
        (["--appearance", "none", "--score", "patch"], "look at nothing"),
        (["--lags-ms", "fast", "--motion", "flow"], "--lags-ms"),
        (["--entropy-weight", "much"], "auto or a number"),
        (["--size", "20"], "a multiple of"),
        (["--window", "box"], "mean, median, ema"),
        (["--device", "tpu"], "auto, cpu, cuda"),
        (["--threads", "0"], "--threads"),
        (["--seed", "-1"], "seed -1"),
        (["--sample-fps", "-5"], "sampling rate"),
        (["--alarms-per-hour", "0"], "alarms per hour"),
        (["--max-rounds", "1"], "at least 5"),
        (["--preset", "base", "--latent", "0"], "latent is 0"),
    ],
)
def test_senseless_options_are_one_line(drive: Path, tmp_path: Path, arguments: list[str], message: str) -> None:
    with pytest.raises(EdgevadError, match=message):
        run("train", str(drive), "--out", str(tmp_path / "m"), *arguments)
    assert not (tmp_path / "m").exists()


@pytest.fixture(scope="module")
def street(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A camera that stands still, in front of which something white goes to and fro."""
    folder = tmp_path_factory.mktemp("street")
    rng = np.random.default_rng(0)
    wall = cv2.resize(rng.integers(40, 220, (12, 16), dtype=np.uint8), (64, 48))[..., None].astype(np.float64)
    for k in range(80):
        image = wall + rng.normal(0, 3, (48, 64, 3))
        at = abs(k % 40 - 20) * 2
        image[20:30, at : at + 10] = 255
        cv2.imwrite(str(folder / f"{k:03d}.png"), np.clip(image, 0, 255).astype(np.uint8))
    return folder


def words(printed: str) -> str:
    """A table's text, whatever it was broken into."""
    return " ".join(printed.replace("│", " ").split())


def test_a_still_camera_is_given_motion_from_training_to_the_run(street: Path, tmp_path: Path) -> None:
    model, bundle = tmp_path / "m", tmp_path / "b"
    printed = words(run("train", str(street), "--out", str(model), *TINY, "--fps", "10", "--motion", "auto"))
    assert "The camera stands still (the view shifts in 0% of " in printed
    assert "what moves decides" in printed
    config = json.loads((model / "config.json").read_text())
    assert config["recipe"]["model"]["motion"] == config["provenance"]["motion"] == "flow"
    assert config["provenance"]["camera"]["moves"] is False

    exported = json.loads(run("export", str(model), "--out", str(bundle), "--json"))
    assert exported["selftest_relative_deviation"] < 1e-4
    manifest = json.loads((bundle / "manifest.json").read_text())
    parts = ["residual", "detail", "motion", "view"]
    assert [part["name"] for part in manifest["calibration"]["parts"]] == parts
    assert manifest["input"]["motion"]["kind"] == "flow"
    assert manifest["input"]["bank"] == list(np.load(bundle / "bank.npy").shape)

    run("run", "--source", str(street), "--fps", "10", "--bundle", str(bundle), "--out", str(tmp_path / "o"), "--json")
    rows = [json.loads(line) for line in (tmp_path / "o" / "frames.jsonl").read_text().splitlines()]
    assert [row["state"] == "warm-up" for row in rows] == [True] + [False] * 79
    assert {len(row["deviates"]) for row in rows[1:]} == {4}
    assert {row["cause"] for row in rows[1:]} <= set(parts)


def test_a_moving_camera_is_not(tmp_path: Path) -> None:
    images = tmp_path / "pan"
    images.mkdir()
    wall = np.random.default_rng(0).integers(0, 255, (12, 60, 3), dtype=np.uint8)
    wall = cv2.resize(wall, (240, 48))
    for k in range(80):
        at = abs(k % 80 - 40) * 4
        cv2.imwrite(str(images / f"{k:03d}.png"), wall[:, at : at + 64])
    out = tmp_path / "m"
    printed = json.loads(run("train", str(images), "--out", str(out), *TINY, "--fps", "10", "--json"))
    assert printed["motion"] == json.loads((out / "config.json").read_text())["recipe"]["model"]["motion"] == "none"
    assert printed["camera"]["moves"] is True
    assert printed["camera"]["moving_share"] > 0.8
    assert "no optical flow is computed" in printed["decisions"]["camera"]
    assert [part["name"] for part in printed["calibration"]["parts"]] == ["residual", "detail", "view"]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--motion", "none"], "what recurs in appearance decides"),
        (["--score", "patch"], "the score is patch, the motion that goes through the network none"),
        (["--motion", "difference"], "what moves decides"),
    ],
)
def test_what_the_camera_did_not_decide_is_not_said_to_be_its_decision(
    street: Path, tmp_path: Path, options: list[str], said: str
) -> None:
    printed = words(run("train", str(street), "--out", str(tmp_path / "m"), *TINY, "--fps", "10", *options))
    assert "The camera stands still (the view shifts in 0% of " in printed
    assert f"looks); {said}" in printed


def test_resume_takes_no_new_options(model: Path) -> None:
    with pytest.raises(EdgevadError, match="began with"):
        run("train", "--resume", "--out", str(model), "--max-rounds", "80")


def test_a_model_is_not_replaced_unasked(model: Path, drive: Path, tmp_path: Path) -> None:
    before = (model / "weights.safetensors").read_bytes()
    with pytest.raises(EdgevadError, match="--overwrite"):
        run("train", str(drive), "--out", str(model), *TINY)
    assert (model / "weights.safetensors").read_bytes() == before
    run("export", str(model), "--out", str(tmp_path / "b"))
    with pytest.raises(EdgevadError, match="--overwrite"):
        run("export", str(model), "--out", str(tmp_path / "b"))


def test_export_refuses_what_is_no_model_and_no_target(model: Path, tmp_path: Path) -> None:
    with pytest.raises(EdgevadError, match="no model there"):
        run("export", str(tmp_path / "nothing"), "--out", str(tmp_path / "b"))
    with pytest.raises(EdgevadError, match="one of cpu"):
        run("export", str(model), "--out", str(tmp_path / "b"), "--target", "toaster")
    assert not (tmp_path / "b").exists()
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "holiday.jpg").write_text("mine")
    with pytest.raises(EdgevadError, match="no bundle"):
        run("export", str(model), "--out", str(tmp_path / "photos"), "--overwrite")
    assert (tmp_path / "photos" / "holiday.jpg").exists()


def test_ctrl_c_saves_and_resume_goes_on(drive: Path, tmp_path: Path) -> None:
    out = tmp_path / "m"
    command = [sys.executable, "-m", "edgevad", "train", str(drive), "--out", str(out), *TINY, "--max-rounds", "6"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=os.environ)
    deadline = time.monotonic() + 60
    while not (out / "checkpoint.safetensors").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, error = process.communicate(timeout=60)
    assert process.returncode == 130, error
    assert f"edgevad train --resume --out {out}" in error.replace("\n", " ")
    assert json.loads(run("train", "--resume", "--out", str(out), "--json"))["finished"] is True
    assert not (out / "checkpoint.safetensors").exists()
    assert not (out / ".edgevad-cache").exists()


def test_errors_reach_the_terminal_as_one_line_and_exit_2(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "edgevad", "train", str(tmp_path / "none.mp4"), "--out", str(tmp_path / "m")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2
    assert done.stdout == ""
    lines = [line for line in done.stderr.splitlines() if line.strip()]
    assert len(lines) == 1
    assert lines[0].startswith("edgevad: ")
