from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from rtsp import lacking
from system import require

from benchmarks.outages import RTSP_MODULES, Watched, rows_of
from edgevad.events import Incident

ROOT = Path(__file__).resolve().parents[2]


def test_outages_benchmark_kills_a_server_and_counts_what_came_of_it() -> None:
    require(lacking(RTSP_MODULES))
    command = [sys.executable, "-m", "benchmarks.outages", "--restarts", "1", "--frames", "5", "--json"]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    assert ended.returncode == 0, ended.stderr
    rows = {row["name"]: row for row in json.loads(ended.stdout)["figures"]}
    assert rows["frames scored"]["median"] >= 10
    assert 0 < rows["slowest recovery"]["median"] < 3
    assert rows["outages told, off by"]["holds"]


def test_a_frame_nobody_sent_and_an_outage_told_twice_are_misses() -> None:
    watched = Watched([1.0, 3.5], frames=100, foreign=1, memory_mb=[100.0, 101.0, 130.0], threads=[5], files=[9])
    began = Incident("camera_lost", "stale", "lost", "camera")
    again = Incident("camera_lost", "stale", "lost", "camera")
    misses = [row.name for row in rows_of(watched, [began, began.ended(), again], restarts=2) if row.holds is False]
    assert misses == [
        "slowest recovery",
        "frames nobody sent",
        "outages told, off by",
        "changes of size told, off by",
        "resident memory from start 1 on, largest deviation",
    ]
