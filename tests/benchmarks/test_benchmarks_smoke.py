"""That the benchmarks run and judge; their figures are not for a test."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from benchmarks._common import BARS

ROOT = Path(__file__).resolve().parents[2]


def python(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments], cwd=ROOT, capture_output=True, text=True, timeout=120, check=False
    )


def figures(*arguments: str) -> dict[str, Any]:
    ended = python("-m", *arguments, "--json")
    assert ended.returncode in (0, 1), ended.stderr
    value = json.loads(ended.stdout)
    assert value["holds"] is (ended.returncode == 0)
    return {row["name"]: row for row in value["figures"]}


def test_trainer_benchmark_times_trainer_bare_loop_and_entropy() -> None:
    rows = figures("benchmarks.trainer", "--preset", "nano", "--frames", "200", "--steps", "2", "--repeats", "2")
    assert rows["trainer / bare loop"]["repeats"] == 2
    assert rows["trainer / bare loop"]["median"] > 0
    assert "entropy term, share of a step, batch 64" in rows


def test_precision_benchmark_times_every_engine_and_weighs_every_graph() -> None:
    rows = figures("benchmarks.precision", "--only", "nano", "--frames", "150", "--repeats", "2")
    for engine in ("ONNX Runtime", "OpenVINO"):
        for graph in ("fp32", "int8", "int8 placed for TensorRT"):
            assert rows[f"nano: {engine}, {graph}"]["repeats"] == 2
            assert rows[f"nano: {engine}, {graph}"]["min"] > 0
    assert rows["nano: file, int8 placed for onnxruntime, share of fp32"]["median"] < 0.3
    assert 0.5 < rows["nano: file, fp16, share of fp32"]["median"] < 0.9


def test_every_bar_that_a_benchmark_names_exists() -> None:
    """A misspelt one would only be noticed at the end of a long run."""
    named = {
        (path.name, name)
        for path in (ROOT / "benchmarks").glob("*.py")
        for name in re.findall(r'^\w*BAR = "([^"]+)"$', path.read_text(encoding="utf-8"), re.MULTILINE)
    }
    assert len(named) >= 15
    assert {(file, name) for file, name in named if name not in BARS} == set()


def test_an_unusable_source_is_one_line_and_exit_2() -> None:
    ended = python("-m", "benchmarks.trainer", "--source", "/nowhere/at/all.mp4")
    assert ended.returncode == 2
    assert "/nowhere/at/all.mp4" in ended.stderr
    assert "Traceback" not in ended.stderr


@pytest.mark.parametrize("name", ["lens", "drift"])
def test_a_benchmark_without_its_recordings_is_one_line_and_exit_2(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EDGEVAD_DATA", str(tmp_path))
    ended = python("-m", f"benchmarks.{name}")
    assert ended.returncode == 2
    assert ended.stderr.count("\n") == 1
    assert "EDGEVAD_DATA" in ended.stderr


@pytest.mark.parametrize(("median", "code"), [(0.95, 0), (0.85, 1)])
def test_a_missed_bar_is_exit_1(median: float, code: int) -> None:
    program = (
        "import sys; from benchmarks._common import Row, report; "
        f"sys.exit(report('x', [Row('r', [0.1, {median}, 2.0], bar='trainer throughput / bare loop')], as_json=True))"
    )
    ended = python("-c", program)
    assert ended.returncode == code, ended.stderr
    assert json.loads(ended.stdout)["figures"][0]["median"] == median
