from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from fake_gpu.bundles import static_graph
from fake_gpu.tensorrt import engine_facts

from edgevad.errors import EngineError, GraphError, MissingExtraError
from edgevad.runtime.engines.building import build_engine
from edgevad.runtime.engines.options import BuildStep, EngineOptions
from edgevad.runtime.engines.timing import read_timing
from edgevad.spec import InputSpec

pytestmark = pytest.mark.usefixtures("fake_gpu")
GRAPH = static_graph(InputSpec(32, 32))


def test_an_engine_comes_back_and_steps_on_the_way(tmp_path: Path) -> None:
    steps: list[BuildStep] = []
    timing = tmp_path / "timing.bin"
    engine = build_engine(GRAPH, EngineOptions("fp16", workspace_mib=7), timing_path=timing, progress=steps.append)
    facts = engine_facts(engine)
    assert engine.endswith(GRAPH)
    assert (facts["workspace"], facts["network"]) == (7 << 20, ["STRONGLY_TYPED"])
    assert steps[0] == BuildStep("reading the graph")
    assert BuildStep("Tactic Timing", "Building Engine", 4, 4) in steps
    assert read_timing(timing) == b"measured;"
    assert engine_facts(build_engine(GRAPH, EngineOptions(), timing_path=timing))["timing"] == "measured;"


def test_new_weights_are_put_in_over_there() -> None:
    engine = build_engine(GRAPH, EngineOptions())
    other = static_graph(InputSpec(32, 32), gray=0.7)
    refitted = build_engine(other, EngineOptions(), refit=engine)
    assert engine_facts(refitted)["refitted"] is True
    assert refitted.endswith(other)


@pytest.mark.parametrize(
    ("fails", "message", "fix"),
    [
        ("killed", "was killed, most likely for want of memory", "lower workspace_mib"),
        ("crash", "crashed with signal 11", "do not fit each other"),
        ("refuses", "Could not find any implementation", "too little memory"),
    ],
)
def test_the_death_of_the_builder_is_one_line(
    monkeypatch: pytest.MonkeyPatch, fails: str, message: str, fix: str
) -> None:
    monkeypatch.setenv("FAKE_TENSORRT_FAILS", fails)
    with pytest.raises(EngineError, match=message) as caught:
        build_engine(GRAPH, EngineOptions())
    assert fix in str(caught.value)
    assert "\n" not in str(caught.value)


def test_errors_of_ours_arrive_as_what_they_are() -> None:
    with pytest.raises(GraphError, match=r"TensorRT 10\.3\.0 refuses the graph") as caught:
        build_engine(b"\xffno graph", EngineOptions())
    assert caught.value.fix == "Export the bundle again for this target"


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PYTHONPATH")
    with pytest.raises(MissingExtraError, match=r"pip install 'edgevad\[tensorrt\]'"):
        build_engine(GRAPH, EngineOptions())


def test_an_error_nobody_thought_of_is_its_last_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAKE_TENSORRT_SECONDS", "soon")
    with pytest.raises(EngineError, match=r"ended with code 1 .*could not convert string to float"):
        build_engine(GRAPH, EngineOptions())


def test_an_exception_from_progress_ends_the_builder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAKE_TENSORRT_SECONDS", "60")

    def stop(step: BuildStep) -> None:
        raise KeyboardInterrupt

    started_s = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        build_engine(GRAPH, EngineOptions(), progress=stop)
    assert time.monotonic() - started_s < 30
    assert psutil.Process().children() == []


def test_the_builder_does_not_outlive_whoever_wants_the_engine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    log = tmp_path / "log"
    monkeypatch.setenv("FAKE_TENSORRT_SECONDS", "60")
    monkeypatch.setenv("FAKE_TENSORRT_LOG", str(log))
    (tmp_path / "graph").write_bytes(GRAPH)
    code = f"""
from pathlib import Path
from edgevad.runtime.engines.building import build_engine
from edgevad.runtime.engines.options import EngineOptions
build_engine(Path({str(tmp_path / "graph")!r}).read_bytes(), EngineOptions())
"""
    with subprocess.Popen([sys.executable, "-c", code]) as process:
        until_s = time.monotonic() + 30
        while not log.exists() or not log.read_text().endswith("\n"):
            assert time.monotonic() < until_s
            time.sleep(0.05)
        builder = psutil.Process(int(log.read_text().split()[1]))
        os.kill(process.pid, signal.SIGKILL)
    builder.wait(timeout=20)
