"""That the check for a GPU machine runs, on a GPU made of numpy; its figures mean nothing here."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fake_gpu.bundles import BANK, write_engine_bundle
from fake_gpu.obtain import ORIN

from benchmarks import engine
from benchmarks._common import guarded
from edgevad.runtime.backends.tensorrt import TensorRtBackend
from edgevad.spec import InputSpec, MotionSpec

SPEC = InputSpec(32, 32, MotionSpec("difference", (100,)), BANK)


def run(
    bundle: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *more: str
) -> tuple[int, dict[str, Any], str]:
    monkeypatch.setattr(engine, "find_machine", lambda: ORIN)
    code = engine.main([str(bundle), "--frames", "6", "--repeats", "2", "--json", *more])
    out, err = capsys.readouterr()
    value = json.loads(out)
    return code, {**value, "rows": {row["name"]: row for row in value["figures"]}}, err


def test_every_figure_is_there_and_what_is_missing_is_said(
    fake_gpu: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    bundle = write_engine_bundle(tmp_path / "bundle", SPEC, precision="fp16")
    code, value, err = run(bundle.path, monkeypatch, capsys)
    rows = value["rows"]
    assert code in (0, 1)  # the overhead over a fake engine may be anything
    assert rows["fp16 against fp32 in ONNX Runtime, largest relative difference"]["holds"] is True
    for name in ("backend", "bare engine", "backend, CUDA graph", "bare engine, CUDA graph"):
        assert rows[f"{name}, p50"]["repeats"] == 2
        assert rows[f"{name}, p99"]["median"] >= rows[f"{name}, p50"]["median"] > 0
    assert rows["backend / bare engine, CUDA graph, p50"]["bar"] == "≤ 1.1"
    assert rows["build, nothing known"]["repeats"] == 1
    assert rows["new weights into the engine, its process included"]["repeats"] == 2
    assert value["gpu"] == "Fake Orin"
    assert any("CUDAExecutionProvider" in one for one in value["not measured"])
    assert "benchmarks: not measured: torch: no --model was given" in err
    assert not any(fake_gpu.contexts.values())


def test_an_engine_that_scores_otherwise_misses_the_bar(
    fake_gpu: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from dataclasses import replace

    score = TensorRtBackend.score

    def off(self: TensorRtBackend, frames: Any, motion: Any) -> Any:
        found = score(self, frames, motion)
        return replace(found, score=found.score * 1.01)

    monkeypatch.setattr(TensorRtBackend, "score", off)
    code, value, _ = run(write_engine_bundle(tmp_path / "bundle", SPEC).path, monkeypatch, capsys)
    assert code == 1
    assert value["rows"]["fp32 against fp32 in ONNX Runtime, largest relative difference"]["holds"] is False


def test_of_int8_the_ranks_count(
    fake_gpu: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    fake_gpu.can_capture = False
    bundle = write_engine_bundle(tmp_path / "bundle", SPEC, precision="int8")
    _, value, err = run(bundle.path, monkeypatch, capsys)
    assert value["rows"]["int8 against fp32 in ONNX Runtime, rank correlation, worst part"]["holds"] is True
    assert "backend, CUDA graph, p50" not in value["rows"]
    assert "CUDA graph: it could not be captured" in err


def test_rank_correlation() -> None:
    one = np.array([1.0, 2.0, 3.0, 4.0])
    assert engine.rank_correlation(one, np.exp(one)) == pytest.approx(1.0)
    assert engine.rank_correlation(one, -one) == pytest.approx(-1.0)
    assert engine.rank_correlation(np.ones(3), np.ones(3)) == 1.0


def test_without_a_gpu_it_is_one_line_and_exit_2(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("edgevad.runtime.engines.machine.has_driver", lambda root: False)
    assert guarded(lambda: engine.main([str(tmp_path)])) == 2
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert err.startswith("benchmarks: there is no NVIDIA driver on this machine")
