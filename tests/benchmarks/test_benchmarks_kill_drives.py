from __future__ import annotations

from pathlib import Path

from benchmarks._kills import kill_repeatedly


def test_kills_cost_the_drive_log_less_than_a_second(tmp_path: Path) -> None:
    verdicts = kill_repeatedly("benchmarks._kill_drives", tmp_path / "drives", kills=5, seed=3)
    assert [verdict.problems for verdict in verdicts] == [[]] * 5
    lost_s = [lost for verdict in verdicts for lost in verdict.lost_s]
    assert len(lost_s) >= 6  # most lives were long enough for a frame of each camera
    assert max(lost_s) <= 1.0
