from __future__ import annotations

import numpy as np
import pytest

from edgevad.bundle import TrainingScores
from edgevad.refit.score_rows import joined_rows


def rows(count: int, value: float) -> TrainingScores:
    times = np.arange(count, dtype=np.int64) * 100_000_000
    return TrainingScores(np.full((count, 2), value, np.float32), times, np.zeros(count, np.int32))


@pytest.mark.parametrize("count", [100, 400, 5000])
def test_what_was_before_has_its_share_however_few_frames_there_are(count: int) -> None:
    found = joined_rows(rows(count, 1.0), rows(2000, 2.0), np.ones(2000, np.float32))
    assert float((found.score[:, 0] == 1.0).mean()) == pytest.approx(0.6, abs=0.03)
    assert (found.score[:, 0] == 2.0).sum() == 2000


def test_nothing_before_is_nothing_before() -> None:
    found = joined_rows(None, rows(100, 2.0), np.ones(100, np.float32))
    assert len(found.segment) == 100


def test_frames_count_by_their_weight() -> None:
    weight = np.ones(2000, np.float32)
    weight[:1000] = 0.25
    new = rows(2000, 2.0)
    new.score[:1000] = 3.0
    found = joined_rows(None, new, weight)
    assert 0.15 < (found.score[:, 0] == 3.0).sum() / 1000 < 0.35
    assert (found.score[:, 0] == 2.0).sum() == 1000


def test_a_gap_begins_a_segment_and_rows_stay_in_order() -> None:
    weight = np.ones(2000, np.float32)
    weight[500:1500] = 0.0
    found = joined_rows(rows(400, 1.0), rows(2000, 2.0), weight)
    assert (np.diff(found.segment) >= 0).all()
    step_ns = np.diff(found.timestamp_ns)[np.diff(found.segment) == 0]
    assert (step_ns == 100_000_000).all()
