"""A short soak in every run of the tests; `scripts/bench soak` does a hundred thousand frames."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("seed", [1, 2])
def test_the_pipeline_keeps_its_word_on_cameras_that_fail_in_every_way(seed: int) -> None:
    command = [sys.executable, "-m", "benchmarks.soak", "--frames", "4000", "--seed", str(seed), "--json"]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    assert ended.returncode == 0, ended.stderr
    rows = {row["name"]: row["median"] for row in json.loads(ended.stdout)["figures"]}
    assert rows["results"] == 4000
    assert rows["promises broken"] == 0
    # It was no fair-weather run.
    assert sum(count for name, count in rows.items() if name.startswith("faults injected")) >= 10
    assert rows["incidents told: camera_lost"] >= 4
    assert rows["events"] >= 1
