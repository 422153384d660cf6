from __future__ import annotations

import errno
from pathlib import Path

import pytest
from fake_gpu.bundles import static_graph
from fake_gpu.tensorrt import engine_facts

from edgevad.errors import MissingExtraError
from edgevad.export.engine_from_onnx import engine_from_onnx, refit_engine
from edgevad.runtime.engines.options import BuildStep, EngineOptions
from edgevad.runtime.engines.timing import read_timing
from edgevad.spec import InputSpec

GRAPH = static_graph(InputSpec(32, 32))


@pytest.mark.usefixtures("fake_gpu")
@pytest.mark.parametrize("version", ["8.6.0", "10.3.0", "11.4.0.106"])
def test_an_engine_is_built_and_what_was_measured_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, version: str
) -> None:
    monkeypatch.setenv("FAKE_TENSORRT", version)
    steps: list[BuildStep] = []
    timing = tmp_path / "folder" / "timing.bin"
    engine = engine_from_onnx(GRAPH, options=EngineOptions(), timing_path=timing, progress=steps.append)
    assert engine_facts(engine)["version"] == version
    assert steps[0] == BuildStep("reading the graph")
    assert len(steps) > 1
    assert read_timing(timing) == b"measured;"
    assert engine_facts(engine_from_onnx(GRAPH, options=EngineOptions(), timing_path=timing))["timing"] == "measured;"


@pytest.mark.usefixtures("fake_gpu")
def test_measurements_that_were_damaged_are_not_used(tmp_path: Path) -> None:
    timing = tmp_path / "timing.bin"
    timing.write_bytes(b"anything")
    assert engine_facts(engine_from_onnx(GRAPH, options=EngineOptions(), timing_path=timing))["timing"] == ""
    assert read_timing(timing) == b"measured;"


@pytest.mark.usefixtures("fake_gpu")
def test_a_full_disk_costs_the_measurements_and_not_the_engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("edgevad._files.tempfile.mkstemp", full)
    assert engine_from_onnx(GRAPH, options=EngineOptions(), timing_path=tmp_path / "timing.bin").endswith(GRAPH)
    assert list(tmp_path.glob("timing*")) == []


@pytest.mark.usefixtures("current_context")
def test_new_weights_are_put_in() -> None:
    other = static_graph(InputSpec(32, 32), gray=0.6)
    assert refit_engine(engine_from_onnx(GRAPH, options=EngineOptions()), other).endswith(other)


def test_without_tensorrt_its_install_line_is_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "tensorrt", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'edgevad\[tensorrt\]'"):
        engine_from_onnx(GRAPH, options=EngineOptions())
