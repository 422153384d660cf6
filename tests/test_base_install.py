"""The device has the base install and nothing else: a fresh environment, as pip makes it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.mark.slow
def test_run_works_where_only_the_base_install_is(tiny_bundle: Path, tiny_video: Path, tmp_path: Path) -> None:
    def call(*command: object) -> str:
        environment = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
        done = subprocess.run(
            [str(part) for part in command], capture_output=True, text=True, cwd=tmp_path, env=environment, timeout=600
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    call(sys.executable, "-m", "venv", tmp_path / "venv")
    binaries = tmp_path / "venv" / "bin"
    constraints = ROOT / "scripts" / "constraints.txt"
    call(binaries / "python", "-m", "pip", "install", "--quiet", "--constraint", constraints, ROOT)
    installed = {row["name"] for row in json.loads(call(binaries / "python", "-m", "pip", "list", "--format", "json"))}
    assert "edgevad" in installed
    assert not installed & {"torch", "onnxscript", "safetensors", "matplotlib", "scikit-learn"}

    arguments = ("--bundle", tiny_bundle, "--source", tiny_video, "--json", "--out", tmp_path / "out", "--quiet")
    summary = json.loads(call(binaries / "edgevad", "run", *arguments))
    assert summary["frames"] == 120
    assert len(summary["events"]) >= 1
    done = subprocess.run(
        [binaries / "edgevad", "train", str(tiny_video), "--out", str(tmp_path / "m")], capture_output=True, text=True
    )
    assert done.returncode == 2
    assert "pip install 'edgevad[train]'" in done.stderr.replace("\n", " ")
