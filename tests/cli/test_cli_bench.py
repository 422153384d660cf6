from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from edgevad.cli.app import build_app
from edgevad.errors import EdgevadError


def bench(*arguments: str) -> str:
    ended = CliRunner().invoke(build_app(), ["bench", *arguments], catch_exceptions=False)
    assert ended.exit_code == 0, ended.output
    return ended.stdout


def test_it_measures_from_camera_to_score(tiny_bundle: Path, tmp_path: Path) -> None:
    plot = tmp_path / "latency.png"
    found = json.loads(
        bench(str(tiny_bundle), "--size", "64x48", "--fps", "100", "--seconds", "2", "--plot", str(plot), "--json")
    )
    assert found["size_px"] == [64, 48]
    assert found["target"] == "cpu"
    assert found["budget_ms"] == 100.0
    assert found["captured"] == found["scored"] + found["dropped"]
    # 1.2 s at 100 Hz, less what other programs take of the machine.
    assert 40 <= found["captured"] <= 140
    assert 0 < found["engine_latency_ms"]["p50"] <= found["engine_latency_ms"]["p99"]
    assert 0 < found["latency_ms"]["p50"] <= found["latency_ms"]["p99"] <= found["latency_ms"]["max"]
    assert found["is_within_budget"] is (found["latency_ms"]["p99"] <= 100.0)
    assert found["most_fps_hz"] > 100
    assert found["resident_bytes"] > 10_000_000
    assert plot.read_bytes().startswith(b"\x89PNG")


def test_several_cameras_share_the_engine(tiny_bundle: Path, tiny_video: Path) -> None:
    text = bench(str(tiny_bundle), "--source", str(tiny_video), "--cameras", "3", "--fps", "50", "--seconds", "1")
    assert "3 cameras of 64x48 at 50 Hz" in text
    assert "budget" in text
    assert "█" in text


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--size", "big"), "--size big; expected WIDTHxHEIGHT"),
        (("--size", "4x4"), "--size 4x4"),
        (("--seconds", "0.1", "--size", "64x48"), "seconds: 0.1; expected a number from 1 to"),
        (("--cameras", "0", "--size", "64x48"), "cameras: 0; expected a number from 1 to"),
        (("--fps", "0", "--size", "64x48"), "camera rate: 0"),
        (("--fps", "inf", "--size", "64x48"), "camera rate: inf"),
        (("--source", "nowhere.mp4"), "nowhere.mp4: no such file"),
    ],
)
def test_bad_options_are_one_line(tiny_bundle: Path, arguments: tuple[str, ...], message: str) -> None:
    with pytest.raises(EdgevadError, match=message) as raised:
        bench(str(tiny_bundle), *arguments)
    assert "\n" not in str(raised.value)
