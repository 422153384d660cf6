"""Our way to build against a builder of NVIDIA's that runs without a GPU: names and order of calls are right for it."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import fake_gpu as fakes
import pytest
from fake_gpu.bundles import BANK, static_graph

from edgevad.spec import InputSpec, MotionSpec


@pytest.mark.slow
@pytest.mark.skipif(
    importlib.util.find_spec("tensorrt_rtx_bindings") is None, reason="TensorRT-RTX is not installed (extra trt-check)"
)
def test_nvidias_builder_takes_our_calls(tmp_path: Path) -> None:
    (tmp_path / "graph.onnx").write_bytes(static_graph(InputSpec(32, 32, MotionSpec("difference", (100,)), BANK)))
    command = [sys.executable, "-m", "fake_gpu.rtx_build", str(tmp_path / "graph.onnx")]
    environment = {**os.environ, "PYTHONPATH": str(Path(fakes.__file__).parents[1])}
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, env=environment)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["plan"] > 1000
    assert found["timing"] > 0
    assert "Building engine" in found["phases"]
    assert found["parts"] > 3
    # With good measurements and with none of use it builds the same.
    assert found["again"] == found["damaged"]
    assert found["stopped"]
    assert "TensorRT 11.4.0 refuses the graph" in found["refused"]
