"""The recorder, killed for real; benchmarks.kills does the same more often."""

from __future__ import annotations

from pathlib import Path

from benchmarks._kills import kill_repeatedly

KILLS = 10


def test_the_event_store_outlives_kills_at_random_moments(tmp_path: Path) -> None:
    verdicts = kill_repeatedly("benchmarks._kill_store", tmp_path / "store", kills=KILLS, seed=5)
    assert [problem for verdict in verdicts for problem in verdict.problems] == []
    assert any(verdict.lost_s for verdict in verdicts)  # some were killed while a clip was being written
    assert max(lost_s for verdict in verdicts for lost_s in verdict.lost_s) <= 1.0
